"""Changes image and mask at random for training, and adds noise for robustness scores; reproducible by a generator.

Code: albumentations 2.0.8 (MIT). Differs: every random draw comes from the generator that is passed in, since the workers of a
loader otherwise share one stream.
Paper: the noise after Song et al. 2020 (see ``sd_saliency_900``), salt-and-pepper of a given density, half of it white.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from samis.errors import UserError, did_you_mean

Augment = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""(H, W, 3) uint8, (H, W) uint8 in {0, 1}, generator -> changed image and mask."""

_FLIPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("HorizontalFlip", {"p": 0.5}),
    ("VerticalFlip", {"p": 0.5}),
    ("RandomRotate90", {"p": 0.5}),
)
PRESETS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "none": (),
    "light": _FLIPS,
    "default": (
        *_FLIPS,
        # border_mode 4 (reflect without repeating the edge): image and mask stay one surface, no black corners
        ("Affine", {"rotate": (-15, 15), "scale": (0.8, 1.25), "border_mode": 4, "p": 0.5}),
        ("RandomBrightnessContrast", {"brightness_limit": 0.2, "contrast_limit": 0.2, "p": 0.5}),
        ("GaussNoise", {"std_range": (0.01, 0.04), "per_channel": False, "p": 0.2}),
        ("GaussianBlur", {"blur_limit": (3, 5), "p": 0.1}),
    ),
}
"""Named lists of albumentations transforms with their arguments."""
VARIANTS = {"none": 1, "light": 8}
"""How many different images a preset makes from one: flips and quarter turns have eight outcomes."""


def build_augment(preset: str = "none", *, noise: float = 0.0) -> Augment:
    """Build the change of image and mask.

    Args:
        preset: key of ``PRESETS``.
        noise: share of pixels that salt-and-pepper noise replaces in the end, [0, 1].

    Returns:
        A callable that can be sent to worker processes.

    Raises:
        UserError: if the preset is unknown, or the share is outside [0, 1].

    >>> change = build_augment(noise=0.5)
    >>> image, mask = change(np.full((8, 8, 3), 9, np.uint8), np.zeros((8, 8), np.uint8), np.random.default_rng(0))
    >>> sorted(set(image.ravel().tolist()))
    [0, 9, 255]
    """
    if preset not in PRESETS:
        raise UserError(
            f"augment: expected a preset out of {', '.join(PRESETS)}, got '{preset}'{did_you_mean(preset, PRESETS)}",
            code="E-DATA-AUGMENT",
        )
    if not 0 <= noise <= 1:
        raise UserError(f"salt_pepper: expected a share in [0, 1], got {noise}", code="E-DATA-AUGMENT")
    return _Augment(PRESETS[preset], noise, None if noise else VARIANTS.get(preset))


def variants(augment: Augment | None) -> int | None:
    """Return how many different images a change makes from one; None where it makes a new one each time.

    Args:
        augment: the change; None for no change.

    >>> variants(None), variants(build_augment("light")), variants(build_augment("default"))
    (1, 8, None)
    """
    return 1 if augment is None else getattr(augment, "variants", None)


def salt_pepper(image: np.ndarray, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Return the image with about `ratio` of its pixels turned black or white, the same in all channels.

    Args:
        image: (H, W, 3) uint8.
        ratio: share of pixels in [0, 1], half of them black, half white.
        rng: the generator; equal state gives equal noise.
    """
    draw = rng.random(image.shape[:2])
    noisy = image.copy()
    noisy[draw < ratio / 2] = 0
    noisy[(draw >= ratio / 2) & (draw < ratio)] = 255
    return noisy


class _Augment:
    """Albumentations transforms, then noise; built again in each process."""

    def __init__(
        self, transforms: Sequence[tuple[str, dict[str, Any]]], ratio: float, variants: int | None = None
    ) -> None:
        self.transforms = list(transforms)
        self.ratio, self.variants = ratio, variants
        self._compose: Any = _compose(self.transforms) if self.transforms else None

    def __call__(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if image.dtype != np.uint8 or mask.dtype != np.uint8:
            raise TypeError(f"expected uint8 image and mask, got {image.dtype} and {mask.dtype}")
        if self.transforms:
            if self._compose is None:
                self._compose = _compose(self.transforms)
            for (
                transform
            ) in self._compose.transforms:  # one seed for all would flip, turn and blur together or not at all
                transform.set_random_seed(int(rng.integers(2**31)))
            changed = self._compose(image=image, mask=mask)
            image, mask = changed["image"], changed["mask"]
        if self.ratio:
            image = salt_pepper(image, self.ratio, rng)
        return np.ascontiguousarray(image), np.ascontiguousarray(mask)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_compose": None}


def _compose(transforms: Sequence[tuple[str, dict[str, Any]]]) -> Any:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it requests its newest version from the network at import
    import albumentations

    return albumentations.Compose([getattr(albumentations, name)(**arguments) for name, arguments in transforms])
