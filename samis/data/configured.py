"""The data that a config's section ``data`` names."""

from __future__ import annotations

import sys

from samis.config import DataConfig, Experiment
from samis.core.contracts import Dataset
from samis.data import dataset_label, has_clean_lists, load_dataset, loader_options
from samis.data.base import CLEAN, subset
from samis.errors import UserError


def load_split(config: DataConfig, split: str, *, clean: bool = False) -> Dataset:
    """Load one split.

    Args:
        config: which data set.
        split: its name.
        clean: whether to add the split's defect-free images, where the data set has lists of them.
    """
    options = loader_options(config.name, config.options)
    if clean and has_clean_lists(config.name) and not split.startswith(CLEAN):
        options["clean"] = True
    return load_dataset(config.name, root=config.root, split=split, **options)


def load_training(config: Experiment) -> Dataset:
    """Load the training split, with defect-free images for ``data.clean_share``; with ``data.limit``, some of its images.

    They are drawn by seed and spread over the classes; with a clean share, ``data.limit`` counts the defective ones.
    """
    share, limit = config.data.clean_share, config.data.limit
    dataset = load_split(config.data, config.data.train, clean=share > 0)
    return subset(dataset, limit, seed=config.seed, besides=CLEAN if share else None) if limit else dataset


def with_clean(config: DataConfig, dataset: Dataset) -> Dataset:
    """Return a split together with its defect-free images, or itself where it has them already or there are none."""
    if not has_clean_lists(config.name):
        return dataset
    try:
        complete = load_split(config, dataset.split, clean=True)
    except UserError as error:
        print(f"defect-free images are left out: {error}", file=sys.stderr)
        return dataset
    return complete if len(complete) > len(dataset) else dataset


def label_of(config: DataConfig) -> str:
    """Return the name of a config's data set in rows and model cards."""
    return dataset_label(config.name, config.options, root=config.root, label=config.label)


def row_label(config: DataConfig, dataset: Dataset) -> str:
    """Return the name of a data set in rows; one that was loaded elsewhere has its own name."""
    same = dataset.name.split(" ")[0] == config.name
    return label_of(config) if same or config.label else dataset.name


def row_split(config: DataConfig, dataset: Dataset) -> str:
    """Return the name of a split in rows, with the noise added to its images."""
    noise = f" +{100 * config.salt_pepper:g}% salt-and-pepper" if config.salt_pepper else ""
    return dataset.split + noise
