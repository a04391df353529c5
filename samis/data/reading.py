"""Reads one image or mask file into a numpy array by stated rules, or refuses it with one clear line.

What is understood: PNG, JPEG, BMP, TIFF, WebP, PGM/PPM of one picture; grey, colour, palette, alpha, CMYK, 16 bit.

- 16-bit grey is scaled by its full range, ``round(v / 257)``, never by its content: one pixel must not change another.
- Transparency is laid over black, so that colours hidden under it never show.
- A camera's EXIF rotation is applied, as picture viewers and labelling tools do.
- Masks hold two values, 0/255 or 0/1. Grey between them (JPEG masks, soft rims) is an error unless the data set
  declares it; then a pixel is defect where its value is above 127.
"""

from __future__ import annotations

import math
import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from samis.data.mapped import assembled, converted, mapped, pixels_begin
from samis.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
"""File endings taken for pictures, in lower case."""
MEMORY_VARIABLE = "SAMIS_PICTURE_MB"
"""Environment variable: most MB (2**20 bytes) that one decoded picture may take, 3 bytes a pixel, or 1 of grey that
can be mapped from the file; the header is judged."""
_DEFAULT_MB = 1024
_AS_VIEW = 1 << 25  # pixels: from here on a grey picture is repeated over the channels without copying it
_ROWS = 1 << 24  # pixels that are converted at once, so that wide types do not multiply the memory
_PILLOW_LIMIT = threading.Lock()
_ENDINGS = {
    "PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "MPO": (".jpg", ".jpeg"), "BMP": (".bmp",), "DIB": (".bmp",),
    "TIFF": (".tif", ".tiff"), "WEBP": (".webp",), "PPM": (".pgm", ".ppm"),
}  # fmt: skip
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "PPM")
BROKEN = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error, zlib.error)
_ORIENTATION = 0x0112  # the EXIF tag
_THRESHOLD = 127
_BLACK_NOISE = 16  # a JPEG of a black mask holds values up to about here


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


def read_image(path: Path | str) -> np.ndarray:
    """Read an image file as RGB.

    Args:
        path: the file.

    Returns:
        (H, W, 3) uint8, RGB; grey is repeated over the channels, in a large picture as a read-only view, so that it takes
        one byte a pixel. A large uncompressed TIFF or PGM/PPM is a read-only view of the file, a deflated or tiled TIFF is
        decoded part by part (`samis.data.mapped`).

    Raises:
        UserError: if the file is missing, unreadable, truncated, too large, of several pictures or of an unknown kind.
    """
    with _header(Path(path)) as picture:
        large = picture.width * picture.height >= _AS_VIEW
        pixels = mapped(picture) if large else None
        if large and pixels is None:
            pixels = assembled(picture)
    if pixels is not None:
        return repeat_grey(pixels) if pixels.ndim == 2 else pixels
    picture = _open(Path(path))
    if picture.mode.startswith("I"):
        return repeat_grey(_scaled_16_bit(picture, path))
    if large and picture.mode in ("L", "RGB") and not _has_alpha(picture):
        pixels = converted(picture, picture.mode, max(1, _ROWS // 8 // picture.width))
        return repeat_grey(pixels) if pixels.ndim == 2 else pixels
    if picture.mode in ("F", "LAB", "HSV"):
        raise FileError(
            f"{path}: expected grey, RGB or CMYK pixels, got mode {picture.mode}; save it as 8-bit PNG",
            code="E-DATA-PIXELS",
        )
    if _has_alpha(picture):
        coloured = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), coloured)
    return np.array(picture.convert("RGB"))


def repeat_grey(values: np.ndarray) -> np.ndarray:
    """Return grey pixels (H, W) as (H, W, 3); of a large picture as a read-only view."""
    if values.size >= _AS_VIEW:
        return np.broadcast_to(values[..., None], (*values.shape, 3))
    return np.repeat(values[..., None], 3, axis=2)


def read_mask(path: Path | str, *, grey: bool = False) -> np.ndarray:
    """Read a mask file.

    Args:
        path: the file.
        grey: whether values between black and white are expected; they are then cut at 127.

    Returns:
        (H, W) bool, True on defects.

    Raises:
        UserError: as ``read_image``, and if the mask is coloured or not two-valued.
    """
    picture = _open(Path(path))
    lossy = picture.format in ("JPEG", "MPO", "WEBP")
    values = _one_channel(picture, path)
    found = np.unique(values)
    if set(found.tolist()) in ({0}, {0, 255}, {255}, {0, 65535}, {65535}):
        return values > 0
    if set(found.tolist()) in ({0, 1}, {1}) and not lossy:
        return values > 0
    if not grey:
        raise FileError(
            f"{path}: expected a mask of two values, 0 and 255 (or 0 and 1), got {_listed(found)}; save it losslessly "
            "as a two-valued PNG, or pass grey_masks=true to cut it at 127",
            code="E-DATA-MASK-VALUES",
        )
    if _BLACK_NOISE < found[-1] <= _THRESHOLD or found[-1] > 255 or (not lossy and found[-1] <= _THRESHOLD):
        raise FileError(
            f"{path}: expected a grey mask from 0 to 255 (cut at 127), got {_listed(found)}; "
            "if these are class numbers, write the defects as 255",
            code="E-DATA-MASK-VALUES",
        )
    return values > _THRESHOLD


