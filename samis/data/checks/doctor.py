"""Examines a data set before a GPU is paid for: pairs, sizes, mask values, odd files, duplicates, leaks between splits.

``check`` gives findings (see ``samis.data.checks.findings`` for their severities). ``examine`` adds a table of classes and
defect areas; ``examine_named`` also collects what keeps a data set from loading at all; ``quick_check`` is what each
training begins with. All of it can be written as JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from samis.core.contracts import Dataset, Sample
from samis.core.files import file_sha256
from samis.data.base import CLEAN, Record, RecordDataset
from samis.data.checks.contact_sheet import write_contact_sheet
from samis.data.checks.duplicates import thumbnail
from samis.data.checks.findings import (
    SEVERITIES,
    Finding,
    Seen,
    class_clashes,
    image_findings,
    mask_findings,
    name_clashes,
    near_across,
    passed_over,
    same_content,
    shared_ids,
    unlisted,
)
from samis.data.pairing import PairingError
from samis.data.reading import FileError, peculiarities, picture_hw, read_image, read_mask
from samis.errors import UserError

__all__ = ["Examination", "Finding", "check", "examine", "examine_named", "quick_check", "write_contact_sheet"]


CHEAP_PX = 60_000_000
"""Pixels that a training's check decodes at most to find photos saved again in another format, about a second's."""


@dataclass
class ClassRow:
    """Images and defect areas of one class in one split; `areas` are shares of the image, one for each mask."""

    split: str
    class_name: str
    images: int = 0
    empty_masks: int = 0
    areas: list[float] = field(default_factory=list, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return counts and the least, median and largest area."""
        row = {"split": self.split, "class": self.class_name, "images": self.images, "empty_masks": self.empty_masks}
        quantiles = np.quantile(self.areas, (0, 0.5, 1)).round(6).tolist() if self.areas else [None] * 3
        return row | dict(zip(("area_min", "area_median", "area_max"), quantiles, strict=True))


@dataclass
class Examination:
    """All that was found: `findings` from worst to mildest, and `classes`."""

    findings: list[Finding] = field(default_factory=list)
    classes: list[ClassRow] = field(default_factory=list)

    def sort(self) -> Examination:
        """Put the worst findings first, each once, and return this."""
        self.findings = sorted(dict.fromkeys(self.findings), key=lambda finding: SEVERITIES.index(finding.severity))
        return self

    @property
    def exit_code(self) -> int:
        """0 if nothing is wrong (notes aside), 1 with warnings, 2 with errors."""
        found = {finding.severity for finding in self.findings}
        return 2 if "error" in found else int("warning" in found)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        counts = {severity: sum(f.severity == severity for f in self.findings) for severity in SEVERITIES}
        findings = [asdict(finding) for finding in self.findings]
        return {"counts": counts, "classes": [row.as_dict() for row in self.classes], "findings": findings}


def check(datasets: Dataset | Mapping[str, Dataset]) -> list[Finding]:
    """Return what is wrong with a data set, or with several splits of one by name; see ``examine``."""
    return examine(datasets).findings


def examine(datasets: Dataset | Mapping[str, Dataset]) -> Examination:
    """Read every file of the data sets and look at images, masks, and duplicates within and across splits.

    Args:
        datasets: one data set, or splits by name. What two splits share on purpose (``trainval`` and ``train``) is
            reported too: give splits that should be disjoint.

    Returns:
        Findings and the class table. Bad files never raise.
    """
    table = datasets if isinstance(datasets, Mapping) else {datasets.split: datasets}
    result = Examination()
    seen: list[Seen] = []
    for split, dataset in table.items():
        rows: dict[str, ClassRow] = {}
        for index, class_name in enumerate(dataset.class_names):
            row = rows.setdefault(class_name, ClassRow(split, class_name))
            row.images += 1
            seen.append(_look(dataset, index, split, row, result.findings))
        result.classes += [rows[name] for name in sorted(rows)]
        result.findings += split_without_defect(split, rows.values())
        result.findings += [*name_clashes(dataset), *unlisted(dataset)]
    result.findings += [*class_clashes(table.values()), *shared_ids(table)]
    result.findings += passed_over(record for dataset in table.values() for record in records_of(dataset))
    result.findings += same_content(seen) + near_across(seen)
    return result.sort()


