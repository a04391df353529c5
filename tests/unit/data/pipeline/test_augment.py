"""Changes of image and mask: together, reproducible, strict about their arguments."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from samis.data.pipeline.augment import PRESETS, build_augment, salt_pepper
from samis.errors import UserError

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
MASK = np.zeros((40, 60), np.uint8)
MASK[5:15, 8:30] = 1


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_keep_kinds_and_repeat(preset: str) -> None:
    change = build_augment(preset)
    results = [change(IMAGE, MASK, np.random.default_rng(seed)) for seed in range(12)]
    for image, mask in results:
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape[:2] == mask.shape
        assert set(np.unique(mask).tolist()) <= {0, 1}
    again = pickle.loads(pickle.dumps(change))(IMAGE, MASK, np.random.default_rng(7))
    assert (again[0] == results[7][0]).all()
    assert (again[1] == results[7][1]).all()
    distinct = {image.tobytes() for image, _ in results}
    assert len(distinct) == 1 if preset == "none" else len(distinct) > 3


def test_image_and_mask_move_together() -> None:
    image = np.repeat(MASK[..., None] * 255, 3, axis=2)
    for seed in range(20):
        moved, mask = build_augment("light")(image, MASK, np.random.default_rng(seed))
        assert ((moved[..., 0] > 127) == mask).all()


def test_the_changes_of_one_call_are_independent() -> None:
    """With one seed for all transforms, the two flips would always fall alike, and no image would be flipped once."""
    change = build_augment("light")
    seen = {change(IMAGE, MASK, np.random.default_rng(seed))[0].tobytes() for seed in range(40)}
    assert {IMAGE[:, ::-1].tobytes(), IMAGE[::-1].tobytes()} <= seen


def test_the_inputs_are_left_alone() -> None:
    before = IMAGE.copy(), MASK.copy()
    build_augment("default", noise=0.2)(IMAGE, MASK, np.random.default_rng(0))
    assert (before[0] == IMAGE).all()
    assert (before[1] == MASK).all()


def test_salt_and_pepper() -> None:
    grey = np.full((300, 300, 3), 128, np.uint8)
    noisy = salt_pepper(grey, 0.2, np.random.default_rng(0))
    assert abs((noisy[..., 0] == 0).mean() - 0.1) < 0.01
    assert abs((noisy[..., 0] == 255).mean() - 0.1) < 0.01
    assert (noisy == noisy[..., :1]).all()
    assert (noisy == salt_pepper(grey, 0.2, np.random.default_rng(0))).all()
    assert (noisy != salt_pepper(grey, 0.2, np.random.default_rng(1))).any()
    assert (salt_pepper(grey, 0.0, np.random.default_rng(0)) == grey).all()


@pytest.mark.parametrize(
    ("preset", "noise", "part"), [("defalt", 0.0, "did you mean default"), ("light", 2.0, r"\[0, 1\]")]
)
def test_mistakes_are_one_line(preset: str, noise: float, part: str) -> None:
    with pytest.raises(UserError, match=f"{part}.*E-DATA-AUGMENT") as caught:
        build_augment(preset, noise=noise)
    assert "\n" not in str(caught.value)


def test_masks_must_be_uint8() -> None:
    with pytest.raises(TypeError, match="bool"):
        build_augment("light")(IMAGE, MASK.astype(bool), np.random.default_rng(0))


def test_albumentations_is_imported_only_when_used() -> None:
    code = (
        "import sys, samis.data, samis.data.pipeline.loading, samis.data.checks.doctor;"
        "from samis.data.pipeline.augment import build_augment;"
        "build_augment('none'); assert not {'albumentations', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
