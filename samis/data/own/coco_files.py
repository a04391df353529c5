"""Finds COCO annotation files and the images they name, as COCO itself, CVAT, Roboflow and Label Studio arrange them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from samis.data.pairing import GIVEN_SPLITS, portable
from samis.errors import UserError

HOW_TO_GET = (
    "expected are ROOT/annotations.json, ROOT/{train,val,test}.json, ROOT/annotations/instances_{train,val,test}*.json or "
    "ROOT/{train,valid,test}/_annotations.coco.json"
)
_SPLIT_FOLDERS = ("train", "val", "valid", "validation", "test")


@dataclass(frozen=True)
class AnnotationFile:
    """One annotation file.

    Attributes:
        path: the file.
        subset: name that the file gives to its part, such as ``train2017`` or ``default``, "" for none.
        split: ``train``, ``val``, ``test``, or "" where splits are to be drawn.
    """

    path: Path
    subset: str
    split: str


def split_of(subset: str) -> str:
    """Return the split that a subset's name begins with, or "".

    >>> split_of("train2017"), split_of("Validation"), split_of("default")
    ('train', 'val', '')
    """
    return next((split for split in GIVEN_SPLITS if subset.casefold().startswith(split)), "")


def annotation_files(base: Path, json: str) -> list[AnnotationFile]:
    """Return the annotation files of a folder.

    Args:
        base: the folder.
        json: the one file, relative to `base`; empty searches the known layouts.

    Raises:
        UserError: no file, several files without one for each split, or only some files that name a split.
    """
    if json:
        return [AnnotationFile(base / json, _subset(base / json), "")]
    for paths in (
        _named_splits(base.glob("*.json")),
        _named_splits((base / "annotations").glob("*.json")),
        sorted((base / "annotations").glob("instances_*.json")),
        [
            path
            for path in sorted(base.glob("*/_annotations.coco.json"))
            if path.parent.name.casefold() in _SPLIT_FOLDERS
        ],
    ):
        if paths:
            return _checked(base, paths)
    single = sorted(base.glob("*.json")) or sorted((base / "annotations").glob("*.json"))
    if len(single) != 1:
        raise UserError(
            f"{base}: expected one JSON file or one a split, got {len(single)}; {HOW_TO_GET}", code="E-DATA-LAYOUT"
        )
    return [AnnotationFile(single[0], _subset(single[0]), "")]


def _named_splits(paths: Iterable[Path]) -> list[Path]:
    """Return the files that are named after a split and nothing else."""
    return sorted(path for path in paths if path.stem.casefold() in _SPLIT_FOLDERS)


def _checked(base: Path, paths: Sequence[Path]) -> list[AnnotationFile]:
    files = [AnnotationFile(path, _subset(path), split_of(_subset(path))) for path in paths]
    files.sort(key=lambda file: (GIVEN_SPLITS.index(file.split) if file.split else 0, file.path))
    unnamed = [file for file in files if not file.split]
    if unnamed and len(unnamed) < len(files):
        raise UserError(
            f"{unnamed[0].path}: expected a name that begins with a split ({', '.join(GIVEN_SPLITS)}), as the others in {base} "
            "have; rename it, or name one file with data.options={json: FILE}",
            code="E-DATA-LAYOUT",
        )
    return files


def _subset(path: Path) -> str:
    if path.stem == "_annotations.coco":
        return path.parent.name
    return path.stem.removeprefix("instances_")


def find_image(name: str, folders: Sequence[Path]) -> tuple[str, Path] | None:
    """Find an image that an annotation file names.

    Args:
        name: as written: with slashes or backslashes, relative to one of the folders; or absolute, maybe of another
            machine, of which the longest existing ending counts.
        folders: folders to search, in this order.

    Returns:
        The name relative to the folder, with slashes, and the file; None if there is none.
    """
    written = portable(name).rpartition("?d=")[2]  # Label Studio's local files: /data/local-files/?d=photos/a.png
    if _is_file(Path(written)) and Path(written).is_absolute():
        return PurePosixPath(written).name, Path(written)
    parts = [part for part in PurePosixPath(written).parts if part not in ("/", ".", "..") and not part.endswith(":")]
    absolute = written.startswith("/") or ":" in written[:8] or ".." in PurePosixPath(written).parts
    for start in range(len(parts) if absolute else min(1, len(parts))):
        tail = "/".join(parts[start:])
        spellings = dict.fromkeys([tail, *(unicodedata.normalize(form, tail) for form in ("NFC", "NFD"))])
        for folder in folders:
            for spelling in spellings:  # one machine writes e-acute as one character, another as two
                if _is_file(folder / spelling):
                    return tail, folder / spelling
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return False