def split_without_defect(split: str, rows: Collection[ClassRow]) -> list[Finding]:
    """Report a split whose masks are all empty: nothing can be learnt from it, and the best epoch not chosen by its defects."""
    areas = [area for row in rows for area in row.areas]
    if not areas or any(areas) or split.startswith(CLEAN):
        return []
    text = (
        f"split {split}: expected a defect in some image, got {len(areas)} clean images only; a training split needs "
        "defects, and a validation split needs them unless keep_best is kept_clean or false_positive_area"
    )
    return [Finding("warning", "no_defect", "", text)]


def examine_named(
    load: Any, splits: Collection[str] = ("train", "val", "test"), *, grey_masks: bool = False, **options: Any
) -> Examination:
    """Load splits and examine them; what keeps one from loading becomes a finding, and its sound pairs are examined.

    Args:
        load: a loader out of ``samis.data.DATASETS`` (or one with the same call).
        splits: splits that should be disjoint.
        grey_masks: whether masks hold grey to be cut at 127; handed to a loader that takes it (``folder``), and used
            for the sound pairs of a data set that does not load.
        options: what the loader takes besides, `root` foremost.
    """
    table: dict[str, Dataset] = {}
    kept: dict[str, Finding] = {}
    if grey_masks and "grey_masks" in inspect.signature(load).parameters:
        options["grey_masks"] = True
    for split in splits:
        try:
            table[split] = load(split=split, **options)
        except PairingError as error:
            for fault in error.faults:
                kept[f"{fault.code} {fault.file}"] = Finding("error", fault.code, str(fault.file), fault.message)
            sound = [Record(key, pair.image_path, pair.mask_path) for key, pair in error.sound.items()]
            if sound and not table:
                table["all sound pairs"] = RecordDataset("data", "all sound pairs", sound, grey_masks=grey_masks)
        except UserError as error:
            kept[str(error)] = Finding(
                "error", "does_not_load", str(options.get("root") or ""), f"split {split}: {error}"
            )
        except OSError as error:
            text = f"{error.filename}: expected a readable folder, got '{error.strerror}'; check its rights"
            kept[text] = Finding("error", "does_not_load", str(error.filename), text)
    result = examine(table)
    result.findings += kept.values()
    return result.sort()


def quick_check(splits: Mapping[str, Dataset], *, masks: int = 24) -> Examination:
    """Look the splits of a training over in a second or two: each header and size, some masks, photos in two splits.

    Args:
        splits: disjoint splits by name; what is not read from files (drawn surfaces) is passed over.
        masks: masks to decode of each split, evenly taken; the other files are judged by their headers.

    Returns:
        Findings, all of them of kinds that ``examine`` knows too. Bad files never raise.
    """
    result = Examination()
    seen: list[Seen] = []
    shapes: list[tuple[int, int] | None] = []
    for split, dataset in splits.items():
        records = records_of(dataset)
        labelled = [record for record in records if record.mask_path is not None]
        for index, record in enumerate(records):
            image_hw = _tried(picture_hw, record.image_path, result.findings)
            mask_hw = _tried(picture_hw, record.mask_path, result.findings)
            if image_hw and mask_hw and image_hw != mask_hw:
                _read_whole(dataset, index, record, result.findings)
            seen.append(Seen(split, str(record.image_path), None, None, None))
            shapes.append(image_hw)
        for number in np.unique(np.linspace(0, len(labelled) - 1, min(masks, len(labelled))).round().astype(int)):
            grey = bool(getattr(dataset, "grey_masks", False))
            _tried(partial(read_mask, grey=grey), labelled[number].mask_path, result.findings)
    _hash_those_of_one_size(seen)
    _hash_pixels(seen, shapes)
    result.findings += [*class_clashes(splits.values()), *shared_ids(splits)]
    result.findings += [finding for dataset in splits.values() for finding in unlisted(dataset)]
    result.findings += same_content(seen)
    return result.sort()


def usual_side(dataset: Dataset, *, most: int = 64) -> int:
    """Return the median of the images' longer sides, px, of some evenly taken; by their headers where there are files."""
    records = records_of(dataset)
    sides = []
    for index in np.unique(np.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().astype(int)):
        hw = picture_hw(records[index].image_path) if records else dataset[int(index)].image.shape[:2]
        sides.append(max(hw))
    return int(np.median(sides))


def _tried(read: Callable[[Path], Any], path: Path | None, findings: list[Finding]) -> Any:
    try:
        return None if path is None else read(path)
    except FileError as error:
        findings.append(Finding("error", error.finding, str(path), error.message))
        return None


