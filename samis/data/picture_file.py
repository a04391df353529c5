"""Opens a picture file after its header was checked, or refuses it with one clear line.

The kinds of files are PNG, JPEG, BMP, TIFF, WebP and PGM/PPM with one picture.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from pathlib import Path

from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from samis.data.mapped import pixels_start
from samis.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
"""File endings of pictures, in lower case."""
MEMORY_VARIABLE = "SAMIS_PICTURE_MB"
"""Environment variable: most MB (2**20 bytes) that one decoded picture may take, 3 bytes a pixel, or 1 byte a pixel for a
grey picture that can be mapped from the file; computed from the header."""
_DEFAULT_MB = 1024
_PILLOW_LIMIT = threading.Lock()
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "PPM")
BROKEN = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error, zlib.error)
ORIENTATION = 0x0112
"""Number of the EXIF tag."""


def max_bytes() -> int:
    """Return the most bytes that one decoded picture may take.

    Raises:
        UserError: the environment variable is no number of MB.
    """
    text = os.environ.get(MEMORY_VARIABLE, str(_DEFAULT_MB))
    if not text.isdecimal() or not 0 < int(text) < 1 << 40:
        raise UserError(
            f"{MEMORY_VARIABLE}={text}: expected a number of MB above 0; correct or unset it", code="E-FILE-MEMORY"
        )
    return int(text) << 20


FINDINGS = {
    "E-FILE-EMPTY": "empty_file",
    "E-FILE-MISSING": "missing",
    "E-FILE-UNREADABLE": "permission",
    "E-FILE-NO-PICTURE": "no_picture",
    "E-FILE-DAMAGED": "damaged",
    "E-FILE-SEVERAL-PICTURES": "many_pictures",
    "E-FILE-TOO-LARGE": "too_large",
    "E-DATA-PIXELS": "mode",
    "E-DATA-MASK-VALUES": "mask_values",
    "E-DATA-MASK-COLOUR": "mask_colour",
    "E-DATA-MASK-ALPHA": "mask_alpha",
}
"""Code of a `FileError` -> code of the data doctor's finding for it."""


class FileError(UserError):
    """A picture file that cannot be used; its code is one of `FINDINGS`."""

    @property
    def finding(self) -> str:
        """Code of the data doctor's finding."""
        return FINDINGS[self.code]


def header(path: Path) -> Image.Image:
    """Open a picture without decoding it.

    Args:
        path: the file.

    Raises:
        FileError: the file is missing, empty, damaged, too large, of an unknown kind or of several pictures.
    """
    try:
        if path.stat().st_size == 0:
            raise FileError(
                f"{path}: expected a picture, got an empty file (0 bytes); copy it again",
                code="E-FILE-EMPTY",
            )
        with (
            _PILLOW_LIMIT
        ):  # Pillow's own limit counts pixels and belongs to the process: set aside for the header only
            before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                picture = Image.open(path, formats=_FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = before
    except FileNotFoundError as error:
        raise FileError(
            f"{path}: expected a picture, but there is no such file; check the path",
            code="E-FILE-MISSING",
        ) from error
    except PermissionError as error:
        raise FileError(
            f"{path}: expected a readable file, got 'permission denied'; check its rights",
            code="E-FILE-UNREADABLE",
        ) from error
    except UnidentifiedImageError as error:
        raise FileError(
            f"{path}: expected a picture (PNG, JPEG, BMP, TIFF, WebP, PGM), got something else; is it damaged?",
            code="E-FILE-NO-PICTURE",
        ) from error
    except BROKEN as error:
        raise FileError(
            f"{path}: expected a picture, but it cannot be opened ({error}); copy it again",
            code="E-FILE-DAMAGED",
        ) from error
    try:
        unchanged = picture.mode == "L" and pixels_start(picture) is not None
        _check_size(path, *picture.size, 1 if unchanged else 3)
    except FileError:
        picture.close()
        raise
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":
        picture.close()
        raise FileError(
            f"{path}: expected one picture, got a file of {frames}; save the one you mean",
            code="E-FILE-SEVERAL-PICTURES",
        )
    return picture


def _check_size(path: Path, width: int, height: int, bytes_per_px: int = 3) -> None:
    most, size = max_bytes(), bytes_per_px * width * height
    if size > most:
        raise FileError(
            f"{path}: expected at most {most >> 20} MB of pixels, got {width}x{height} px, {size >> 20} MB; "
            f"cut it into tiles, or set {MEMORY_VARIABLE} to what your memory allows",
            code="E-FILE-TOO-LARGE",
        )


def check_tiff_size(path: Path) -> None:
    """Refuse a TIFF too large to be read, of a kind that Pillow does not know, by its header; other files pass.

    Raises:
        FileError: more pixels than ``max_bytes`` allows.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
            if head[:4] not in (b"II*\0", b"MM\0*"):
                return
            tags = TiffImagePlugin.ImageFileDirectory_v2(head)
            file.seek(tags.next)
            tags.load(file)
            width, height, samples = (int(tags.get(tag, 1)) for tag in (256, 257, 277))
    except BROKEN:
        return
    _check_size(path, width, height, max(3, 2 * samples))


def open_picture(path: Path) -> Image.Image:
    """Open and decode a picture, and apply the camera's EXIF rotation.

    Args:
        path: the file.

    Raises:
        FileError: as `header`, or the pixels are damaged.
    """
    with header(path) as picture:
        try:
            if picture.format == "TIFF":  # Pillow maps an uncompressed file; one with a rotation gets wrong rows
                picture.filename = ""
            picture.load()
            upright = ImageOps.exif_transpose(picture)
        except MemoryError:
            raise
        except BROKEN as error:
            raise FileError(
                f"{path}: expected a complete picture, got a damaged one ({error}); copy it again",
                code="E-FILE-DAMAGED",
            ) from error
        upright.format = picture.format
        return upright


def has_alpha(picture: Image.Image) -> bool:
    """Return whether a picture may have transparent pixels."""
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
