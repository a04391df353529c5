"""Reads maps and masks as 8-bit grey or floats; other files are an error."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np

from samis.errors import UserError

_PLAIN = frozenset((b"IHDR", b"IDAT", b"IEND", b"pHYs", b"sRGB", b"tIME"))
"""The chunks of a PNG that OpenCV reads as Pillow does: without transparency, rotation, comments (which may hold one)."""
_MOST_PX = 1 << 26
"""Larger pictures are left to Pillow, which warns of them."""


def read_grey(path: Path) -> np.ndarray:
    """Read a grey image file.

    Args:
        path: 8-bit or 1-bit grey; colour or palette whose channels are equal and which is opaque; or ``.npy``; or a
            float TIFF.

    Returns:
        (H, W) uint8, or float where the file holds floats.

    Raises:
        UserError: unreadable, 16-bit, coloured, or of several channels.
    """
    if path.suffix.lower() == ".npy":
        return _read_array(path)
    plain_png = _plain_png(path)
    if plain_png is not None:
        return plain_png
    from PIL import Image, ImageOps, UnidentifiedImageError  # slow to import, and of no use for plain PNG files

    try:
        with Image.open(path) as opened:
            if opened.format == "TIFF":  # Pillow maps an uncompressed file, and gives a rotated one in wrong rows
                opened.filename = ""
            opened.load()
            image: Image.Image = ImageOps.exif_transpose(opened)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as an image ({error}); save it again as 8-bit grey PNG", code="E-METRIC-FILE"
        ) from error
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("L", "F"):
        return np.asarray(image)
    if image.mode.startswith("I"):
        raise UserError(
            f"{path}: has more than 8 bits a pixel (mode {image.mode}); convert it to 8 bits",
            code="E-METRIC-FILE-DEPTH",
        )
    plain = image.mode == "RGB" and "transparency" not in image.info
    colours = np.asarray(image if plain else image.convert("RGBA"))
    first = np.ascontiguousarray(colours[..., 0])
    same = all(np.array_equal(first, colours[..., channel]) for channel in (1, 2))
    if not same or (not plain and (colours[..., 3] < 255).any()):
        kinds = {"P": "a coloured palette", "RGBA": "colour or transparency", "LA": "transparency"}
        raise UserError(
            f"{path}: has {kinds.get(image.mode, 'colour')} (mode {image.mode}); convert it to grey 0..255",
            code="E-METRIC-FILE-COLOUR",
        )
    return first


def _read_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{path}: cannot be read as a numpy array ({error}); write it with numpy.save", code="E-METRIC-FILE"
        ) from error
    if not isinstance(array, np.ndarray):  # numpy.load opens any zip file, whatever its name
        raise UserError(
            f"{path}: is an archive, not one numpy array; write it with numpy.save", code="E-METRIC-FILE-ARRAY"
        )
    if array.ndim != 2 or not (array.dtype in (np.uint8, np.bool_) or np.issubdtype(array.dtype, np.floating)):
        raise UserError(
            f"{path}: expected (H, W) uint8, bool or float, got {array.dtype} of shape {array.shape}; convert it",
            code="E-METRIC-FILE-ARRAY",
        )
    return array


def _plain_png(path: Path) -> np.ndarray | None:
    """Return an 8-bit grey PNG, or a colour one of equal channels, (H, W) uint8; None: another kind of file, or a damaged one.

    OpenCV decodes in half the time that Pillow takes.
    """
    try:
        data = path.read_bytes() if path.suffix.lower() == ".png" else b""
    except OSError:
        return None
    if not _holds_plain_png(data):
        return None
    coloured = data[25] == 2
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR if coloured else cv2.IMREAD_GRAYSCALE)
    if pixels is None or not coloured:
        return pixels
    first, *others = cv2.split(pixels)
    return first if all(np.array_equal(first, other) for other in others) else None


def _holds_plain_png(data: bytes) -> bool:
    """Return whether a file is a whole PNG of 8-bit grey or colour that has only the chunks of `_PLAIN`, each undamaged."""
    if data[:16] != b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" or len(data) < 57 or data[24] != 8 or data[25] not in (0, 2):
        return False
    if int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big") > _MOST_PX:
        return False
    kind, place = b"", 8
    while kind != b"IEND":
        kind, content = data[place + 4 : place + 8], place + 8 + int.from_bytes(data[place : place + 4], "big")
        if kind not in _PLAIN or data[content : content + 4] != zlib.crc32(data[place + 4 : content]).to_bytes(
            4, "big"
        ):
            return False
        place = content + 4
    return True
