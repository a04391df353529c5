"""Small drawn trees that the data tests share."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def draw(path: Path, seed: int, *, mask: bool = False, hw: tuple[int, int] = (40, 48)) -> Path:
    """Write a grey photo of noise, or the mask of one defect, depending on the ending."""
    rng = np.random.default_rng(seed)
    values = rng.integers(60, 200, hw, dtype=np.uint8)
    if mask:
        y, x = rng.integers(2, hw[0] - 12), rng.integers(2, hw[1] - 12)
        values = np.zeros(hw, np.uint8)
        values[y : y + 8, x : x + 9] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def announce(path: Path, width: int, height: int) -> Path:
    """Write a PNG whose header announces a size that its few bytes do not hold."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


@pytest.fixture(name="announce")
def announce_fixture() -> Callable[..., Path]:
    """The function that writes huge headers."""
    return announce


@pytest.fixture(name="draw")
def draw_fixture() -> Callable[..., Path]:
    """The drawing function."""
    return draw


@pytest.fixture
def two_folders(tmp_path: Path) -> Path:
    """A user's folder of 30 images and masks."""
    for number in range(30):
        draw(tmp_path / "own" / "images" / f"photo {number}.jpg", number)
        draw(tmp_path / "own" / "masks" / f"photo {number}.png", number, mask=True)
    return tmp_path / "own"
