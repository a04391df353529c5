"""Drawn surfaces of strip steel, magnetic tile and rail with labelled defects: data for a machine that has none.

Drawn by our own seeded code; no image is read. Each split has seeds of its own, so that no picture is in two splits.
Surfaces carry harmless marks too (rolling lines, grinding marks, lettering, reflections): what is bright or dark is not
always a defect, so a model that segments "something" does not segment the defects.

Folder tree: none. Options: ``surface`` (all, steel, tile, rail), ``count`` (images of a split), ``clean_share``.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from samis.core.contracts import Sample
from samis.data.public import drawing
from samis.errors import UserError

Array = np.ndarray
Rng = np.random.Generator
COUNTS = {"train": 160, "val": 32, "test": 64}
_SPLIT_SEEDS = {"train": 101, "val": 202, "test": 303}


class ProceduralDataset:
    """Drawn defects, one sample drawn on each access; a ``samis.core.contracts.Dataset``.

    Args:
        split: train, val, test, or trainval (train, then val).
        surface: all, steel, tile or rail.
        count: images; 0 takes 160 / 32 / 64.
        clean_share: share of images without any defect, class ``clean``.
        seed: of the data set.

    Raises:
        UserError: unknown split or surface.

    >>> sample = ProceduralDataset("test", surface="steel", count=3)[1]
    >>> sample.image.shape, sample.mask.shape, sample.class_name
    ((200, 200, 3), (200, 200), 'patch')
    """

    def __init__(
        self, split: str = "test", *, surface: str = "all", count: int = 0, clean_share: float = 0.1, seed: int = 0
    ) -> None:
        if split not in (*COUNTS, "trainval"):
            raise UserError(
                f"procedural: unknown split {split!r}; it has train, val, trainval, test", code="E-DATA-SPLIT"
            )
        if surface != "all" and surface not in SURFACES:
            raise UserError(
                f"procedural: unknown surface {surface!r}; expected all, {', '.join(SURFACES)}", code="E-DATA-OPTION"
            )
        self.name, self.split = "procedural", split
        self._seed, self._clean_share = seed, clean_share
        self._plan: list[tuple[str, int, str, str]] = []
        kinds = [(name, defect) for name in SURFACES for defect in SURFACES[name][1] if surface in ("all", name)]
        for part in ("train", "val") if split == "trainval" else (split,):
            for number in range(count or COUNTS[part]):
                name, defect = kinds[number % len(kinds)]
                clean = np.random.default_rng([seed, _SPLIT_SEEDS[part], number, 7]).random() < clean_share
                self._plan.append((part, number, name, "clean" if clean else defect))
        self.ids = [f"{name}_{part}_{number:04d}" for part, number, name, _ in self._plan]
        self.class_names = [defect for *_, defect in self._plan]

    def __repr__(self) -> str:
        return f"<{self.name} {self.split}: {len(self)} images>"

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> Sample:
        part, number, surface, defect = self._plan[index]
        rng = np.random.default_rng([self._seed, _SPLIT_SEEDS[part], number])
        draw = SURFACES[surface][0]
        field = draw(rng)
        mask = np.zeros(field.shape, bool)
        if defect != "clean":
            while mask.sum() < 12:
                field, mask = SURFACES[surface][1][defect](rng, field)
        grey = drawing.camera(rng, field, strength=0.5)
        return Sample(self.ids[index], np.repeat(grey[..., None], 3, axis=2), mask, self.class_names[index])

    def fingerprint(self) -> str:
        """Return the sha256 over ids, images and masks."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            sample = self[index]
            digest.update(sample.id.encode() + sample.image.tobytes() + sample.mask.tobytes())  # type: ignore[union-attr]
        return digest.hexdigest()


def _steel(rng: Rng) -> Array:
    """Return a hot-rolled strip: faint rolling lines, slow brightness changes, grain, pale handling marks."""
    hw = (200, 200)
    field = np.full(hw, rng.uniform(0.3, 0.65), np.float32) + drawing.lighting(rng, hw)
    field += rng.uniform(0.01, 0.03) * drawing.streaks(rng, hw, along=3) + rng.uniform(0.005, 0.03) * drawing.fractal(
        rng, hw
    )
    for _ in range(rng.integers(0, 4)):
        field += rng.normal(0, 0.04) * drawing.soft(drawing.blob(rng, hw, _spot(rng, hw), rng.uniform(10, 50)), 9)
    return field


def _tile(rng: Rng) -> Array:
    """Return a magnetic tile: vertical grinding marks, dark edges, sometimes lettering."""
    hw = (int(rng.integers(180, 260)), int(rng.integers(150, 300)))
    field = np.full(hw, rng.uniform(0.35, 0.65), np.float32) + drawing.lighting(rng, hw)
    field += rng.uniform(0.02, 0.06) * drawing.streaks(rng, hw, along=6)
    field[:, : rng.integers(1, 10)] *= 0.5
    field[:, -int(rng.integers(1, 10)) :] *= 0.6
    if rng.random() < 0.35:
        letters = np.zeros(hw, np.uint8)
        at = (int(hw[1] * rng.uniform(0.2, 0.6)), int(hw[0] * rng.uniform(0.4, 0.8)))
        cv2.putText(letters, str(rng.integers(1, 99)), at, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1, 2)
        field -= 0.08 * drawing.soft(letters.astype(bool), 0.8)
    return field


