"""Examines a data set before a GPU is paid for: pairs, sizes, mask values, odd files, duplicates, leaks between splits.

``check`` gives findings: an ``error`` stops a run or makes its numbers wrong, a ``warning`` should be looked at, a
``note`` tells what was understood silently. ``examine`` adds a table of classes and defect areas; ``examine_named``
also collects what keeps a data set from loading at all. All of it can be written as JSON.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samis.contracts import Dataset, Sample, UserError
from samis.data.base import CLEAN, Record, RecordDataset, file_sha256
from samis.data.contact_sheet import write_contact_sheet
from samis.data.duplicates import near_pairs, thumbnail
from samis.data.pairing import PairingError
from samis.data.reading import FileError, peculiarities, read_image, read_mask

__all__ = ["Examination", "Finding", "check", "examine", "examine_named", "write_contact_sheet"]

SEVERITIES = ("error", "warning", "note")
"""From worst to mildest."""
TINY_PX = 5
"""A mask of fewer defect pixels is looked at twice."""
SMALL_PX = 32
"""An image with a shorter side is looked at twice."""


@dataclass(frozen=True)
class Finding:
    """One thing found: how bad it is, a short code, the file, and what was expected, what came, what to do."""

    severity: str
    code: str
    file: str
    message: str


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
    seen: list[_Seen] = []
    for split, dataset in table.items():
        rows: dict[str, ClassRow] = {}
        for index, class_name in enumerate(dataset.class_names):
            row = rows.setdefault(class_name, ClassRow(split, class_name))
            row.images += 1
            seen.append(_look(dataset, index, split, row, result.findings))
        result.classes += [rows[name] for name in sorted(rows)]
        result.findings += _name_clashes(dataset)
    result.findings += _same_content(seen) + _near_across(seen)
    result.findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return result


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
    result = examine(table)
    result.findings[:0] = kept.values()
    return result


@dataclass
class _Seen:
    """What is remembered of a sample while the others are read."""

    split: str
    file: str
    content: str | None
    mask_content: str | None
    thumb: np.ndarray | None


def _look(dataset: Dataset, index: int, split: str, row: ClassRow, findings: list[Finding]) -> _Seen:
    record = dataset.records[index] if isinstance(dataset, RecordDataset) else None
    sample = _read(dataset, index, record, findings)
    file = str(record.image_path if record else dataset.ids[index])
    if sample is None:
        return _Seen(split, file, _content(record.image_path if record else None), None, None)
    findings += _image_findings(sample, file)
    if sample.mask is not None:
        row.areas.append(float(sample.mask.mean()))
        row.empty_masks += not sample.mask.any()
        findings += _mask_findings(sample, str(record.mask_path if record else file))
    image_path, mask_path = (record.image_path, record.mask_path) if record else (None, None)
    return _Seen(split, file, _content(image_path), _content(mask_path), thumbnail(sample.image))


def _read(dataset: Dataset, index: int, record: Record | None, findings: list[Finding]) -> Sample | None:
    """Read image and mask apart, so that each fault is found; None if the sample cannot be used."""
    if record is None or not isinstance(dataset, RecordDataset):
        try:
            return dataset[index]
        except UserError as error:
            findings.append(Finding("error", "unreadable", dataset.ids[index], str(error)))
            return None
    sound = True
    paths = [(record.image_path, False), (record.mask_path, True)]
    for path, is_mask in paths:
        if path is None:
            continue
        try:
            read_mask(path, grey=dataset.grey_masks) if is_mask else read_image(path)
            findings += [Finding("note", code, str(path), f"{path}: {text}") for code, text in peculiarities(path)]
        except FileError as error:
            findings.append(Finding("error", error.code, str(path), str(error)))
            sound = False
    if not sound:
        return None
    try:
        return dataset[index]
    except UserError as error:
        findings.append(Finding("error", "size_mismatch", str(record.mask_path), str(error)))
        return None


def _image_findings(sample: Sample, file: str) -> Iterable[Finding]:
    height, width = sample.image.shape[:2]
    if min(height, width) < SMALL_PX:
        yield Finding(
            "warning", "small_image", file, f"{file}: expected sides of {SMALL_PX} px or more, got {width}x{height}"
        )
    low, high = int(sample.image.min()), int(sample.image.max())
    if low == high:
        yield Finding(
            "warning", "flat_image", file, f"{file}: expected a photo, got one value ({low}) everywhere; look at it"
        )
    elif high < 32:
        text = f"{file}: expected values up to 255, got at most {high}; a 12-bit picture in a 16-bit file? stretch it"
        yield Finding("warning", "dark_image", file, text)


def _mask_findings(sample: Sample, file: str) -> Iterable[Finding]:
    assert sample.mask is not None
    area, count = float(sample.mask.mean()), int(sample.mask.sum())
    rim = np.concatenate([sample.mask[0], sample.mask[-1], sample.mask[:, 0], sample.mask[:, -1]])
    if sample.class_name == CLEAN:
        if count:
            yield Finding(
                "error", "clean_with_defect", file, f"{file}: expected no defect in class 'clean', got {count} px"
            )
    elif count == 0:
        text = (
            f"{file}: expected a defect (class '{sample.class_name}'), got an all-black mask; is it meant to be clean?"
        )
        yield Finding("warning", "empty_mask", file, text)
    elif area == 1:
        yield Finding(
            "warning", "full_mask", file, f"{file}: expected some sound surface, got an all-white mask; look at it"
        )
    elif area > 0.5 and rim.mean() > 0.9:
        text = f"{file}: expected defects in white, got {area:.0%} white with the whole rim; is the mask inverted?"
        yield Finding("warning", "inverted_mask", file, text)
    elif count < TINY_PX:
        yield Finding(
            "warning",
            "tiny_defect",
            file,
            f"{file}: expected at least {TINY_PX} defect px, got {count}; a stray click?",
        )


def _content(path: Path | None) -> str | None:
    try:
        return None if path is None else file_sha256(path)
    except UserError:
        return None


def _name_clashes(dataset: Dataset) -> Iterable[Finding]:
    first: dict[str, str] = {}
    for key in dataset.ids:
        other = first.setdefault(key.casefold(), key)
        if other != key:
            text = f"{key}: expected names that differ by more than case, got also {other}; rename one"
            yield Finding("warning", "case_clash", key, text)


def _same_content(seen: list[_Seen]) -> list[Finding]:
    findings: list[Finding] = []
    first: dict[str, _Seen] = {}
    for item in seen:
        if item.content is None:
            continue
        other = first.setdefault(item.content, item)
        if other is item:
            continue
        same = f"{item.file}: expected images that differ, got the same bytes as {other.file}"
        if other.split != item.split:
            text = f"{same}; one is in split {other.split}, the other in {item.split}: keep them on one side"
            findings.append(Finding("error", "leak", item.file, text))
        else:
            findings.append(Finding("warning", "duplicate", item.file, f"{same}; remove one"))
        if item.mask_content != other.mask_content and None not in (item.mask_content, other.mask_content):
            text = f"{item.file}: expected one truth for one image, got another mask than for {other.file}; decide"
            findings.append(Finding("warning", "two_truths", item.file, text))
    return findings


def _near_across(seen: list[_Seen]) -> list[Finding]:
    """Report the images of later splits that nearly equal one of an earlier split, once each."""
    known = [item for item in seen if item.thumb is not None and item.thumb.any()]
    if len({item.split for item in known}) < 2:
        return []
    best: dict[int, tuple[float, int]] = {}
    for i, j, likeness in near_pairs(np.stack([item.thumb for item in known if item.thumb is not None])):
        if known[i].split != known[j].split and known[i].content != known[j].content:
            best[j] = max(best.get(j, (0.0, i)), (likeness, i))
    findings: list[Finding] = []
    for j, (likeness, i) in sorted(best.items()):
        text = (
            f"{known[j].file}: expected splits of different surfaces, got in {known[j].split} a near twin "
            f"({likeness:.3f}) of {known[i].file} from {known[i].split}; look at both"
        )
        findings.append(Finding("warning", "near_leak", known[j].file, text))
    return findings
