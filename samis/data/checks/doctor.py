"""Examines a data set before a training: pairs, sizes, mask values, odd files, duplicates, leaks between splits.

``check`` gives findings (see ``samis.data.checks.findings`` for their severities). ``examine`` adds a table of classes and
defect areas; ``examine_named`` also collects what keeps a data set from loading at all; ``quick_check`` is what each
training begins with. All of it can be written as JSON.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
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
    SampleDigest,
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
from samis.data.picture_file import FileError
from samis.data.reading import peculiarities, picture_hw, read_image, read_mask
from samis.errors import UserError

__all__ = ["Examination", "Finding", "check", "examine", "examine_named", "write_contact_sheet"]


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
    """Result of an examination.

    Attributes:
        findings: from worst to mildest.
        classes: one row for each class of each split.
    """

    findings: list[Finding] = field(default_factory=list)
    classes: list[ClassRow] = field(default_factory=list)

    def sort(self) -> Examination:
        """Put the worst findings first, each once, and return this."""
        self.findings = sorted(dict.fromkeys(self.findings), key=lambda finding: SEVERITIES.index(finding.severity))
        return self

    @property
    def exit_code(self) -> int:
        """0 if nothing is wrong (notes aside), 1 with warnings, 2 with errors."""
        severities = {finding.severity for finding in self.findings}
        return 2 if "error" in severities else int("warning" in severities)

    def as_dict(self) -> dict[str, Any]:
        """Return the examination as values that JSON can hold."""
        counts = {severity: sum(f.severity == severity for f in self.findings) for severity in SEVERITIES}
        findings = [asdict(finding) for finding in self.findings]
        return {"counts": counts, "classes": [row.as_dict() for row in self.classes], "findings": findings}


def check(datasets: Dataset | Mapping[str, Dataset]) -> list[Finding]:
    """Return what is wrong with a data set, or with several splits of one by name; see ``examine``."""
    return examine(datasets).findings


def examine(datasets: Dataset | Mapping[str, Dataset]) -> Examination:
    """Read every file of the data sets and check images, masks, and duplicates within and across splits.

    Args:
        datasets: one data set, or splits by name. What two splits share on purpose (``trainval`` and ``train``) is
            reported too: give splits that should be disjoint.

    Returns:
        Findings and the class table. Bad files never raise.
    """
    table = datasets if isinstance(datasets, Mapping) else {datasets.split: datasets}
    result = Examination()
    digests: list[SampleDigest] = []
    for split, dataset in table.items():
        rows: dict[str, ClassRow] = {}
        for index, class_name in enumerate(dataset.class_names):
            row = rows.setdefault(class_name, ClassRow(split, class_name))
            row.images += 1
            digests.append(_examine_sample(dataset, index, split, row, result.findings))
        result.classes += [rows[name] for name in sorted(rows)]
        result.findings += split_without_defect(split, rows.values())
        result.findings += [*name_clashes(dataset), *unlisted(dataset)]
    result.findings += [*class_clashes(table.values()), *shared_ids(table)]
    result.findings += passed_over(record for dataset in table.values() for record in records_of(dataset))
    result.findings += same_content(digests) + near_across(digests)
    return result.sort()


def split_without_defect(split: str, rows: Collection[ClassRow]) -> list[Finding]:
    """Report a split whose masks are all empty: it cannot be trained on, nor can the best epoch be chosen by its defects."""
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
    """Load splits and examine them; what keeps one from loading becomes a finding, and its complete pairs are examined.

    Args:
        load: a loader out of ``samis.data.DATASETS`` (or one with the same call).
        splits: splits that should be disjoint.
        grey_masks: whether masks hold grey to be cut at 127; passed to a loader that takes it (``folder``), and used
            for the complete pairs of a data set that does not load.
        options: what else the loader takes, such as `root`.
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
            complete = [Record(key, pair.image_path, pair.mask_path) for key, pair in error.complete.items()]
            if complete and not table:
                table["all complete pairs"] = RecordDataset(
                    "data", "all complete pairs", complete, grey_masks=grey_masks
                )
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


def usual_side(dataset: Dataset, *, most: int = 64) -> int:
    """Return the median of the images' longer sides, px, of some evenly taken; from their headers where there are files."""
    records = records_of(dataset)
    sides = []
    for index in np.unique(np.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().astype(int)):
        hw = picture_hw(records[index].image_path) if records else dataset[int(index)].image.shape[:2]
        sides.append(max(hw))
    return int(np.median(sides))


def pixels_sha256(image: np.ndarray) -> str:
    """Return a hash of an image's size and pixels, (H, W, 3) uint8, whatever file they came from."""
    return hashlib.sha256(str(image.shape).encode() + np.ascontiguousarray(image).data).hexdigest()


def records_of(dataset: Dataset) -> list[Record]:
    """Return the records of a data set's samples; none if they do not come from files."""
    return list(getattr(dataset, "records", []))


def _examine_sample(dataset: Dataset, index: int, split: str, row: ClassRow, findings: list[Finding]) -> SampleDigest:
    record = dataset.records[index] if isinstance(dataset, RecordDataset) else None
    sample = _read(dataset, index, record, findings)
    file = str(record.image_path if record else dataset.ids[index])
    if sample is None:
        return SampleDigest(split, file, content_of(record.image_path if record else None), None, None)
    findings += image_findings(sample, file)
    if sample.mask is not None:
        row.areas.append(float(sample.mask.mean()))
        row.empty_masks += not sample.mask.any()
        findings += mask_findings(sample, str(record.mask_path or file) if record else file)
    image_path, mask_path = (record.image_path, record.mask_path) if record else (None, None)
    thumb, pixels = thumbnail(sample.image), pixels_sha256(sample.image)
    return SampleDigest(split, file, content_of(image_path), content_of(mask_path), thumb, pixels)


def _read(dataset: Dataset, index: int, record: Record | None, findings: list[Finding]) -> Sample | None:
    """Read image and mask separately, so that each fault is reported; None if the sample cannot be used."""
    if record is None or not isinstance(dataset, RecordDataset):
        try:
            return dataset[index]
        except UserError as error:
            findings.append(Finding("error", "unreadable", dataset.ids[index], error.message))
            return None
    usable = True
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
            usable = False
    return read_whole(dataset, index, record, findings) if usable else None


def read_whole(dataset: Dataset, index: int, record: Record, findings: list[Finding]) -> Sample | None:
    """Read image and mask together; both can be valid and the mask's size still be wrong."""
    try:
        return dataset[index]
    except UserError as error:
        code = getattr(error, "finding", "size_mismatch" if record.mask_path else "bad_truth")
        findings.append(Finding("error", code, str(record.mask_path or record.image_path), error.message))
        return None


def content_of(path: Path | None) -> str | None:
    """Return the sha256 of a file; None if there is none or it cannot be read."""
    try:
        return None if path is None else file_sha256(path)
    except UserError:
        return None
