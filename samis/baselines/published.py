"""Read the published numbers of the field, ``published.csv``, by data set, split, noise level, method and metric.

They were printed by other people, on splits and by protocols that often are not ours; every number carries its source
and a caution that says so. Standard library only.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

PATH = Path(__file__).with_name("published.csv")
DATASETS = {"SD-saliency-900": "sd_saliency_900", "MT": "magnetic_tile", "NRSD-MN": "nrsd_mn"}
"""Data set as printed -> key in ``samis.data.DATASETS``."""

TRAINED_ON = {
    "all-900": "Trained on images scored here: all 900 images count, and 540 of them were training images of the "
    "trained methods. Not comparable with rows measured on the held-out 360.",
    "man-made-965": "Held-out test images, by the protocol of its source.",
    "natural-165": "Held-out test images, by the protocol of its source.",
    "defect images only, 314 train / 78 test (splits/MT_*.txt)": "Held-out test images, but cropped to 224 px and "
    "pooled over all pixels: another protocol.",
}
"""Split -> whether the numbers were scored on training images, as far as the source says."""
UNKNOWN = "The split is the source's own; whether it equals one here is not known: these numbers compare with no row."


class PublishedNumber(NamedTuple):
    """One number as printed.

    Attributes:
        dataset: as printed; a key of ``DATASETS``.
        split: which images were scored.
        noise: share of pixels with salt-and-pepper noise, [0, 1].
        method: its name.
        year: of its paper, None if not given.
        metric: its name as printed.
        value: the number.
        source: where it is printed.
        caution: what to know before comparing it.
    """

    dataset: str
    split: str
    noise: float
    method: str
    year: int | None
    metric: str
    value: float
    source: str
    caution: str


def read_published(path: str | Path = PATH, *, dataset: str | None = None) -> list[PublishedNumber]:
    """Read the numbers, in the file's order.

    Args:
        path: a CSV like ours.
        dataset: key in ``samis.data.DATASETS``; None reads all.

    Raises:
        ValueError: if a line lacks a column or holds no number; names the line.

    Example:
        >>> [n.value for n in read_published(dataset="sd_saliency_900") if n.method == "DACNet" and n.metric == "SM"][0]
        0.9417
    """
    numbers = []
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        for line in reader:
            try:
                numbers.append(_number(line))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}: line {reader.line_num} is not a published number ({error}); correct the line"
                ) from error
    return [number for number in numbers if dataset is None or DATASETS.get(number.dataset) == dataset]


def _number(line: dict[str, str]) -> PublishedNumber:
    split = line["split"]
    return PublishedNumber(
        dataset=line["dataset"],
        split=split,
        noise=float(line["salt_pepper_noise"]),
        method=line["method"],
        year=int(line["year"]) if line["year"] else None,
        metric=line["metric"],
        value=float(line["value"]),
        source=line["source"],
        caution=TRAINED_ON.get(split, UNKNOWN),
    )
