"""What can be wrong with images and masks once they can be read: odd content, names that clash, the same photo twice.

Each function checks one kind of mistake and yields findings; ``samis.data.checks.doctor`` calls all of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from samis.core.contracts import Dataset, Sample
from samis.data.base import CLEAN, Record
from samis.data.checks.duplicates import near_pairs
from samis.data.picture_file import IMAGE_SUFFIXES

SEVERITIES = ("error", "warning", "note")
"""From worst to mildest: stops a run or makes its numbers wrong; should be checked; was converted silently."""
TINY_PX = 5
"""A mask of fewer defect pixels is reported."""
SMALL_PX = 32
"""An image with a shorter side is reported."""
_NOTES = {"", ".csv", ".txt", ".md", ".json", ".xml", ".yaml", ".yml"}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "icon\r"}


@dataclass(frozen=True)
class Finding:
    """One problem of a data set.

    Attributes:
        severity: one of `SEVERITIES`.
        code: short name of the kind of problem, such as ``empty_mask``.
        file: the file.
        message: what was expected, what is there, what to do.
    """

    severity: str
    code: str
    file: str
    message: str


@dataclass
class SampleDigest:
    """What is kept of a sample to compare it with the others.

    Attributes:
        split: its split.
        file: the image file.
        content: sha256 of the image file; None where it is not known.
        mask_content: sha256 of the mask file; None where it is not known.
        thumb: thumbnail, see ``samis.data.checks.duplicates``.
        pixels: sha256 of the decoded pixels.
    """

    split: str
    file: str
    content: str | None
    mask_content: str | None
    thumb: np.ndarray | None
    pixels: str | None = None


def image_findings(sample: Sample, file: str) -> Iterable[Finding]:
    """Check an image's size and values."""
    height, width = sample.image.shape[:2]
    if min(height, width) < SMALL_PX:
        yield Finding(
            "warning", "small_image", file, f"{file}: expected sides of {SMALL_PX} px or more, got {width}x{height}"
        )
    low, high = int(sample.image.min()), int(sample.image.max())
    if low == high:
        yield Finding(
            "warning", "flat_image", file, f"{file}: expected a photo, got one value ({low}) everywhere; check it"
        )
    elif high < 32:
        text = f"{file}: expected values up to 255, got at most {high}; a 12-bit picture in a 16-bit file? stretch it"
        yield Finding("warning", "dark_image", file, text)


def mask_findings(sample: Sample, file: str) -> Iterable[Finding]:
    """Check a mask's area and border; the sample has one."""
    assert sample.mask is not None
    area, count = float(sample.mask.mean()), int(sample.mask.sum())
    border = np.concatenate([sample.mask[0], sample.mask[-1], sample.mask[:, 0], sample.mask[:, -1]])
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
            "warning", "full_mask", file, f"{file}: expected some defect-free surface, got an all-white mask; check it"
        )
    elif area > 0.5 and border.mean() > 0.9:
        text = f"{file}: expected defects in white, got {area:.0%} white along the whole edge; is the mask inverted?"
        yield Finding("warning", "inverted_mask", file, text)
    elif count < TINY_PX:
        yield Finding(
            "warning",
            "tiny_defect",
            file,
            f"{file}: expected at least {TINY_PX} defect px, got {count}; a stray click?",
        )


def similar_names(names: Iterable[str]) -> list[str]:
    """Return a line for each group of class names that differ only in case, spaces, hyphens or the form of their letters.

    >>> similar_names(["crack", "Crack", "pit"])
    ["expected one spelling a class, got 'Crack' and 'crack', which count as 2 classes; give them one name"]
    """
    groups: dict[str, set[str]] = {}
    for name in names:
        plain = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()
        groups.setdefault(plain, set()).add(name)
    return [
        f"expected one spelling a class, got {' and '.join(map(repr, sorted(group)))}, which count as {len(group)} "
        "classes; give them one name"
        for _, group in sorted(groups.items())
        if len(group) > 1
    ]


def class_clashes(datasets: Iterable[Dataset]) -> Iterable[Finding]:
    """Report class names, and labels in annotation files, that differ only in spelling; see ``similar_names``."""
    names: set[str] = set()
    for dataset in datasets:
        names |= {*dataset.class_names, *getattr(dataset, "labels", ())}
    for text in similar_names(names):
        yield Finding("warning", "class_clash", "", text)


def name_clashes(dataset: Dataset) -> Iterable[Finding]:
    """Report ids that a file system without upper and lower case would treat as one."""
    first: dict[str, str] = {}
    for key in dataset.ids:
        other = first.setdefault(key.casefold(), key)
        if other != key:
            text = f"{key}: expected names that differ by more than case, got also {other}; rename one"
            yield Finding("warning", "case_clash", key, text)


