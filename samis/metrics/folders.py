"""Scores folders of saved maps against a folder of masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from samis.metrics.matching import Files, first_names
from samis.metrics.pair import FEW_LEVELS, Pair
from samis.metrics.truth import TruthFields

BLOCK, BLOCK_PX = 40, 1 << 22
"""Maps that are read before they are scored at once, and about as many pixels at most."""


@dataclass
class FolderScores:
    """Scores by image name, images with a defect apart from clean ones.

    Attributes:
        defective: scores of images with a defect, under the chosen protocol.
        clean: the same for images whose mask is empty.
        clean_rule: those images under the rule for clean images (`samis.metrics.clean`).
        few_levels: names of the images with a defect whose map spans few levels, where the protocol stretches maps.
        jpeg_masks: names of the images with a defect whose mask is a JPEG, under ``published``.
        faint: names of the images whose map of floats spans few of the thresholds that ``aupro`` and ``image_level`` have.
    """

    defective: dict[str, ImageScores] = field(default_factory=dict)
    clean: dict[str, ImageScores] = field(default_factory=dict)
    clean_rule: dict[str, ImageScores] = field(default_factory=dict)
    few_levels: list[str] = field(default_factory=list)
    jpeg_masks: list[str] = field(default_factory=list)
    faint: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """Return the warnings that a user should read before using the numbers."""
        texts = []
        if self.few_levels:
            texts.append(
                f"{len(self.few_levels)} maps span fewer than {FEW_LEVELS} of 256 levels "
                f"({first_names(self.few_levels)}): stretching makes coarse steps of them; save maps as floats (.npy) or "
                "score with --protocol inspection"
            )
        if self.faint:
            texts.append(
                f"{len(self.faint)} maps of floats span fewer than {FEW_LEVELS} of the 256 thresholds 0/255 .. 255/255 "
                f"({first_names(self.faint)}), the only ones at which aupro and the image-level numbers are computed: multiply "
                "all maps by one factor, so that the largest value is 1"
            )
        if self.jpeg_masks:
            texts.append(
                f"{len(self.jpeg_masks)} masks are JPEG files ({first_names(self.jpeg_masks)}): their noise counts as defect under "
                "this protocol, which can cost .05 of the S-measure; use the lossless masks"
            )
        return texts


def read_truth(path: Path, *, classes: Sequence[int] | None = None, ignore_value: int | None = None) -> TruthFields:
    """Read a mask.

    Args:
        path: its file.
        classes: as for `TruthFields`.
        ignore_value: as for `TruthFields`.

    Raises:
        UserError: the file cannot be used.
    """
    truth = read_grey(path)
    if np.issubdtype(truth.dtype, np.floating):
        raise UserError(f"{path}: a mask of floats; save it as 8-bit grey, 0/255 or 0/1", code="E-METRIC-MASK-TYPE")
    return TruthFields(truth, source=str(path), classes=classes, ignore_value=ignore_value)


def read_pair(files: Files, *, protocol: str, threshold: float = 0.5) -> Pair:
    """Read one image's map and mask, and check that they fit.

    Args:
        files: both paths.
        protocol: key of ``samis.metrics.PROTOCOLS``.
        threshold: absolute threshold, [0, 1].

    Raises:
        UserError: a file cannot be used, or the sizes differ.
    """
    values, fields = read_grey(files.map_path), read_truth(files.truth_path)
    return make_pair(values, fields, protocol=protocol, threshold=threshold, source=str(files.map_path))


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
        classes: as for `samis.metrics.TruthFields`.
        ignore_value: as for `samis.metrics.TruthFields`.

    Returns:
        Scores by name, for each folder. The same numbers for any number of workers.

    Raises:
        UserError: a file cannot be used.
    """
    score = partial(
        _score_block,
        parts=tuple(parts),
        protocol=protocol,
        threshold=threshold,
        classes=classes,
        ignore_value=ignore_value,
    )
    results = [FolderScores() for _ in folders]
    groups = list(zip(*folders, strict=True))
    step = max(1, BLOCK // max(1, len(folders)))
    blocks = [groups[start : start + step] for start in range(0, len(groups), step)]
    for group in (group for block in _mapped(score, blocks, workers) for group in block):
        for scores, (name, own, clean, few, jpeg, faint) in zip(results, group, strict=True):
            scores.few_levels += [name] if few else []
            scores.faint += [name] if faint else []
            scores.jpeg_masks += [name] if jpeg else []
            if clean is None:
                scores.defective[name] = own
            else:
                scores.clean[name], scores.clean_rule[name] = own, clean
    if (classes is not None or ignore_value is not None) and results and results[0].clean and not results[0].defective:
        raise UserError(
            f"{folders[0][0].truth_path.parent}: none of {len(results[0].clean)} masks has a defect by --classes "
            f"{_shown(classes)} and --ignore-value {_shown([] if ignore_value is None else [ignore_value])}; name the values "
            "that the masks have",
            code="E-METRIC-NO-DEFECT",
        )
    return results


def _shown(values: Sequence[int] | None) -> str:
    return " ".join(map(str, values)) if values else "(not given)"


Scored = tuple[str, ImageScores, ImageScores | None, bool, bool, bool]
"""Name, scores, scores under the rule for clean images, and whether to warn of few levels, a JPEG mask, and a faint map."""


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
    scored: list[list[Scored]] = []
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
            scored += _score_pairs(waiting, parts)
            waiting, pixels = [], 0
    return scored + _score_pairs(waiting, parts)


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
    """Return whether a map of floats has many levels and spans few of the thresholds of metrics that rank pixels or maps."""
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
            f"{path}: its background is {surface.min()}, and the protocol published takes every value above 0 for a defect; "
            "save the mask as 0/255",
            code="E-METRIC-MASK-BACKGROUND",
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
