"""Large pictures without copies: uncompressed ones are mapped from the file, TIFFs are decoded part by part, others converted a few
rows at a time.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_CHANNELS = {"L": 1, "RGB": 3}
_ORIENTATION = 0x0112  # the EXIF tag


def pixels_start(picture: Image.Image) -> int | None:
    """Return the byte at which an opened file holds its pixels unchanged, row after row; None if it does not.

    That is an upright uncompressed TIFF or PGM/PPM of 8 bits, grey or RGB, whose strips follow one another.
    """
    channels = _CHANNELS.get(picture.mode)
    parts = getattr(picture, "tile", ())
    if picture.format not in ("TIFF", "PPM") or channels is None or not parts or "transparency" in picture.info:
        return None
    if picture.getexif().get(_ORIENTATION, 1) != 1:
        return None
    row, start, done = picture.width * channels, int(parts[0][2]), 0
    for kind, (left, top, right, bottom), offset, arguments in parts:
        form, stride, direction = (*((arguments,) if isinstance(arguments, str) else arguments), 0, 1)[:3]
        unchanged = kind == "raw" and form == picture.mode and stride in (0, row) and direction == 1
        if not unchanged or (left, top, right) != (0, done, picture.width) or int(offset) != start + done * row:
            return None
        done = int(bottom)
    return start if done == picture.height else None


def mapped(picture: Image.Image) -> np.ndarray | None:
    """Return an opened file's pixels as a read-only view of the file, (H, W) or (H, W, 3) uint8; None where it is no such file.

    Memory is used only for the parts that are read, and the system may free it. The file must not change meanwhile: if it
    is cut short, the process ends. Renaming another file over it is safe.
    """
    start = pixels_start(picture)
    if start is None:
        return None
    shape: tuple[int, ...] = (picture.height, picture.width)
    shape = shape if picture.mode == "L" else (*shape, 3)
    path = os.fspath(getattr(picture, "filename", ""))
    if not path or os.path.getsize(path) < start + int(np.prod(shape, dtype=np.int64)):
        return None  # decoding will report that it is cut short
    return np.asarray(np.memmap(path, np.uint8, mode="r", offset=start, shape=shape))


def assembled(picture: Image.Image) -> np.ndarray | None:
    """Return an opened TIFF's pixels, its strips or tiles decoded one at a time into the array; None where it is no such file.

    That is an upright TIFF of 8-bit grey or RGB, whose parts are deflated or stored as they are. Pillow would hold the picture
    twice. A part of another length than its pixels need, or damaged, gives None too: Pillow then says what is wrong.

    Returns:
        (H, W) or (H, W, 3) uint8.
    """
    tags: Any = getattr(picture, "tag_v2", None)
    channels = _CHANNELS.get(picture.mode)
    if picture.format != "TIFF" or tags is None or channels is None or not _is_plain(tags, channels):
        return None
    width, height = picture.size
    tiled = 322 in tags
    across, down = (int(tags[322]), int(tags[323])) if tiled else (width, min(int(tags.get(278, height)), height))
    starts, lengths = (tuple(tags.get(tag, ())) for tag in ((324, 325) if tiled else (273, 279)))
    corners = [(top, left) for top in range(0, height, down or 1) for left in range(0, width, across or 1)]
    if across < 1 or down < 1 or not len(starts) == len(lengths) == len(corners):
        return None
    pixels = np.empty((height, width, channels), np.uint8)
    with Path(os.fspath(getattr(picture, "filename", ""))).open("rb") as file:
        for (top, left), start, length in zip(corners, starts, lengths, strict=True):
            rows = down if tiled else min(down, height - top)
            file.seek(start)
            part = _part(file.read(length), (rows, across, channels), tags)
            if part is None:
                return None
            pixels[top : top + rows, left : left + across] = part[: height - top, : width - left]
    return pixels if channels == 3 else pixels[..., 0]


def _is_plain(tags: Any, channels: int) -> bool:
    """Tell whether a TIFF's tags are those that `assembled` understands."""
    return (
        tags.get(_ORIENTATION, 1) == 1
        and tuple(tags.get(258, ())) == (8,) * channels  # bits
        and tags.get(262) == (1 if channels == 1 else 2)  # 0 is black, or RGB
        and tags.get(259, 1) in (1, 8, 32946)  # as it is, or deflated
        and tags.get(317, 1) in (1, 2)  # differences along rows
        and tags.get(284, 1) == 1  # channels next to each other
        and tags.get(266, 1) == 1  # order of bits
        and tags.get(277, 1) == channels
        and set(tags.get(339, (1,))) == {1}  # unsigned
    )


def _part(data: bytes, shape: tuple[int, int, int], tags: Any) -> np.ndarray | None:
    """Decode a strip or tile, (rows, columns, channels) uint8; None if it is damaged."""
    size = int(np.prod(shape, dtype=np.int64))
    if tags.get(259, 1) != 1:
        try:
            stream = zlib.decompressobj()
            data = stream.decompress(data, size + 1)
        except zlib.error:
            return None
        if not stream.eof:  # its checksum is at the end
            return None
    if len(data) != size:
        return None
    part = np.frombuffer(data, np.uint8).reshape(shape)
    return np.add.accumulate(part, axis=1, dtype=np.uint8) if tags.get(317, 1) == 2 else part


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
