"""Photos without a truth: listed by file, folder or glob, and read at the bit depth that the camera wrote.

Beyond ``samis.data.reading``: 16-bit colour, floating-point TIFF, and 10- or 12-bit values kept in 16 bits. Their white is
the full range of the type (1.0 for floats), or the user's value; never the largest value of a photo, since one bright
pixel must not darken the rest.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from samis.data.picture_file import IMAGE_SUFFIXES, FileError, check_tiff_size
from samis.data.reading import read_image, repeat_grey, row_blocks
from samis.errors import UserError

_DEEP = (".png", ".tif", ".tiff", ".pgm", ".ppm")


@dataclass(frozen=True)
class Photo:
    """A photo to be segmented.

    Attributes:
        id: unique among the photos: its path below the folder or glob that named it, without the ending.
        path: the file.
    """

    id: str
    path: Path


def find_photos(patterns: Iterable[str | Path], *, leave_out: Path | None = None) -> list[Photo]:
    """Return the photos that files, folders (with their subfolders) and globs (``**`` too) name, each once, sorted by id.

    Args:
        patterns: files, folders and globs.
        leave_out: a folder whose pictures are not taken, such as the one results go to. Hidden files never are.

    Raises:
        UserError: a pattern that names no picture, or two pictures of one id.
    """
    by_id: dict[str, Path] = {}
    for pattern in patterns:
        base, paths = _named_by(str(pattern))
        pictures = [path for path in paths if not _hidden(path, base) and not _below(path, leave_out)]
        if not pictures:
            raise UserError(
                f"{pattern}: expected a picture ({', '.join(IMAGE_SUFFIXES)}), a folder of pictures or a glob that names "
                "some, got none; check the path",
                code="E-DATA-EMPTY",
            )
        for path in pictures:
            key = path.relative_to(base).with_suffix("").as_posix()
            other = by_id.setdefault(key, path)
            # Unlike Path.resolve(), realpath() accepts a link that points to itself.
            if os.path.realpath(other) != os.path.realpath(path):
                raise UserError(
                    f"{other} and {path} would both be called '{key}'; name fewer (such as 'photos/*{path.suffix}'), "
                    "or name one folder above both",
                    code="E-DATA-SAME-NAME",
                )
    return [Photo(key, by_id[key]) for key in sorted(by_id)]


def _named_by(pattern: str) -> tuple[Path, list[Path]]:
    """Return the folder that ids are relative to, and the files."""
    path = Path(pattern)
    if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
        raise UserError(
            f"{path}: expected a folder to read, got 'permission denied'; check its rights", code="E-FILE-UNREADABLE"
        )
    if path.is_file() or (path.is_symlink() and not path.exists()):
        return path.parent, [path]
    if path.is_dir():
        return path, _pictures_in(path)
    if not glob.has_magic(pattern):
        return path, []
    fixed = 0
    while not glob.has_magic(path.parts[fixed]):
        fixed += 1
    base = Path(*path.parts[:fixed])
    files: list[Path] = []
    for match in map(Path, glob.glob(pattern, recursive=True)):
        if match.is_dir() and path.parts[-1] != "**":
            files += _pictures_in(match)
        elif _listed(match):
            files.append(match)
    return base, sorted(set(files))


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if _listed(path))


def _listed(path: Path) -> bool:
    """Return whether a path has a picture's ending; a broken link too, so that it is reported as unreadable."""
    return path.suffix.lower() in IMAGE_SUFFIXES and (path.is_file() or (path.is_symlink() and not path.exists()))


def _hidden(path: Path, base: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(base).parts)


def _below(path: Path, folder: Path | None) -> bool:
    return folder is not None and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def read_photo(path: Path, *, white: float | None = None) -> np.ndarray:
    """Read a photo as RGB.

    Args:
        path: the file.
        white: the value that means white in files of more than 8 bits, such as 4095 of a 12-bit camera; None takes the
            type's full range, and 1.0 for floating-point files.

    Returns:
        (H, W, 3) uint8; grey is repeated over the channels.

    Raises:
        UserError: the file cannot be read, or a floating-point file holds values outside [0, white].
    """
    path = Path(path)
    try:
        eight_bit = read_image(path)  # first, since it also notices a file that was cut short
        values = None if white is None else _as_stored(path)
    except FileError as error:
        # Pillow knows neither 16-bit colour TIFF nor how bright a float is; OpenCV reads both as they are.
        values = (
            _as_stored(path)
            if error.code in ("E-DATA-PIXELS", "E-FILE-NO-PICTURE") and path.suffix.lower() in _DEEP
            else None
        )
        if values is None or values.dtype == np.uint8:
            raise
    if values is None or values.dtype == np.uint8:
        return eight_bit
    return _to_rgb(_scaled(values, white, path))


def _as_stored(path: Path) -> np.ndarray | None:
    """Return a file's own values, (H, W) or (H, W, C) in OpenCV's order; None if OpenCV cannot read it.

    Raises:
        FileError: its header announces more than may be read.
    """
    check_tiff_size(path)
    try:
        return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, OSError):
        return None


def _scaled(values: np.ndarray, white: float | None, path: Path) -> np.ndarray:
    """Return 8-bit values: black is 0, `white` 255."""
    full = white or {"float32": 1.0, "float64": 1.0, "uint16": 65535.0}.get(values.dtype.name)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise FileError(
            f"{path}: expected numbers, got NaN or infinity in it; correct the export",
            code="E-DATA-PIXELS",
        )
    low, high = values.min(), values.max()
    if full is None:  # white of 32-bit integers would be 4e9: every photo would come out black
        raise FileError(
            f"{path}: expected 8- or 16-bit values, got {values.dtype.name} from {low} to {high}; state which value means "
            "white (--white)",
            code="E-DATA-PIXELS",
        )
    if low < 0 or (high > full and values.dtype.name != "uint16"):
        kind = "floating-point values" if values.dtype.kind == "f" else f"{values.dtype.name} values"
        raise FileError(
            f"{path}: expected {kind} from 0 (black) to {full:g} (white), got {low:.4g} to {high:.4g}; say which value "
            "means white (--white)",
            code="E-DATA-PIXELS",
        )
    scaled = np.empty(values.shape, np.uint8)
    for rows in row_blocks(values.shape):
        scaled[rows] = (values[rows].astype(np.float64) * (255 / full)).round().clip(0, 255)
    return scaled


def _to_rgb(values: np.ndarray) -> np.ndarray:
    if values.ndim == 2:
        return repeat_grey(values)
    if values.shape[2] == 4:  # transparent pixels are blended with black, as in read_image
        alpha = values[..., 3:].astype(np.float64) / 255
        values = (values[..., :3] * alpha).round().astype(np.uint8)
    return np.ascontiguousarray(values[..., 2::-1])
