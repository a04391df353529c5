"""Finds which mask belongs to which image, by the file name without its ending, and every file that has no partner."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from samis.data.picture_file import IMAGE_SUFFIXES
from samis.errors import UserError

GIVEN_SPLITS = ("train", "val", "test")
"""Split names a user's folders or CSV may give."""
_FORBIDDEN_SIGNS = ("Cc", "Cs", "Zl", "Zp")  # Unicode's controls, surrogates (bytes that are not UTF-8), line breaks


@dataclass(frozen=True)
class Pair:
    """An image file and its mask file, None where it has none."""

    image_path: Path
    mask_path: Path | None


@dataclass(frozen=True)
class Fault:
    """One mistake in the files of a data set.

    Attributes:
        code: short code, such as ``image_without_mask``; a key of `FAULT_CODES`.
        file: the file.
        message: what is wrong, where, and what to do.
    """

    code: str
    file: Path
    message: str


FAULT_CODES = {
    "image_without_mask": "E-DATA-UNPAIRED",
    "mask_without_image": "E-DATA-UNPAIRED",
    "double_stem": "E-DATA-SAME-NAME",
    "odd_name": "E-DATA-FILE-NAME",
}
"""Code of a fault -> code of the error that reports it first."""


class PairingError(UserError):
    """Files without a partner; the message is that of the first fault.

    Args:
        faults: all faults, at least one.
        complete: the complete pairs by id.
        code: of the error.
    """

    def __init__(self, faults: list[Fault], complete: dict[str, Pair], *, code: str) -> None:
        more = f" (and {len(faults) - 1} more of this kind or others)" if len(faults) > 1 else ""
        super().__init__(faults[0].message + more, code=code)
        self.faults = faults
        self.complete = complete


@dataclass
class Pairs:
    """Pairs of image and mask by file name.

    Attributes:
        by_stem: stem -> pair, in natural order.
        faults: files that are in no pair.
    """

    by_stem: dict[str, Pair] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def add(self, other: Pairs) -> None:
        """Add the pairs and faults of other folders; a stem that is already known becomes a fault."""
        for stem, pair in other.by_stem.items():
            if stem in self.by_stem:
                first = self.by_stem[stem].image_path
                text = f"{pair.image_path}: expected file names that differ, got {first} too; rename one"
                self.faults.append(Fault("double_stem", pair.image_path, text))
                continue
            self.by_stem[stem] = pair
        self.faults += other.faults

    def require(self) -> dict[str, Pair]:
        """Return `by_stem`.

        Raises:
            PairingError: if there are faults.
        """
        if self.faults:
            raise PairingError(self.faults, self.by_stem, code=FAULT_CODES[self.faults[0].code])
        return self.by_stem


@dataclass
class DataFiles:
    """The files of a user's data set.

    Attributes:
        pairs: pairs by id.
        classes: id -> class.
        splits: id -> split, where the user gives one.
    """

    pairs: Pairs = field(default_factory=Pairs)
    classes: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts ``rail_2`` before ``rail_10``.

    >>> sorted(["rail_10", "rail_2"], key=natural_key)
    ['rail_2', 'rail_10']
    """
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def portable(name: str) -> str:
    r"""Return a path from a file that some other system may have written: with slashes for Windows' backslashes.

    >>> portable("images\\a.png")
    'images/a.png'
    """
    return name if os.sep == "\\" else name.replace("\\", "/")


def list_pictures(folder: Path, *, what: str = "pictures") -> list[Path]:
    """Return the picture files that lie directly in `folder`, in natural order; hidden and other files are ignored.

    Args:
        folder: the folder.
        what: what the pictures are, for the error.

    Raises:
        UserError: if the folder is missing, is no folder, cannot be read or holds no picture.
    """
    if not folder.is_dir():
        kind = "a file" if folder.exists() else "nothing there"
        raise UserError(f"{folder}: expected a folder of {what}, got {kind}; check the path", code="E-DATA-LAYOUT")
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"{folder}: expected a readable folder of {what}, got '{error.strerror}'; check it",
            code="E-FILE-UNREADABLE",
        ) from error
    pictures = [
        p for p in entries if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and not p.is_dir()
    ]
    if not pictures:
        raise UserError(
            f"{folder}: expected {what} ({', '.join(IMAGE_SUFFIXES)}), got none among {len(entries)} entries; "
            "check the path and that the download was unpacked",
            code="E-DATA-EMPTY",
        )
    return sorted(pictures, key=lambda p: natural_key(p.name))


def pair_folders(images: Path, masks: Path, *, masks_optional: bool = False) -> Pairs:
    """Pair the pictures of two folders by stem.

    Args:
        images: folder of images.
        masks: folder of masks.
        masks_optional: whether an image may lack its mask.

    Returns:
        Pairs in natural order, with a fault for each image without mask, mask without image and doubled stem.

    Raises:
        UserError: if a folder is missing or empty (an absent mask folder is allowed with `masks_optional`).
    """
    image_paths = list_pictures(images, what="images")
    mask_paths = [] if masks_optional and not masks.exists() else list_pictures(masks, what="masks")
    return pair_files(image_paths, mask_paths, masks_optional=masks_optional, masks_where=str(masks))


def pair_files(
    image_paths: Iterable[Path],
    mask_paths: Iterable[Path],
    *,
    masks_optional: bool = False,
    masks_where: str = "the masks",
) -> Pairs:
    """Pair two lists of files by stem; see ``pair_folders``.

    Args:
        image_paths: files of images.
        mask_paths: files of masks.
        masks_optional: whether an image may lack its mask.
        masks_where: where the masks are, for the error.
    """
    pairs = Pairs()
    images = _by_stem(image_paths, "image", pairs.faults)
    masks = _by_stem(mask_paths, "mask", pairs.faults)
    for stem, image in images.items():
        if stem not in masks and not masks_optional:
            text = f"{image}: expected a mask named {stem}.* in {masks_where}, got none; add it or remove the image"
            pairs.faults.append(Fault("image_without_mask", image, text))
            continue
        pairs.by_stem[stem] = Pair(image, masks.get(stem))
    for stem, mask in masks.items():
        if stem not in images:
            text = f"{mask}: expected an image named {stem}.* for this mask, got none; add it or remove the mask"
            pairs.faults.append(Fault("mask_without_image", mask, text))
    return pairs


def _by_stem(paths: Iterable[Path], what: str, faults: list[Fault]) -> dict[str, Path]:
    table: dict[str, Path] = {}
    for path in paths:
        stem = unicodedata.normalize("NFC", path.stem)  # one machine writes e-acute as one character, another as two
        if any(unicodedata.category(sign) in _FORBIDDEN_SIGNS for sign in stem):
            text = f"{str(path)!a}: expected a file name of letters, got control characters or bytes that are not UTF-8; rename it"
            faults.append(Fault("odd_name", path, text))
            continue
        if stem in table:
            other = table[stem]
            text = f"{path}: expected one {what} named {stem}, got also {other.name}; remove or rename one"
            faults.append(Fault("double_stem", path, text))
            continue
        table[stem] = path
    return table
