"""Changes image and mask at random for training, and adds noise for robustness scores; reproducible by a generator.

Code: albumentations 2.0.8 (MIT). Differs: every random draw comes from the generator that is passed in, since the workers of a
loader otherwise share one stream; an argument that albumentations does not know raises instead of warning.
Paper: the noise after Song et al. 2020 (see ``sd_saliency_900``), salt-and-pepper of a given density, half of it white.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
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
_OPTIONS = ("preset", "transforms", "salt_pepper")


def build_augment(options: str | Mapping[str, Any]) -> Augment:
    """Build the change of image and mask.

    Args:
        options: a preset's name; or a mapping of ``preset``, ``transforms`` (a list of ``{name: {argument: value}}``
            after albumentations, added to the preset) and ``salt_pepper`` (share of noisy pixels in [0, 1], last).

    Returns:
        A callable that can be sent to worker processes.

    Raises:
        UserError: if a preset, an option, a transform or one of its arguments is unknown.

    >>> change = build_augment({"salt_pepper": 0.5})
    >>> image, mask = change(np.full((8, 8, 3), 9, np.uint8), np.zeros((8, 8), np.uint8), np.random.default_rng(0))
    >>> sorted(set(image.ravel().tolist()))
    [0, 9, 255]
    """
    table: Mapping[str, Any] = {"preset": options} if isinstance(options, str) else options
    for key in table:
        if key not in _OPTIONS:
            raise UserError(
                f"augment: expected {', '.join(_OPTIONS)}, got '{key}'{did_you_mean(key, _OPTIONS)}",
                code="E-DATA-AUGMENT",
            )
    preset = table.get("preset", "none")
    if preset not in PRESETS:
        raise UserError(
            f"augment: expected a preset out of {', '.join(PRESETS)}, got '{preset}'{did_you_mean(preset, PRESETS)}",
            code="E-DATA-AUGMENT",
        )
    ratio = float(table.get("salt_pepper", 0.0))
    if not 0 <= ratio <= 1:
        raise UserError(f"augment.salt_pepper: expected a share in [0, 1], got {ratio}", code="E-DATA-AUGMENT")
    plain = not table.get("transforms") and not ratio
    return _Augment(
        [*PRESETS[preset], *_named(table.get("transforms", ()))], ratio, VARIANTS.get(preset) if plain else None
    )


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


def _named(transforms: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    named: list[tuple[str, dict[str, Any]]] = []
    for entry in transforms:
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise UserError(
                f"augment.transforms: expected entries like 'Affine: {{rotate: 10}}', got {entry!r}",
                code="E-DATA-AUGMENT",
            )
        ((name, arguments),) = entry.items()
        named.append((name, dict(arguments or {})))
    return named


def _compose(transforms: Sequence[tuple[str, dict[str, Any]]]) -> Any:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it requests its newest version from the network at import
    import albumentations

    built = []
    for name, arguments in transforms:
        maker = getattr(albumentations, name, None)
        if not isinstance(maker, type) or not issubclass(maker, albumentations.BasicTransform):
            near = did_you_mean(name, [key for key in dir(albumentations) if key[0].isupper()])
            raise UserError(
                f"augment.transforms: expected a transform of albumentations, got '{name}'{near}", code="E-DATA-AUGMENT"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                built.append(maker(**arguments))
        except (UserWarning, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"augment.transforms.{name}: expected arguments it knows, got {arguments}: {reason}",
                code="E-DATA-AUGMENT",
            ) from error
    return albumentations.Compose(built)
