"""Backgrounds of drawn scenes and the camera that takes them: the same kinds for every scene, from the bank of textures."""

from __future__ import annotations

import cv2
import numpy as np

from pretraining.textures import TextureBank, mean_and_std

Array = np.ndarray
Rng = np.random.Generator
_STEPS = 4096
"""Steps of the tables that replace a power and a sine over a complete picture."""


def background(rng: Rng, textures: TextureBank, hw: tuple[int, int]) -> Array:
    """Return (H, W) float32 surface of a random kind: plain, grainy, cloudy, brushed, rolled, striped, banded."""
    field = np.full(hw, rng.uniform(0.15, 0.85), np.float32)
    _light(rng, field)
    kind = rng.random()
    if kind < 0.3:
        _add(field, rng.uniform(0.01, 0.08), textures.surface(rng, "fractal", hw))
    elif kind < 0.7:
        _add(field, rng.uniform(0.01, 0.09), textures.surface(rng, "streaks", hw))
    elif kind < 0.78:
        _add(field, rng.uniform(0.01, 0.08), _waves(rng, hw))
    elif kind < 0.88:
        _add(field, rng.uniform(0.05, 0.25), textures.surface(rng, "bands", hw))
    if rng.random() < 0.4:
        _add(field, rng.uniform(0.005, 0.05), textures.surface(rng, "fractal", hw))
    return field


def camera(rng: Rng, textures: TextureBank, field: Array, *, strength: float = 1.0) -> Array:
    """Return (H, W) uint8: the field seen by a camera, with gamma, blur, grain, JPEG and a random contrast."""
    if rng.random() < 0.4:
        field = cv2.GaussianBlur(field, (0, 0), rng.uniform(0.3, 1.0) * strength)
    grain = rng.uniform(0, 0.05) if rng.random() < 0.85 else rng.uniform(0.05, 0.09)
    field = field + np.float32(grain * strength) * textures.crop(rng, "grain", field.shape)
    if rng.random() < 0.3:
        scale, mean = rng.uniform(0.5, 2.5), mean_and_std(field)[0]
        field = field * np.float32(scale) + np.float32(rng.uniform(0.2, 0.75) - scale * mean)
    gamma = np.exp(rng.normal(0, 0.2))
    table = (((np.arange(_STEPS) + 0.5) / _STEPS) ** gamma * 255).astype(np.uint8)
    grey = table[(field * np.float32(_STEPS)).clip(0, _STEPS - 1).astype(np.uint16)]
    if rng.random() < 0.3:
        coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))])[1]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))
    return np.asarray(grey)


def _add(field: Array, strength: float, texture: Array) -> None:
    field += np.float32(strength) * texture


def _light(rng: Rng, field: Array) -> None:
    """Add light to the field: a slope, a glare spot and darker corners, each sometimes; sums and products of lines."""
    height, width = field.shape
    y = np.arange(height, dtype=np.float32)[:, None] / height - np.float32(0.5)
    x = np.arange(width, dtype=np.float32)[None] / width - np.float32(0.5)
    rows, columns = np.zeros_like(y), np.zeros_like(x)
    if rng.random() < 0.6:
        columns += np.float32(rng.normal(0, 0.16)) * x
        rows += np.float32(rng.normal(0, 0.16)) * y
    if rng.random() < 0.25:
        at_x, at_y = rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6)
        glare, size = rng.uniform(-0.2, 0.3), rng.uniform(0.02, 0.3)
        spot_x, spot_y = np.exp(-((x - np.float32(at_x)) ** 2) / size), np.exp(-((y - np.float32(at_y)) ** 2) / size)
        field += (np.float32(glare) * spot_y).astype(np.float32) * spot_x.astype(np.float32)
    if rng.random() < 0.25:
        dark = np.float32(rng.uniform(0.1, 0.6))
        columns -= dark * x**2
        rows -= dark * y**2
    field += rows
    field += columns


def _waves(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return (H, W) float32 stripes or a weave of random pitch and direction, standard deviation about 1."""
    field = np.zeros(hw, np.float32)
    turn = rng.uniform(0, np.pi)
    for k in range(rng.integers(1, 3)):
        angle = turn + k * np.pi / 2
        periods = _STEPS / rng.uniform(4, max(hw) / 4)  # table steps per px
        wave = np.sin(np.arange(_STEPS) * (2 * np.pi / _STEPS) + rng.uniform(0, 6.28))
        table = (np.sign(wave) * np.abs(wave) ** rng.uniform(0.3, 1.5)).astype(np.float32)
        x, y = np.arange(hw[1]) * (np.cos(angle) * periods), np.arange(hw[0]) * (np.sin(angle) * periods)
        steps = y.astype(np.int32)[:, None] + x.astype(np.int32)[None]
        field += table[steps & (_STEPS - 1)]
    return field
