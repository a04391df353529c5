"""Reads one image or mask file into a numpy array by stated rules, or refuses it with one clear line.

What is understood: PNG, JPEG, BMP, TIFF, WebP, PGM/PPM of one picture; grey, colour, palette, alpha, CMYK, 16 bit.

- 16-bit grey is scaled by its full range, ``round(v / 257)``, never by its content: one pixel must not change another.
- Transparent pixels are blended with black, so that colours hidden under them never show.
- A camera's EXIF rotation is applied, as picture viewers and labelling tools do.
- Masks hold two values, 0/255 or 0/1. Grey between them (JPEG masks, soft edges) is an error unless the data set
  declares it; then a pixel is defect where its value is above 127.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from samis.data.mapped import assembled, converted, mapped
from samis.data.picture_file import ORIENTATION, FileError, has_alpha, header, open_picture

_AS_VIEW = 1 << 25  # pixels: from here on a grey picture is repeated over the channels without copying it
_ROWS = 1 << 24  # pixels that are converted at once, so that wide types do not multiply the memory
_ENDINGS = {
    "PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "MPO": (".jpg", ".jpeg"), "BMP": (".bmp",), "DIB": (".bmp",),
    "TIFF": (".tif", ".tiff"), "WEBP": (".webp",), "PPM": (".pgm", ".ppm"),
}  # fmt: skip
_THRESHOLD = 127
_BLACK_NOISE = 16  # a JPEG of a black mask holds values up to about here


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
    with header(Path(path)) as picture:
        large = picture.width * picture.height >= _AS_VIEW
        pixels = mapped(picture) if large else None
        if large and pixels is None:
            pixels = assembled(picture)
    if pixels is not None:
        return repeat_grey(pixels) if pixels.ndim == 2 else pixels
    picture = open_picture(Path(path))
    if picture.mode.startswith("I"):
        return repeat_grey(_scaled_16_bit(picture, path))
    if large and picture.mode in ("L", "RGB") and not has_alpha(picture):
        pixels = converted(picture, picture.mode, max(1, _ROWS // 8 // picture.width))
        return repeat_grey(pixels) if pixels.ndim == 2 else pixels
    if picture.mode in ("F", "LAB", "HSV"):
        raise FileError(
            f"{path}: expected grey, RGB or CMYK pixels, got mode {picture.mode}; save it as 8-bit PNG",
            code="E-DATA-PIXELS",
        )
    if has_alpha(picture):
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
    picture = open_picture(Path(path))
    lossy = picture.format in ("JPEG", "MPO", "WEBP")
    values = _one_channel(picture, path)
    levels = np.unique(values)
    if set(levels.tolist()) in ({0}, {0, 255}, {255}, {0, 65535}, {65535}):
        return values > 0
    if set(levels.tolist()) in ({0, 1}, {1}) and not lossy:
        return values > 0
    if not grey:
        raise FileError(
            f"{path}: expected a mask of two values, 0 and 255 (or 0 and 1), got {_listed(levels)}; save it losslessly "
            "as a two-valued PNG, or pass grey_masks=true to cut it at 127",
            code="E-DATA-MASK-VALUES",
        )
    if _BLACK_NOISE < levels[-1] <= _THRESHOLD or levels[-1] > 255 or (not lossy and levels[-1] <= _THRESHOLD):
        raise FileError(
            f"{path}: expected a grey mask from 0 to 255 (cut at 127), got {_listed(levels)}; "
            "if these are class numbers, write the defects as 255",
            code="E-DATA-MASK-VALUES",
        )
    return values > _THRESHOLD


def picture_hw(path: Path | str) -> tuple[int, int]:
    """Return height and width of an upright picture, px, from its header.

    A PNG may state a rotation after its pixels, which only decoding reads: check sizes that differ again after decoding.

    Raises:
        UserError: if the header cannot be read, or announces what ``read_image`` refuses.
    """
    with header(Path(path)) as picture:
        width, height = picture.size
        has_exif = picture.format != "PNG" or "exif" in picture.info
        turned = has_exif and picture.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def peculiarities(path: Path | str, *, mask: bool = False) -> list[tuple[str, str]]:
    """Return what reading a file converts without an error, as (code, text), from its header (and a mask's values).

    Args:
        path: the file.
        mask: whether it is a mask.

    Raises:
        UserError: if the file cannot be read.
    """
    notes: list[tuple[str, str]] = []
    if mask and _is_zero_one(Path(path)):
        notes.append(("zero_one_mask", "values 0 and 1 were read as black and white"))
    with header(Path(path)) as picture:
        endings = _ENDINGS[picture.format or ""]
        if Path(path).suffix.lower() not in endings:
            notes.append(
                ("wrong_ending", f"expected {picture.format} by its content, ending in {endings[0]}; rename it")
            )
        if picture.mode.startswith("I"):
            notes.append(("16_bit", "16-bit values were scaled by 1/257"))
        if picture.mode in ("P", "PA"):
            notes.append(("palette", "a palette was converted to its colours"))
        if has_alpha(picture):
            notes.append(("alpha", "transparent parts were blended with black"))
        if picture.mode in ("CMYK", "YCbCr"):
            notes.append(("colour_space", f"{picture.mode} was converted to RGB"))
        if picture.getexif().get(ORIENTATION, 1) != 1:
            notes.append(
                (
                    "exif_rotation",
                    "the camera's EXIF rotation was applied; its mask must be drawn on the upright picture",
                )
            )
    return notes


def _is_zero_one(path: Path) -> bool:
    picture = open_picture(path)
    return picture.mode == "L" and picture.getextrema()[1] == 1


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
    if has_alpha(picture):
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
