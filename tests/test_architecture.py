"""Who may import whom: the table of CONTRIBUTING.md, held by reading every import statement."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "torchvision", "accelerate", "peft", "timm", "segment_anything", "torchmetrics"}

BASE = {"errors", "config", "core"}
RECORDS = {"data.base", "data.mapped", "data.pairing", "data.picture_file", "data.reading", "data.splitting"}
"""What the packages of ``data`` share: reading pictures, pairing images with masks, lists of records, drawing splits."""
ROWS = {f"evaluation.{name}" for name in ("score_row", "rows", "labels", "meanings", "repeats", "intervals")}
"""What a report may know of an evaluation: rows, not networks."""
EVERY = BASE | {
    "data",
    "prompts",
    "sam",
    "adapters",
    "baselines",
    "metrics",
    "tta",
    "drift",
    "training",
    "decision",
    "evaluation",
    "reporting",
}

# package or module: what it may import of samis besides itself; a name stands for all that lies below it
PACKAGES: dict[str, set[str]] = {
    "errors": set(),
    "config": {"errors"},
    "core": {"errors", "config"},
    "metrics": BASE,
    "adapters": BASE,
    "data": BASE,
    **{module: BASE | RECORDS for module in RECORDS},
    "data.public": BASE | RECORDS | {"data.checks.duplicates"},
    "data.own": BASE | RECORDS | {"data.checks.findings"},
    "data.checks": BASE | RECORDS,
    "data.pipeline": BASE | RECORDS,
    "prompts": BASE,
    "sam": BASE,
    "baselines": BASE,
    "tta": BASE,
    "drift": BASE,
    "decision": BASE | {"metrics"},
    "evaluation": BASE | {"metrics", "decision"},
    "training": BASE | {"evaluation"},
    "reporting": {"evaluation.rows", "reporting.analysis.gap"},
    "reporting.analysis": {"errors", "core.cells", "core.files"} | ROWS,
    "reporting.render": {"errors", "core.cells", "core.files", "reporting.analysis"} | ROWS,
    "sweeping": BASE | {"reporting", "evaluation.labels"},
    "export": BASE | {"sam", "evaluation.score_row"},
    "factory": EVERY,
    "prediction": BASE
    | {"data.pipeline", "prompts", "sam", "tta", "training", "evaluation.score_row", "decision", "drift"},
    "jobs": EVERY | {"factory", "prediction", "export", "sweeping"},
    "api": EVERY | {"factory", "prediction", "export", "jobs"},
    "cli": {"errors", "config", "core", "data", "metrics", "prediction", "jobs"},
    "__main__": {"cli"},
    "__init__": EVERY | {"api", "prediction"},
}

OWNERS: dict[str, set[str]] = {
    "yaml": {"config"},
    "pydantic": {"config", "data.options"},
    "pydantic_core": {"config"},
    "torchmetrics": {"metrics"},
    "peft": {"adapters", "jobs.export"},
    "segment_anything": {"sam", "adapters", "export"},
    "albumentations": {"data.pipeline"},
    "timm": {"baselines", "sam"},
    "accelerate": {"training", "factory", "jobs"},
    "filelock": {"training", "sweeping"},
    "optuna": {"sweeping"},
    "tqdm": {"core"},
    "skimage": {"metrics", "prediction"},
    "tensorboard": {"training"},
    "torch.utils.tensorboard": {"training"},
    "matplotlib": {"reporting.render"},
    "jinja2": {"reporting.render"},
    "onnx": {"export"},
    "onnxruntime": {"export"},
    "transformers": {"export", "sam.families"},
    "huggingface_hub": {"sam.families", "baselines"},
    "openvino": {"export"},
    "nncf": {"export"},
}
"""Third party -> who may import it."""

NO_TORCH = (
    "errors", "config", "core.cells", "core.files", "core.provenance", "core.shipped",
    *ROWS, "reporting", "cli", "jobs.sweep", "sweeping",
)  # fmt: skip


def modules() -> list[Path]:
    return sorted((ROOT / "samis").rglob("*.py"))


def name_of(path: Path) -> str:
    """Return a module's dotted name below samis; ``__init__`` for samis itself."""
    parts = path.relative_to(ROOT / "samis").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def is_of(name: str, places) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def package_of(name: str) -> str:
    """Return the narrowest line of the table that a module belongs to."""
    fitting = [package for package in PACKAGES if is_of(name, [package])]
    assert fitting, f"samis.{name} has no line in the table of {Path(__file__).name}"
    return max(fitting, key=len)


def imports(path: Path) -> list[str]:
    """Return every module a file imports, dotted; names imported from a package count as its submodules too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the package they reach into"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def inner(path: Path) -> list[str]:
    """Return what a file imports of samis, without the ``samis.``."""
    return [name.removeprefix("samis.") for name in imports(path) if name.startswith("samis.")]


def test_every_module_belongs_to_a_room():
    found = modules()
    assert len(found) > 50
    assert {package_of(name_of(path)) for path in found} == set(PACKAGES)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_imports_only_its_neighbours(package):
    files = [path for path in modules() if package_of(name_of(path)) == package]
    assert files
    for path in files:
        for name in inner(path):
            allowed = is_of(name, PACKAGES[package] | {package})
            assert allowed, (
                f"{path.relative_to(ROOT)} imports samis.{name}; {package} may import {sorted(PACKAGES[package])}"
            )


def test_no_package_imports_another_one_back():
    arrows: dict[str, set[str]] = {}
    for path in modules():
        arrows.setdefault(name_of(path).split(".")[0], set()).update(name.split(".")[0] for name in inner(path))
    assert len(arrows) > 15
    left = {place: to - {place} for place, to in arrows.items()}
    while left:
        lowest = [place for place, to in left.items() if not to & set(left)]
        assert lowest, f"these packages of samis import each other in a circle: {left}"
        for place in lowest:
            del left[place]


def test_few_modules_lie_at_the_top():
    top = [path.stem for path in (ROOT / "samis").glob("*.py") if not path.stem.startswith("__")]
    assert len(top) <= 6, f"modules at the top of samis: {sorted(top)}; a new one belongs into a package"


def test_samis_works_without_the_scripts_and_the_pretraining():
    for path in modules():
        for name in imports(path):
            assert name.split(".")[0] not in {"train", "evaluate", "pretraining", "tests", "benchmarks"}, path


def test_third_parties_have_owners():
    checked = 0
    for path in modules():
        for name in imports(path):
            for party, owners in OWNERS.items():
                if is_of(name, [party]):
                    checked += 1
                    assert is_of(name_of(path), owners), f"{path.relative_to(ROOT)} imports {name}, of {sorted(owners)}"
    assert checked > 10


def test_light_packages_stay_light():
    files = [path for path in modules() if is_of(name_of(path), NO_TORCH)]
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
    for path in (ROOT / "samis/training/trainer.py", ROOT / "samis/evaluation/evaluator.py"):
        text = path.read_text(encoding="utf-8").lower()
        assert not [word for word in words if word in text]
