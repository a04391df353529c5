"""Pairs the files of a folder of maps and a folder of masks by name, and refuses folders whose names do not match."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samis.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".npy")


@dataclass(frozen=True)
class Files:
    """One image's two files.

    Attributes:
        name: name of both files without the suffix.
        map_path: the saved map.
        truth_path: the mask.
    """

    name: str
    map_path: Path
    truth_path: Path


def match_files(
    map_folder: Path,
    truth_folder: Path,
    *,
    names: Sequence[str] | None = None,
    map_suffix: str | None = None,
    truth_suffix: str | None = None,
) -> list[Files]:
    """Pair the files of two folders by name without suffix.

    Args:
        map_folder: saved maps.
        truth_folder: masks.
        names: score these only, with or without an image suffix; None: both folders must hold the same names.
        map_suffix: end of the map files' names, such as ``_map.png``, in any case; other files are left out. None: any
            image suffix.
        truth_suffix: the same for masks.

    Returns:
        The pairs, sorted by name.

    Raises:
        UserError: no folder, no file, two files of one name, a mask without a map, or a map without a mask.
    """
    maps, truths = _by_name(map_folder, map_suffix), _by_name(truth_folder, truth_suffix)
    wanted = {_stem(name, truths) for name in names} if names is not None else set(truths)
    for folder, held in ((map_folder, maps), (truth_folder, truths)):
        missing = sorted(wanted - set(held))
        if missing:
            advice = "check the list of names" if names else "add them, or name the images to score with --names"
            share = f"{len(missing)} of {len(wanted)} images missing ({first_names(missing)})"
            raise UserError(f"{folder}: {share}; {advice}", code="E-METRIC-MISSING")
    extra = sorted(set(maps) - wanted) if names is None else []
    if extra:
        advice = "add the masks, or name the images to score with --names"
        raise UserError(
            f"{truth_folder}: no mask for {len(extra)} maps of {map_folder} ({first_names(extra)}); {advice}",
            code="E-METRIC-NO-MASK",
        )
    return [Files(name, maps[name], truths[name]) for name in sorted(wanted)]


def _by_name(folder: Path, suffix: str | None) -> dict[str, Path]:
    if not folder.is_dir():
        reason = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"{folder}: {reason}; give a folder", code="E-METRIC-FOLDER")
    paths: dict[str, Path] = {}
    with os.scandir(folder) as entries:  # which tells files from folders without a system call for each
        files = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    for file in files:
        stem, ending = os.path.splitext(file)
        if suffix is not None and not file.casefold().endswith(suffix.casefold()):
            continue
        if suffix is None and ending.lower() not in SUFFIXES:
            continue
        name = file[: -len(suffix)] if suffix else stem
        path = folder / file
        if name in paths:
            both = f"{paths[name].name} and {path.name}"
            advice = "move one away, or give --map-suffix or --mask-suffix"
            raise UserError(f"{folder}: two files for one name ({both}); {advice}", code="E-METRIC-TWO-FILES")
        paths[name] = path
    if not paths:
        raise UserError(
            f"{folder}: holds no image ({suffix or ' '.join(SUFFIXES)}); check the path", code="E-METRIC-FOLDER-EMPTY"
        )
    return paths


def _stem(name: str, known: Mapping[str, Path]) -> str:
    """Return a listed name without its image suffix, unless a file is known with it."""
    plain = Path(name)
    return name if name in known or plain.suffix.lower() not in SUFFIXES else plain.name.removesuffix(plain.suffix)


def first_names(names: Sequence[str]) -> str:
    """Return the first three of some names, for a message."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