def passed_over(records: Iterable[Record]) -> Iterable[Finding]:
    """Report what is in the folders of pictures and is not read: other pictures, folders; not notes, hidden or system files."""
    records = list(records)
    paths = [path for record in records for path in (record.image_path, record.mask_path) if path is not None]
    for folder in sorted({path.parent for path in paths}):
        try:
            entries = sorted(folder.iterdir())
        except OSError:  # a CSV may name pictures of a folder that cannot be listed
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _SYSTEM_FILES:
                continue
            if not entry.is_dir() and entry.suffix.lower() in {*IMAGE_SUFFIXES, *_NOTES}:
                continue
            kind = "a folder" if entry.is_dir() else "another file"
            text = f"{entry}: expected pictures ({', '.join(IMAGE_SUFFIXES)}), got {kind}, which is ignored"
            yield Finding("warning", "passed_over", str(entry), text)


def unlisted(dataset: Dataset) -> Iterable[Finding]:
    """Report how many pictures in a data set's folders its annotation file does not list; they are left out."""
    left: list[Path] = list(getattr(dataset, "unlisted", ()))
    if left:
        text = (
            f"{left[0].parent}: expected each picture in the annotation file, got {len(left)} that it does not list and that are "
            f"left out, the first {left[0].name}; annotate them, or move them away"
        )
        yield Finding("warning", "unlisted", str(left[0]), text)


def equal_splits(names: Mapping[str, str]) -> list[Finding]:
    """Report roles that name one split: a model that is trained or selected on its test images has a score that means nothing.

    Args:
        names: role (``data.train``, ``data.val``, ``data.test``) -> split.

    >>> [finding.code for finding in equal_splits({"data.train": "train", "data.val": "test", "data.test": "test"})]
    ['same_split']
    """
    findings: list[Finding] = []
    first: dict[str, str] = {}
    for role, split in names.items():
        other = first.setdefault(split, role)
        if other != role:
            text = f"expected splits that differ, got {other} and {role} both '{split}'; name another split for one of them"
            findings.append(Finding("error", "same_split", "", text))
    return findings


def shared_ids(datasets: Mapping[str, Dataset]) -> list[Finding]:
    """Report pairs of splits of one data set that hold images of the same ids."""
    findings: list[Finding] = []
    for (one, first), (other, second) in combinations(datasets.items(), 2):
        known = set(first.ids)
        both = [key for key in second.ids if key in known]
        if both:
            text = (
                f"expected splits without common images, got {len(both)} in both {one} and {other}, the first is '{both[0]}'; "
                "keep each in one split"
            )
            findings.append(Finding("error", "shared_images", both[0], text))
    return findings


def same_content(digests: list[SampleDigest]) -> list[Finding]:
    """Report images of the same bytes or pixels, within and across splits, and whether their truths differ.

    A photo that was saved again in another lossless format has other bytes and the same pixels.
    """
    findings: list[Finding] = []
    first: dict[tuple[str, str | None], SampleDigest] = {}
    for item in digests:
        keys = [(kind, key) for kind, key in (("bytes", item.content), ("pixels", item.pixels)) if key is not None]
        others = [(kind, first.setdefault((kind, key), item)) for kind, key in keys]
        kind, other = next(((kind, each) for kind, each in others if each is not item), ("", item))
        if other is item:
            continue
        same = f"{item.file}: expected images that differ, got the same {kind} as {other.file}"
        if other.split != item.split:
            text = f"{same}; one is in split {other.split}, the other in {item.split}: keep them in one split"
            findings.append(Finding("error", "leak", item.file, text))
        else:
            findings.append(Finding("warning", "duplicate", item.file, f"{same}; remove one"))
        if item.mask_content != other.mask_content and None not in (item.mask_content, other.mask_content):
            text = f"{item.file}: expected one truth for one image, got another mask than for {other.file}; keep the right one"
            findings.append(Finding("warning", "two_truths", item.file, text))
    return findings


def near_across(digests: list[SampleDigest]) -> list[Finding]:
    """Report the images of later splits that nearly equal one of an earlier split, once each."""
    known = [item for item in digests if item.thumb is not None and item.thumb.any()]
    if len({item.split for item in known}) < 2:
        return []
    best: dict[int, tuple[float, int]] = {}
    for i, j, correlation in near_pairs(np.stack([item.thumb for item in known if item.thumb is not None])):
        same = known[i].content == known[j].content or (
            known[i].pixels is not None and known[i].pixels == known[j].pixels
        )
        if known[i].split != known[j].split and not same:
            best[j] = max(best.get(j, (0.0, i)), (correlation, i))
    findings: list[Finding] = []
    for j, (correlation, i) in sorted(best.items()):
        text = (
            f"{known[j].file}: expected splits of different surfaces, got in {known[j].split} a near duplicate "
            f"({correlation:.3f}) of {known[i].file} from {known[i].split}; check both"
        )
        findings.append(Finding("warning", "near_leak", known[j].file, text))
    return findings
