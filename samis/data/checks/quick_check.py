"""The check that each training begins with: headers and sizes of all files, some masks, photos in two splits."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from samis.core.contracts import Dataset
from samis.data.checks.doctor import Examination, content_of, pixels_sha256, read_whole, records_of
from samis.data.checks.findings import Finding, SampleDigest, class_clashes, same_content, shared_ids, unlisted
from samis.data.picture_file import FileError
from samis.data.reading import picture_hw, read_image, read_mask
from samis.errors import UserError

CHEAP_PX = 60_000_000
"""Pixels that a training's check decodes at most to find photos saved again in another format, about a second's."""


def quick_check(splits: Mapping[str, Dataset], *, masks: int = 24) -> Examination:
    """Check the splits of a training in a second or two: each header and size, some masks, photos in two splits.

    Args:
        splits: disjoint splits by name; what is not read from files (drawn surfaces) is ignored.
        masks: masks to decode of each split, evenly taken; of the other files only the headers are read.

    Returns:
        Findings of kinds that ``examine`` reports too. Bad files never raise.
    """
    result = Examination()
    digests: list[SampleDigest] = []
    shapes: list[tuple[int, int] | None] = []
    for split, dataset in splits.items():
        records = records_of(dataset)
        labelled = [record for record in records if record.mask_path is not None]
        for index, record in enumerate(records):
            image_hw = _tried(picture_hw, record.image_path, result.findings)
            mask_hw = _tried(picture_hw, record.mask_path, result.findings)
            if image_hw and mask_hw and image_hw != mask_hw:
                read_whole(dataset, index, record, result.findings)
            digests.append(SampleDigest(split, str(record.image_path), None, None, None))
            shapes.append(image_hw)
        for number in np.unique(np.linspace(0, len(labelled) - 1, min(masks, len(labelled))).round().astype(int)):
            grey = bool(getattr(dataset, "grey_masks", False))
            _tried(partial(read_mask, grey=grey), labelled[number].mask_path, result.findings)
    _hash_those_of_one_size(digests)
    _hash_pixels(digests, shapes)
    result.findings += [*class_clashes(splits.values()), *shared_ids(splits)]
    result.findings += [finding for dataset in splits.values() for finding in unlisted(dataset)]
    result.findings += same_content(digests)
    return result.sort()


def _tried(read: Callable[[Path], Any], path: Path | None, findings: list[Finding]) -> Any:
    try:
        return None if path is None else read(path)
    except FileError as error:
        findings.append(Finding("error", error.finding, str(path), error.message))
        return None


def _hash_those_of_one_size(digests: list[SampleDigest]) -> None:
    """Fill in the content of files that share their length with another one; no other can be a copy."""
    lengths = [_length(Path(item.file)) for item in digests]
    common = Counter(lengths)
    for item, length in zip(digests, lengths, strict=True):
        if length and common[length] > 1:
            item.content = content_of(Path(item.file))


def _hash_pixels(digests: list[SampleDigest], shapes: list[tuple[int, int] | None]) -> None:
    """Fill in the hash of the pixels of images that share their size with one of another split.

    All of them where that is ``CHEAP_PX`` at most; else those alone whose names, without ending, are the same.
    """
    places: dict[Any, set[str]] = {}
    for item, hw in zip(digests, shapes, strict=True):
        places.setdefault(hw, set()).add(item.split)
        places.setdefault((hw, Path(item.file).stem.casefold()), set()).add(item.split)
    chosen = [(item, hw) for item, hw in zip(digests, shapes, strict=True) if hw and len(places[hw]) > 1]
    if sum(hw[0] * hw[1] for _, hw in chosen) > CHEAP_PX:
        chosen = [(item, hw) for item, hw in chosen if len(places[hw, Path(item.file).stem.casefold()]) > 1]
    for item, _ in chosen:
        with contextlib.suppress(UserError):  # reported when it is read
            item.pixels = pixels_sha256(read_image(Path(item.file)))


def _length(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
