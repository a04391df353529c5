"""Score a folder of saved maps against a folder of masks: strict on names, plain about files it cannot use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from samis.errors import UserError
from samis.metrics.aupro import AUPRO
from samis.metrics.base import ImageMetric, ImageScores, score_pair, score_pairs
from samis.metrics.clean import Clean
from samis.metrics.float_pair import FloatPair, make_pair
from samis.metrics.grey import read_grey
from samis.metrics.image_level import ImageLevel
from samis.metrics.pair import FEW_LEVELS, Pair
from samis.metrics.truth import TruthFields

BLOCK, BLOCK_PX = 40, 1 << 22
"""Maps that are read before they are scored at once, and about as many pixels at most."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".npy")


@dataclass(frozen=True)
class Files:
    """One image's two files."""

    name: str
    map_path: Path
    truth_path: Path


@dataclass
class FolderScores:
    """Scores by image name, images with a defect apart from clean ones.

    Attributes:
        defective: scores under the protocol asked for.
        clean: the same for images whose mask is empty.
        clean_rule: those images under the rule for clean images (`samis.metrics.clean`).
        few_levels, jpeg_masks: names of the images with a defect whose map spans few levels, and of those whose mask is a
            JPEG, where the protocol is misled by either.
        faint: names of the images whose map of floats spans few of the thresholds that ``aupro`` and ``image_level`` have.
    """

    defective: dict[str, ImageScores] = field(default_factory=dict)
    clean: dict[str, ImageScores] = field(default_factory=dict)
    clean_rule: dict[str, ImageScores] = field(default_factory=dict)
    few_levels: list[str] = field(default_factory=list)
    jpeg_masks: list[str] = field(default_factory=list)
    faint: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """Return what should be known before the numbers are used."""
        found = []
        if self.few_levels:
            found.append(
                f"{len(self.few_levels)} maps span fewer than {FEW_LEVELS} of 256 levels ({_few(self.few_levels)}): stretching "
                "makes coarse steps of them; save maps as floats (.npy) or score with --protocol inspection"
            )
        if self.faint:
            found.append(
                f"{len(self.faint)} maps of floats span fewer than {FEW_LEVELS} of the 256 thresholds 0/255 .. 255/255 "
                f"({_few(self.faint)}), the only ones at which aupro and the image-level numbers are computed: multiply all maps "
                "by one factor, so that the largest value is 1"
            )
        if self.jpeg_masks:
            found.append(
                f"{len(self.jpeg_masks)} masks are JPEG files ({_few(self.jpeg_masks)}): their noise counts as defect under "
                "this protocol, which can cost .05 of the S-measure; use the lossless masks"
            )
        return found


def read_truth(path: Path, *, classes: Sequence[int] | None = None, ignore_value: int | None = None) -> TruthFields:
    """Read a mask; `classes` and `ignore_value` as for `TruthFields`.

    Raises:
        UserError: the file is refused, with its name, what was expected, what came and what to do.
    """
    truth = read_grey(path)
    if np.issubdtype(truth.dtype, np.floating):
        raise UserError(f"{path}: expected a 0/255 or 0/1 mask, got floats; save it as 8-bit grey")
    return TruthFields(truth, source=str(path), classes=classes, ignore_value=ignore_value)


def read_pair(files: Files, *, protocol: str, threshold: float = 0.5) -> Pair:
    """Read one image's map and mask, and check that they fit; raises as `read_truth`."""
    values, fields = read_grey(files.map_path), read_truth(files.truth_path)
    return make_pair(values, fields, protocol=protocol, threshold=threshold, source=str(files.map_path))


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
        map_suffix: end of the map files' names, such as ``_map.png``, in any case; other files are passed over. None: any
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
            share = f"{len(missing)} of {len(wanted)} images missing ({_few(missing)})"
            raise UserError(f"{folder}: {share}; {advice}")
    extra = sorted(set(maps) - wanted) if names is None else []
    if extra:
        advice = "add the masks, or name the images to score with --names"
        raise UserError(f"{truth_folder}: no mask for {len(extra)} maps of {map_folder} ({_few(extra)}); {advice}")
    return [Files(name, maps[name], truths[name]) for name in sorted(wanted)]


