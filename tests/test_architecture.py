"""Who may import whom: the table of CONTRIBUTING.md, held by reading every import statement."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "torchvision", "accelerate", "peft", "timm", "segment_anything", "torchmetrics"}

# room: (rooms of samis it may import, third parties that only the rooms naming them may import)
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "contracts": (set(), set()),
    "cells": (set(), set()),
    "scores": ({"cells"}, set()),
    "provenance": (set(), set()),
    "sdpa": (set(), set()),
    "weight_files": ({"contracts"}, set()),
    "config": (set(), {"yaml", "pydantic", "pydantic_core"}),
    "command": ({"config"}, set()),
    "losses": ({"config"}, set()),
    "imagenet": ({"contracts"}, set()),
    "shipped": ({"config"}, set()),
    "metrics": ({"contracts", "cells"}, {"torchmetrics"}),
    "adapters": ({"contracts", "config", "weight_files"}, {"peft", "segment_anything"}),
    "data": ({"contracts", "config"}, {"albumentations", "pydantic"}),
    "prompts": ({"contracts", "config", "data.frame"}, set()),
    "sam": (
        {"contracts", "config", "losses", "sdpa", "data.frame", "imagenet", "shipped", "weight_files"},
        {"segment_anything", "onnx", "onnxruntime", "transformers", "timm"},
    ),
    "baselines": ({"contracts", "config", "losses", "sdpa", "data.frame", "imagenet", "weight_files"}, {"timm"}),
    "cost": ({"contracts"}, set()),
    "tta": ({"contracts", "data.frame"}, set()),
    "evaluator": ({"contracts", "metrics"}, set()),
    "training": ({"contracts", "config"}, {"accelerate", "tensorboard", "torch.utils.tensorboard"}),
    "sweeping": ({"config", "metrics"}, set()),
    "reporting": ({"scores", "cells"}, {"matplotlib", "jinja2"}),
}
"""``build``, ``build_pretraining``, ``scoring``, ``prediction``, ``exporting`` and ``notebook`` know every room."""
KNOW_ALL = {
    "build",
    "build_pretraining",
    "scoring",
    "row_costs",
    "prediction",
    "exporting",
    "shipping",
    "environment",
    "notebook",
    "__init__",
}
OWNED = {party for _, parties in ROOMS.values() for party in parties}
NO_TORCH = {
    "cells",
    "scores",
    "provenance",
    "config",
    "shipped",
    "command",
    "sweeping",
    "reporting",
}


def modules() -> list[Path]:
    return sorted((ROOT / "samis").rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(ROOT / "samis").parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> list[str]:
    """Return every module a file imports, dotted; names imported from a package count as its submodules too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room they reach into"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_every_module_belongs_to_a_room():
    found = modules()
    assert len(found) > 50
    assert {room_of(path) for path in found} == set(ROOMS) | KNOW_ALL


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_its_neighbours(room):
    may, _ = ROOMS[room]
    files = [path for path in modules() if room_of(path) == room]
    assert files
    for path in files:
        for name in imports(path):
            if name.startswith("samis."):
                inner = name.removeprefix("samis.")
                allowed = any(inner == other or inner.startswith(f"{other}.") for other in may | {room})
                assert allowed, f"{path.relative_to(ROOT)} imports {name}; {room} may import {sorted(may)}"


def test_third_parties_have_owners():
    checked = 0
    for path in modules():
        room = room_of(path)
        if room in KNOW_ALL:
            continue
        for name in imports(path):
            for party in OWNED:
                if name == party or name.startswith(f"{party}."):
                    checked += 1
                    assert party in ROOMS[room][1], (
                        f"{path.relative_to(ROOT)} imports {name}, which {room} does not own"
                    )
    assert checked > 10


def test_light_rooms_stay_light():
    files = [path for path in modules() if room_of(path) in NO_TORCH]
    assert len(files) > 8
    for path in files:
        for name in imports(path):
            assert name.split(".")[0] not in HEAVY, f"{path.relative_to(ROOT)} imports {name}"


def test_scripts_are_scripts():
    scripts = sorted([*(ROOT / "train").glob("*.py"), *(ROOT / "evaluate").glob("*.py")])
    assert len(scripts) >= 5
    for folder in ("train", "evaluate"):
        assert not (ROOT / folder / "__init__.py").exists(), f"{folder}/ would shadow an installed package"
    for path in scripts:
        for name in imports(path):
            assert name.split(".")[0] not in {"train", "evaluate"}, f"{path} imports another script"


def test_loops_know_no_names():
    """Trainer and evaluator never mention a data set, an adapter, a baseline or a prompt."""
    words = ["sd_saliency", "magnetic_tile", "rsdds", "nrsd", "lora", "bottleneck", "unet", "samis_lite", "vit_b"]
    for path in (ROOT / "samis/training/trainer.py", ROOT / "samis/evaluator.py"):
        text = path.read_text(encoding="utf-8").lower()
        assert not [word for word in words if word in text]
