"""Which kinds of images a split holds: with a defect, without one; judged by the masks, reading no more than it takes."""

from __future__ import annotations

from samis.core.contracts import Dataset
from samis.data.base import CLEAN


def has_defect(dataset: Dataset) -> bool:
    """Return whether some mask has a defect pixel; images of class "clean" are not read."""
    return any(
        (mask := dataset[index].mask) is not None and bool(mask.any())
        for index, name in enumerate(dataset.class_names)
        if name != CLEAN
    )


def has_clean(dataset: Dataset) -> bool:
    """Return whether some image is of class "clean", or has a mask without a defect pixel."""
    return CLEAN in dataset.class_names or any(
        (mask := dataset[index].mask) is not None and not mask.any() for index in range(len(dataset))
    )