def _by_name(folder: Path, suffix: str | None) -> dict[str, Path]:
    if not folder.is_dir():
        came = "a file" if folder.exists() else "nothing"
        raise UserError(f"{folder}: expected a folder, found {came}; check the path")
    found: dict[str, Path] = {}
    with os.scandir(folder) as entries:  # which knows files from folders without asking for each
        files = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    for file in files:
        stem, ending = os.path.splitext(file)
        if suffix is not None and not file.casefold().endswith(suffix.casefold()):
            continue
        if suffix is None and ending.lower() not in SUFFIXES:
            continue
        name = file[: -len(suffix)] if suffix else stem
        path = folder / file
        if name in found:
            both = f"{found[name].name} and {path.name}"
            advice = "move one away, or give --map-suffix or --mask-suffix"
            raise UserError(f"{folder}: two files for one name ({both}); {advice}")
        found[name] = path
    if not found:
        raise UserError(f"{folder}: no image found (looked for {suffix or ' '.join(SUFFIXES)}); check the path")
    return found


def _stem(name: str, known: Mapping[str, Path]) -> str:
    """Return a listed name as the files are known by: without its image suffix, unless it is known with it."""
    plain = Path(name)
    return name if name in known or plain.suffix.lower() not in SUFFIXES else plain.name.removesuffix(plain.suffix)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def score_folders(
    files: Sequence[Files],
    parts: Sequence[type[ImageMetric]],
    *,
    protocol: str = "pysod",
    threshold: float = 0.5,
    workers: int = 1,
    classes: Sequence[int] | None = None,
    ignore_value: int | None = None,
) -> FolderScores:
    """Read and score pairs of files; see `score_many`, for one folder of maps."""
    return score_many(
        [files],
        parts,
        protocol=protocol,
        threshold=threshold,
        workers=workers,
        classes=classes,
        ignore_value=ignore_value,
    )[0]