def _rail(rng: Rng) -> Array:
    """Return a rail head: bright running bands along its length, dark flanks, small harmless specks."""
    hw = (int(rng.integers(440, 520)), 160)
    x = np.linspace(-1, 1, hw[1], dtype=np.float32)
    profile = np.full(hw[1], rng.uniform(0.25, 0.4), np.float32)
    for _ in range(rng.integers(2, 5)):
        profile += rng.uniform(0.1, 0.35) * np.exp(-((x - rng.uniform(-0.7, 0.7)) ** 2) / rng.uniform(0.002, 0.06))
    field = profile[None] * np.clip(1.25 - np.abs(x) ** 6, 0.2, 1)[None] + 0.03 * drawing.streaks(rng, hw, along=20)
    for _ in range(rng.integers(2, 8)):
        field -= 0.12 * drawing.soft(drawing.blob(rng, hw, _spot(rng, hw), 1.2), 0.6)
    return field.astype(np.float32)


def _scratch(rng: Rng, field: Array) -> tuple[Array, Array]:
    mask = np.zeros(field.shape, bool)
    for _ in range(rng.integers(1, 4)):
        mask |= drawing.curve(rng, field.shape, _spot(rng, field.shape), rng.uniform(40, 180), crooked=0.02)
    return _lit(rng, field, mask, rng.uniform(0.12, 0.4), 0.7), mask


def _patch(rng: Rng, field: Array) -> tuple[Array, Array]:
    mask = np.zeros(field.shape, bool)
    for _ in range(rng.integers(1, 4)):
        mask |= drawing.rough_patch(rng, field.shape, _spot(rng, field.shape), rng.uniform(14, 45))
    textured = field + 0.05 * drawing.fractal(rng, field.shape, roughness=0.8)
    return _lit(rng, np.where(mask, textured, field), mask, -rng.uniform(0.1, 0.3), 2.0), mask


def _inclusion(rng: Rng, field: Array) -> tuple[Array, Array]:
    mask = np.zeros(field.shape, bool)
    middle = rng.uniform(0.15, 0.85) * field.shape[1]
    for _ in range(rng.integers(2, 7)):
        spot = (middle + rng.normal(0, 14), rng.uniform(0, field.shape[0]))
        piece = drawing.blob(
            rng, (field.shape[0] // 3 + 1, field.shape[1]), (spot[0], spot[1] / 3), rng.uniform(2.5, 6)
        )
        tall = cv2.resize(piece.astype(np.uint8), field.shape[::-1], interpolation=cv2.INTER_NEAREST)
        mask |= tall.astype(bool)
    return _lit(rng, field, mask, -rng.uniform(0.07, 0.2), 1.0), mask


def _blowhole(rng: Rng, field: Array) -> tuple[Array, Array]:
    mask = np.zeros(field.shape, bool)
    for _ in range(rng.integers(1, 3)):
        mask |= drawing.blob(rng, field.shape, _spot(rng, field.shape, 0.1), rng.uniform(3, 9))
    return _lit(rng, field, mask, -rng.uniform(0.2, 0.4), 0.8), mask


def _crack(rng: Rng, field: Array) -> tuple[Array, Array]:
    mask = drawing.curve(rng, field.shape, _spot(rng, field.shape, 0.2), rng.uniform(60, 200), crooked=0.2)
    return _lit(rng, field, mask, -rng.uniform(0.15, 0.35), 0.6), mask


def _break(rng: Rng, field: Array) -> tuple[Array, Array]:
    height, width = field.shape
    spot = (
        (float(rng.choice([0, width])), rng.uniform(0, height))
        if rng.random() < 0.5
        else (rng.uniform(0, width), float(height))
    )
    mask = drawing.rough_patch(rng, field.shape, spot, rng.uniform(18, 45))
    inner = 0.5 * field + rng.uniform(0.1, 0.4) + 0.06 * drawing.fractal(rng, field.shape)
    opacity = drawing.soft(mask, 0.8)
    return (field * (1 - opacity) + inner * opacity).astype(np.float32), mask


def _pit(rng: Rng, field: Array) -> tuple[Array, Array]:
    mask = np.zeros(field.shape, bool)
    for _ in range(rng.integers(1, 4)):
        mask |= drawing.blob(rng, field.shape, _spot(rng, field.shape, 0.12), rng.uniform(3.5, 9))
    return _lit(rng, field, mask, -rng.uniform(0.25, 0.45), 0.8), mask


def _lit(rng: Rng, field: Array, mask: Array, shift: float, blur: float) -> Array:
    shade = (1 + 0.35 * drawing.noise(rng, field.shape, 3, 3)).clip(0.4, 1.5)
    return (field + shift * shade * drawing.soft(mask, blur)).astype(np.float32)


def _spot(rng: Rng, hw: tuple[int, int], margin: float = 0.05) -> tuple[float, float]:
    return rng.uniform(margin, 1 - margin) * hw[1], rng.uniform(margin, 1 - margin) * hw[0]


SURFACES = {
    "steel": (_steel, {"scratch": _scratch, "patch": _patch, "inclusion": _inclusion}),
    "tile": (_tile, {"blowhole": _blowhole, "crack": _crack, "break": _break}),
    "rail": (_rail, {"pit": _pit}),
}
