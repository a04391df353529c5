"""Large pictures without copies: uncompressed ones are mapped from the file, others converted a few rows at a time."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

_CHANNELS = {"L": 1, "RGB": 3}
_ORIENTATION = 0x0112  # the EXIF tag


def pixels_begin(picture: Image.Image) -> int | None:
    """Return the byte at which an opened file holds its pixels as they are, row after row; None if it does not.

    That is an upright uncompressed TIFF or PGM/PPM of 8 bits, grey or RGB, whose strips follow one another.
    """
    channels = _CHANNELS.get(picture.mode)
    parts = getattr(picture, "tile", ())
    if picture.format not in ("TIFF", "PPM") or channels is None or not parts or "transparency" in picture.info:
        return None
    if picture.getexif().get(_ORIENTATION, 1) != 1:
        return None
    row, begin, done = picture.width * channels, int(parts[0][2]), 0
    for kind, (left, top, right, bottom), offset, arguments in parts:
        form, stride, direction = (*((arguments,) if isinstance(arguments, str) else arguments), 0, 1)[:3]
        as_it_is = kind == "raw" and form == picture.mode and stride in (0, row) and direction == 1
        if not as_it_is or (left, top, right) != (0, done, picture.width) or int(offset) != begin + done * row:
            return None
        done = int(bottom)
    return begin if done == picture.height else None


def mapped(picture: Image.Image) -> np.ndarray | None:
    """Return an opened file's pixels as a read-only view of the file, (H, W) or (H, W, 3) uint8; None where it is no such file.

    Memory is taken only for the parts that are looked at, and the system may take it back. The file must stay as it is
    meanwhile: where it is cut short, the process ends. It is replaced safely by renaming another over it.
    """
    begin = pixels_begin(picture)
    if begin is None:
        return None
    shape: tuple[int, ...] = (picture.height, picture.width)
    shape = shape if picture.mode == "L" else (*shape, 3)
    path = os.fspath(getattr(picture, "filename", ""))
    if not path or os.path.getsize(path) < begin + int(np.prod(shape, dtype=np.int64)):
        return None  # decoding will say that it is cut short
    return np.asarray(np.memmap(path, np.uint8, mode="r", offset=begin, shape=shape))


def converted(picture: Image.Image, mode: str, rows: int) -> np.ndarray:
    """Return a decoded picture's pixels, (H, W) uint8 for mode ``L`` or (H, W, 3) for ``RGB``, converted `rows` rows at a time.

    In one go Pillow and numpy would hold the picture three times more.
    """
    shape = (picture.height, picture.width, *([3] if mode == "RGB" else []))
    pixels = np.empty(shape, np.uint8)
    for top in range(0, picture.height, rows):
        part = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        pixels[top : top + rows] = np.asarray(part if part.mode == mode else part.convert(mode))
    return pixels