def score_many(
    folders: Sequence[Sequence[Files]],
    parts: Sequence[type[ImageMetric]],
    *,
    protocol: str = "pysod",
    threshold: float = 0.5,
    workers: int = 1,
    classes: Sequence[int] | None = None,
    ignore_value: int | None = None,
) -> list[FolderScores]:
    """Read and score several folders of maps of the same masks; each mask is read, and its fields are made, only once.

    Args:
        folders: for each folder of maps what `match_files` returns; the names are the same in all.
        parts: metrics, from `samis.metrics.find_metrics`.
        protocol: key of ``samis.metrics.PROTOCOLS``.
        threshold: absolute threshold, [0, 1].
        workers: processes; 1 scores in this one.
        classes, ignore_value: as for `samis.metrics.TruthFields`.

    Returns:
        Scores by name, for each folder. The same numbers for any number of workers.

    Raises:
        UserError: a file is refused.
    """
    score = partial(
        _score_block,
        parts=tuple(parts),
        protocol=protocol,
        threshold=threshold,
        classes=classes,
        ignore_value=ignore_value,
    )
    found = [FolderScores() for _ in folders]
    groups = list(zip(*folders, strict=True))
    step = max(1, BLOCK // max(1, len(folders)))
    blocks = [groups[start : start + step] for start in range(0, len(groups), step)]
    for group in (group for block in _mapped(score, blocks, workers) for group in block):
        for scores, (name, own, clean, few, jpeg, faint) in zip(found, group, strict=True):
            scores.few_levels += [name] if few else []
            scores.faint += [name] if faint else []
            scores.jpeg_masks += [name] if jpeg else []
            if clean is None:
                scores.defective[name] = own
            else:
                scores.clean[name], scores.clean_rule[name] = own, clean
    if (classes is not None or ignore_value is not None) and found and found[0].clean and not found[0].defective:
        raise UserError(
            f"{folders[0][0].truth_path.parent}: expected a defect in some mask by --classes {_shown(classes)} and "
            f"--ignore-value {_shown([] if ignore_value is None else [ignore_value])}, got none in {len(found[0].clean)}; name "
            "the values that the masks have"
        )
    return found


def _shown(values: Sequence[int] | None) -> str:
    return " ".join(map(str, values)) if values else "(not given)"


Scored = tuple[str, ImageScores, ImageScores | None, bool, bool, bool]
"""Name, scores, those under the rule for clean images, and whether map and mask are of the kinds that are warned about."""


def _score_block(
    groups: Sequence[Sequence[Files]],
    *,
    parts: tuple[type[ImageMetric], ...],
    protocol: str,
    threshold: float,
    classes: Sequence[int] | None,
    ignore_value: int | None,
) -> list[list[Scored]]:
    """Score the maps that several folders hold of each image; small maps of several images are scored at once."""
    found: list[list[Scored]] = []
    waiting: list[tuple[Sequence[Files], list[Pair]]] = []
    pixels = 0
    for group in groups:
        fields = read_truth(group[0].truth_path, classes=classes, ignore_value=ignore_value)
        if protocol == "published":
            _check_background(fields, group[0].truth_path)
        pairs = []
        for files in group:
            values = read_grey(files.map_path)
            pairs.append(make_pair(values, fields, protocol=protocol, threshold=threshold, source=str(files.map_path)))
            pixels += values.size
        waiting.append((group, pairs))
        if pixels >= BLOCK_PX:
            found += _score_pairs(waiting, parts)
            waiting, pixels = [], 0
    return found + _score_pairs(waiting, parts)


def _score_pairs(
    groups: Sequence[tuple[Sequence[Files], Sequence[Pair]]], parts: tuple[type[ImageMetric], ...]
) -> list[list[Scored]]:
    """Score what was read."""
    scores = iter(score_pairs([pair for _, pairs in groups for pair in pairs], parts))
    return [[_scored(files, pair, next(scores), parts) for files, pair in zip(*group, strict=True)] for group in groups]


def _scored(files: Files, pair: Pair, scores: ImageScores, parts: tuple[type[ImageMetric], ...]) -> Scored:
    defective = pair.fields.area > 0
    clean = None if defective else score_pair(pair, (Clean,))
    low, high = pair.low_high
    few = defective and pair.protocol != "inspection" and pair.index.dtype == np.uint8 and 0 < high - low < FEW_LEVELS
    jpeg = pair.protocol == "published" and files.truth_path.suffix.lower() in (".jpg", ".jpeg")
    return files.name, scores, clean, few, defective and jpeg, _faint(pair, parts)


def _faint(pair: Pair, parts: Iterable[type[ImageMetric]]) -> bool:
    """Tell whether a map of floats has many levels and spans few of the thresholds of metrics that rank pixels or maps."""
    ranking = any(part in (AUPRO, ImageLevel) for part in parts)
    if not ranking or not isinstance(pair, FloatPair) or len(pair.levels) < FEW_LEVELS:
        return False
    return bool(pair.as_floor[-1] - pair.as_floor[0] < FEW_LEVELS)


def _check_background(truth: TruthFields, path: Path) -> None:
    """Refuse a mask whose background is grey under ``published``, some of whose metrics take all above 0 for a defect.

    Raises:
        UserError: no pixel is 0, though not all are defects by the usual rule.
    """
    surface = truth.raw
    if surface.dtype == np.uint8 and 0 < surface.min() <= 128 < surface.max():
        raise UserError(
            f"{path}: expected a background of 0, since published takes every value above it for a defect, got values from "
            f"{surface.min()} on; save the mask as 0/255"
        )


def _mapped(
    score: partial[list[list[Scored]]], blocks: Sequence[Sequence[Sequence[Files]]], workers: int
) -> Iterable[list[list[Scored]]]:
    if workers <= 1:
        return map(score, blocks)
    import multiprocessing  # of use for several processes only, and slow to import
    from concurrent.futures import ProcessPoolExecutor

    # Not forked: a fork of a process whose OpenCV or OpenMP threads have run inherits their locks, and may wait for ever.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        return list(pool.map(score, blocks))
