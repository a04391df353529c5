"""Calibration images: set aside from validation, so that they choose neither epoch nor threshold; and which images a run has seen.

An image is known by the sha256 of its file, so that a copy under another name is the same image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from samis.core.contracts import Dataset
from samis.core.files import file_sha256, write_atomic
from samis.data.base import Subset
from samis.data.splitting import carve, shares
from samis.errors import UserError

FILE = "seen_images.json"
"""Of a run folder: what it was trained on, and what chose its epoch and threshold, as ``image_keys``."""
_DIGITS = 16


def image_keys(dataset: Dataset) -> dict[str, str]:
    """Return id -> what an image is known by: the head of its file's sha256; of a drawn image its data set, split and id.

    Args:
        dataset: any.
    """
    records = getattr(dataset, "records", [])
    if records:
        return {record.id: file_sha256(record.image_path)[:_DIGITS] for record in records}
    return {key: f"{dataset.name}/{dataset.split}/{key}" for key in dataset.ids}


def set_aside(dataset: Dataset, share: float, *, seed: int = 0) -> tuple[Dataset, Dataset | None]:
    """Divide a validation split into what validates and what calibrates, class by class; equal files stay on one side.

    Args:
        dataset: the split.
        share: of each class to set aside, [0, 1); at least one image stays.
        seed: another seed sets others aside.

    Returns:
        what is left, and the calibration images; the split itself and None where nothing is set aside.
    """
    counts = {name: count for name, count in shares(dataset.class_names, share).items() if share > 0}
    if counts and sum(counts.values()) >= len(dataset):
        largest = max(counts, key=lambda name: counts[name])
        counts[largest] -= 1
    keys = image_keys(dataset)
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(keys[key], len(numbers)) for key in dataset.ids]
    chosen = set(carve(dataset.ids, dataset.class_names, counts, groups=groups, seed=seed)) if counts else set()
    if not chosen:
        return dataset, None
    parts = [[i for i, key in enumerate(dataset.ids) if (key in chosen) == aside] for aside in (False, True)]
    return Subset(dataset, parts[0]), Subset(dataset, parts[1])


def without(dataset: Dataset, ids: Iterable[str]) -> Dataset:
    """Return a data set without some images; itself where it has none of them."""
    gone = set(ids)
    left = [index for index, key in enumerate(dataset.ids) if key not in gone]
    return dataset if len(left) == len(dataset) else Subset(dataset, left)


def write_seen(folder: Path, training: Dataset, selection: Dataset) -> None:
    """Write what a run has seen into its folder.

    Args:
        folder: of the run.
        training: what it learnt from.
        selection: what chose its epoch and threshold.
    """
    content = {
        "training": sorted(set(image_keys(training).values())),
        "selection": sorted(set(image_keys(selection).values())),
    }
    write_atomic(folder / FILE, json.dumps(content) + "\n")


def read_seen(folder: Path) -> dict[str, set[str]] | None:
    """Return ``training`` and ``selection``, the images that a run has seen; None where its folder does not say.

    Args:
        folder: of the run.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: set(map(str, content[name])) for name in ("training", "selection")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: expected the images that the run has seen, but {error!r}; train again, or remove the file to read the "
            "run's splits instead",
            code="E-DECIDE-SEEN",
        ) from error


def check_unseen(dataset: Dataset, seen: Mapping[str, set[str]], *, run: Path) -> Dataset:
    """Return the images of a data set that a run has not seen at all.

    Args:
        dataset: candidates for calibration.
        seen: what ``read_seen`` returns.
        run: its folder, for the message.

    Raises:
        UserError: it holds a training image, or only images that chose the run's epoch.
    """
    keys = image_keys(dataset)
    trained = [key for key in dataset.ids if keys[key] in seen["training"]]
    where = f"{dataset.name}, split {dataset.split}"
    if trained:
        raise UserError(
            f"{where}: expected calibration images that {run} was not trained on, got {len(trained)} of its training images, such "
            f"as '{trained[0]}'; name another split or other images",
            code="E-DECIDE-SAW-TRAINING",
        )
    left = without(dataset, [key for key in dataset.ids if keys[key] in seen["selection"]])
    if not len(left):
        raise UserError(
            f"{where}: expected calibration images that had no part in tuning {run}, got none: all {len(dataset)} chose its best "
            "epoch; train with data.calibration_share=0.5, or name other labelled images, such as data.val=test",
            code="E-DECIDE-SAW-TRAINING",
        )
    return left
