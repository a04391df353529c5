"""Data sets by name: real ones on disk, your own folder, and surfaces drawn by our own code."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from samis.core.contracts import Dataset
from samis.data.base import Record, RecordDataset
from samis.data.options import check_split_names, check_values
from samis.data.own.coco import load_coco
from samis.data.own.folder import load_folder
from samis.data.own.labelme import load_labelme
from samis.data.public.magnetic_tile import load_magnetic_tile
from samis.data.public.nrsd_mn import load_nrsd_mn
from samis.data.public.rsdds import load_rsdds
from samis.data.public.sd_saliency_900 import load_sd_saliency_900
from samis.errors import UserError, did_you_mean

__all__ = [
    "DATASETS",
    "Record",
    "RecordDataset",
    "check_options",
    "check_split_names",
    "dataset_label",
    "has_clean_lists",
    "load_dataset",
    "loader_options",
]


def load_procedural(*, root: Path | str | None = None, split: str = "test", **options: Any) -> Dataset:
    """Load drawn surfaces; `root` is not used, `options` are those of ``samis.data.public.procedural.ProceduralDataset``."""
    from samis.data.public.procedural import ProceduralDataset  # here, so that naming data sets stays quick

    check_values("procedural", ProceduralDataset, options)
    drawn: Dataset = ProceduralDataset(split=split, **options)
    return drawn


DATASETS: dict[str, Callable[..., Dataset]] = {
    "sd_saliency_900": load_sd_saliency_900,
    "magnetic_tile": load_magnetic_tile,
    "nrsd_mn": load_nrsd_mn,
    "rsdds": load_rsdds,
    "folder": load_folder,
    "coco": load_coco,
    "labelme": load_labelme,
    "procedural": load_procedural,
}
"""Loaders by name; each takes ``root=``, ``split=`` and its own options."""


OWN = ("folder", "coco", "labelme")
"""Formats of a user's own data: only the folder identifies the data."""


def load_dataset(name: str, *, root: Path | str | None = None, split: str = "test", **options: Any) -> Dataset:
    """Load one split of a data set.

    Args:
        name: key in ``DATASETS``.
        root: its folder; None searches ``$SAMIS_DATA``, then in ``data`` and ``../shared/data``.
        split: ``train``, ``val``, ``trainval``, ``test`` or another one that the data set names.
        options: what its loader takes in addition, e.g. ``masks=`` of ``folder``.

    Raises:
        UserError: if the name, the split, an option or a file is not what it should be.
    """
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise UserError(
            f"data.name: expected one of {known}, got '{name}'{did_you_mean(name, DATASETS)}", code="E-DATA-SET"
        )
    check_values(name, DATASETS[name], options)
    dataset = DATASETS[name](root=root, split=split, **options)
    with contextlib.suppress(AttributeError, TypeError):  # an object that takes no attributes keeps none
        vars(dataset)["loaded_as"] = {
            "name": name,
            "root": None if root is None else str(root),
            "options": dict(options),
        }
    return dataset


def loader_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config's ``data.options`` as keyword arguments of a loader.

    ``split: by_tile`` in a config chooses a division; the loaders call it ``division``, since ``split`` names a part of it.

    Args:
        name: key in ``DATASETS``.
        options: of a config.

    Raises:
        UserError: if the data set has one division only.

    >>> loader_options("magnetic_tile", {"split": "by_tile"})
    {'division': 'by_tile'}
    """
    chosen = dict(options)
    if "split" in chosen and name in DATASETS:
        if "division" not in inspect.signature(DATASETS[name]).parameters:
            raise UserError(
                f"data.options: expected no 'split' for {name}, which is divided in one way only, got "
                f"'{chosen['split']}'; name the parts with data.train, data.val and data.test, and add data.options={{}} if the "
                "option is that of the run's own data",
                code="E-DATA-OPTION",
            )
        chosen["division"] = chosen.pop("split")
    return chosen


def dataset_label(
    name: str, options: Mapping[str, Any], *, root: Path | str | None = None, label: str | None = None
) -> str:
    """Return what rows, tables and file names call a data set: its name, and the options that make it another one.

    Args:
        name: key in ``DATASETS``.
        options: of a config.
        root: the folder; its name is part of the label of a user's own data.
        label: what the user calls the data, in place of name and folder.

    Raises:
        UserError: the label is empty or holds a line break.

    >>> dataset_label("magnetic_tile", {"split": "by_tile"}), dataset_label("magnetic_tile", {"split": "usual"})
    ('magnetic_tile (by tile)', 'magnetic_tile')
    >>> dataset_label("folder", {"seed": 1, "masks": "masks"})
    'folder (seed=1)'
    >>> dataset_label("folder", {}, root="/data/castings"), dataset_label("folder", {}, root="a", label="castings, line 2")
    ('folder (castings)', 'castings, line 2')
    """
    if label is not None and not (label.strip() and label.isprintable()):
        raise UserError(
            f"data.label: expected words on one line, got {label!r}; leave it out to take the folder's name",
            code="E-DATA-LABEL",
        )
    if name not in DATASETS:
        return label or name
    defaults = {key: p.default for key, p in inspect.signature(DATASETS[name]).parameters.items()}
    parts = [Path(root).resolve().name] if root is not None and name in OWN and not label else []
    for key, value in sorted(loader_options(name, options).items()):
        if key == "division" and value != defaults[key]:
            parts.append(str(value).replace("_", " "))
        elif key not in defaults or value != defaults[key]:
            parts.append(f"{key}={value}")
    return f"{label or name} ({', '.join(parts)})" if parts else label or name


def has_clean_lists(name: str) -> bool:
    """Return whether a data set has lists of defect-free photos, which ``clean=True`` adds to a split."""
    return name in DATASETS and "clean" in inspect.signature(DATASETS[name]).parameters


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options of a config that the data set's loader does not take, or with wrong values; reads no file.

    Args:
        name: key in ``DATASETS``.
        options: of a config.

    Raises:
        UserError: names the option and, where there is one, the near option.
    """
    loader = DATASETS[name]
    if loader is load_procedural:
        from samis.data.public.procedural import ProceduralDataset as loader  # type: ignore[no-redef]
    check_values(name, loader, loader_options(name, options))