def _hash_those_of_one_size(seen: list[Seen]) -> None:
    """Fill in the content of files that share their length with another one; no other can be a copy."""
    lengths = [_length(Path(item.file)) for item in seen]
    common = Counter(lengths)
    for item, length in zip(seen, lengths, strict=True):
        if length and common[length] > 1:
            item.content = _content(Path(item.file))


def _hash_pixels(seen: list[Seen], shapes: list[tuple[int, int] | None]) -> None:
    """Fill in the hash of the pixels of images that share their size with one of another split.

    All of them where that is ``CHEAP_PX`` at most; else those alone whose names, without ending, are the same.
    """
    places: dict[Any, set[str]] = {}
    for item, hw in zip(seen, shapes, strict=True):
        places.setdefault(hw, set()).add(item.split)
        places.setdefault((hw, Path(item.file).stem.casefold()), set()).add(item.split)
    chosen = [(item, hw) for item, hw in zip(seen, shapes, strict=True) if hw and len(places[hw]) > 1]
    if sum(hw[0] * hw[1] for _, hw in chosen) > CHEAP_PX:
        chosen = [(item, hw) for item, hw in chosen if len(places[hw, Path(item.file).stem.casefold()]) > 1]
    for item, _ in chosen:
        with contextlib.suppress(UserError):  # is reported when it is read
            item.pixels = pixels_sha256(read_image(Path(item.file)))


def pixels_sha256(image: np.ndarray) -> str:
    """Return a hash of an image's size and pixels, (H, W, 3) uint8, whatever file they came from."""
    return hashlib.sha256(str(image.shape).encode() + np.ascontiguousarray(image).data).hexdigest()


def _length(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def records_of(dataset: Dataset) -> list[Record]:
    """Return where the samples of a data set lie; none if they do not come from files."""
    return list(getattr(dataset, "records", []))


def _look(dataset: Dataset, index: int, split: str, row: ClassRow, findings: list[Finding]) -> Seen:
    record = dataset.records[index] if isinstance(dataset, RecordDataset) else None
    sample = _read(dataset, index, record, findings)
    file = str(record.image_path if record else dataset.ids[index])
    if sample is None:
        return Seen(split, file, _content(record.image_path if record else None), None, None)
    findings += image_findings(sample, file)
    if sample.mask is not None:
        row.areas.append(float(sample.mask.mean()))
        row.empty_masks += not sample.mask.any()
        findings += mask_findings(sample, str(record.mask_path or file) if record else file)
    image_path, mask_path = (record.image_path, record.mask_path) if record else (None, None)
    thumb, pixels = thumbnail(sample.image), pixels_sha256(sample.image)
    return Seen(split, file, _content(image_path), _content(mask_path), thumb, pixels)


def _read(dataset: Dataset, index: int, record: Record | None, findings: list[Finding]) -> Sample | None:
    """Read image and mask apart, so that each fault is found; None if the sample cannot be used."""
    if record is None or not isinstance(dataset, RecordDataset):
        try:
            return dataset[index]
        except UserError as error:
            findings.append(Finding("error", "unreadable", dataset.ids[index], error.message))
            return None
    sound = True
    paths = [(record.image_path, False), (record.mask_path, True)]
    for path, is_mask in paths:
        if path is None:
            continue
        try:
            read_mask(path, grey=dataset.grey_masks) if is_mask else read_image(path)
            for code, text in peculiarities(path, mask=is_mask):
                severity = "warning" if code == "wrong_ending" else "note"
                findings.append(Finding(severity, code, str(path), f"{path}: {text}"))
        except FileError as error:
            findings.append(Finding("error", error.finding, str(path), error.message))
            sound = False
    return _read_whole(dataset, index, record, findings) if sound else None


def _read_whole(dataset: Dataset, index: int, record: Record, findings: list[Finding]) -> Sample | None:
    """Read image and mask together; where each is sound, the mask's size can still be wrong."""
    try:
        return dataset[index]
    except UserError as error:
        code = getattr(error, "finding", "size_mismatch" if record.mask_path else "bad_truth")
        findings.append(Finding("error", code, str(record.mask_path or record.image_path), error.message))
        return None


def _content(path: Path | None) -> str | None:
    try:
        return None if path is None else file_sha256(path)
    except UserError:
        return None