def picture_hw(path: Path | str) -> tuple[int, int]:
    """Return height and width of an upright picture, px, from its header.

    A PNG may tell of a rotation after its pixels, which only decoding finds: sizes that do not fit are worth a second look.

    Raises:
        UserError: if the header cannot be read, or announces what ``read_image`` refuses.
    """
    with _header(Path(path)) as picture:
        width, height = picture.size
        told = picture.format != "PNG" or "exif" in picture.info
        turned = told and picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def peculiarities(path: Path | str, *, mask: bool = False) -> list[tuple[str, str]]:
    """Return what was understood silently in reading a file, as (code, text), from its header (and a mask's values).

    Raises:
        UserError: if the file cannot be read.
    """
    found: list[tuple[str, str]] = []
    if mask and _is_zero_one(Path(path)):
        found.append(("zero_one_mask", "values 0 and 1 were read as black and white"))
    with _header(Path(path)) as picture:
        endings = _ENDINGS[picture.format or ""]
        if Path(path).suffix.lower() not in endings:
            found.append(
                ("wrong_ending", f"expected {picture.format} by its content, ending in {endings[0]}; rename it")
            )
        if picture.mode.startswith("I"):
            found.append(("16_bit", "16-bit values were scaled by 1/257"))
        if picture.mode in ("P", "PA"):
            found.append(("palette", "a palette was turned into its colours"))
        if _has_alpha(picture):
            found.append(("alpha", "transparent parts were laid over black"))
        if picture.mode in ("CMYK", "YCbCr"):
            found.append(("colour_space", f"{picture.mode} was turned into RGB"))
        if picture.getexif().get(_ORIENTATION, 1) != 1:
            found.append(
                (
                    "exif_rotation",
                    "the camera's EXIF rotation was applied; its mask must be drawn on the upright picture",
                )
            )
    return found


def _is_zero_one(path: Path) -> bool:
    picture = _open(path)
    return picture.mode == "L" and picture.getextrema()[1] == 1


def _header(path: Path) -> Image.Image:
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
        as_it_is = picture.mode == "L" and pixels_begin(picture) is not None
        _check_size(path, *picture.size, 1 if as_it_is else 3)
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


def _open(path: Path) -> Image.Image:
    with _header(path) as picture:
        try:
            if (
                picture.format == "TIFF"
            ):  # Pillow maps an uncompressed file, and one that lies on its side in wrong rows
                picture.filename = ""
            picture.load()
            upright = ImageOps.exif_transpose(picture)
        except MemoryError:
            raise
        except BROKEN as error:
            raise FileError(
                f"{path}: expected a whole picture, got a damaged one ({error}); copy it again",
                code="E-FILE-DAMAGED",
            ) from error
        upright.format = picture.format
        return upright


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info


def _scaled_16_bit(picture: Image.Image, path: Path | str) -> np.ndarray:
    values = np.asarray(picture)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise FileError(
            f"{path}: expected 8- or 16-bit pixels, got values {low} to {high}; save it as 8-bit PNG",
            code="E-DATA-PIXELS",
        )
    scaled = np.empty(values.shape, np.uint8)
    for rows in row_blocks(values.shape):
        scaled[rows] = (values[rows].astype(np.int64) + 128) // 257
    return scaled


def row_blocks(shape: tuple[int, ...]) -> list[slice]:
    """Return slices of rows that together are a picture of a shape, each of a bounded number of values."""
    step = max(1, _ROWS // max(1, math.prod(shape[1:])))
    return [slice(start, start + step) for start in range(0, shape[0], step)]


def _one_channel(picture: Image.Image, path: Path | str) -> np.ndarray:
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8) * 255
    if picture.mode == "L" or picture.mode.startswith("I"):
        return np.asarray(picture)
    if picture.mode in ("F", "LAB", "HSV", "CMYK", "YCbCr"):
        raise FileError(
            f"{path}: expected a grey mask, got mode {picture.mode}; save it as a two-valued PNG",
            code="E-DATA-MASK-COLOUR",
        )
    if _has_alpha(picture):
        coloured = np.asarray(picture.convert("RGBA"))
        if (coloured[..., 3] < 255).any():
            raise FileError(
                f"{path}: expected a mask without transparency, got a transparent one; flatten it",
                code="E-DATA-MASK-ALPHA",
            )
    colours = np.asarray(picture.convert("RGB"))
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
    if picture.mode == "P":  # labelling tools colour their class numbers: 0 black, 1 dark red
        return np.asarray(picture)
    raise FileError(
        f"{path}: expected a grey mask, got a coloured one; write defects white (255) on black (0)",
        code="E-DATA-MASK-COLOUR",
    )


def _listed(values: np.ndarray) -> str:
    """Return a short list of values.

    >>> _listed(np.array([0, 3, 7, 9, 11, 12, 255]))
    '7 values: 0, 3, 7 ... 255'
    """
    if len(values) <= 5:
        return "values " + ", ".join(str(value) for value in values)
    return f"{len(values)} values: " + ", ".join(str(value) for value in values[:3]) + f" ... {values[-1]}"
