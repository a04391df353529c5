"""Tiny sizes of the families that take them from a table, and weights as files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

import tiny_models

import samis.sam.architectures as architectures
from samis.sam.architectures import Architecture
from samis.sam.families import mobile_sam


@pytest.fixture(autouse=True, scope="module")
def _tiny_sizes():
    patch = pytest.MonkeyPatch()
    small = Architecture(
        48, 2, 3, (1,), window=3, frame_px=64, prompt_dim=32, decoder_mlp_dim=64, decoder_heads=2, iou_hidden_dim=32
    )  # fmt: skip
    patch.setitem(architectures.ARCHITECTURES, tiny_models.NAMES["sam"], small)
    sizes = {
        "widths": (16, 24, 24, 32),
        "depths": (1, 1, 1, 1),
        "heads": (2, 2, 2, 2),
        "windows": (3, 3, 4, 3),
        "classes": 5,
    }
    patch.setitem(mobile_sam.SIZES, tiny_models.NAMES["mobile_sam"], sizes)
    yield
    patch.undo()


@pytest.fixture(scope="package")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that writes a tiny model as users have it: a folder, or a file of weights, once a family."""
    known: dict[str, Path] = {}

    def save(family: str) -> Path:
        if family not in known:
            model, folder = tiny_models.build(family), tmp_path_factory.mktemp(family)
            if family in tiny_models.OF_TRANSFORMERS:
                model.save_pretrained(folder)  # type: ignore[operator]
                known[family] = folder
            else:
                known[family] = folder / "weights.pth"
                torch.save(model.state_dict(), known[family])
        return known[family]

    return save
