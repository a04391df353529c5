"""Examines the splits that a config names, before a GPU is paid for."""

from __future__ import annotations

import json
from pathlib import Path

from samis.config import DataConfig
from samis.data import DATASETS, has_clean_lists, load_dataset, loader_options
from samis.data.checks.doctor import Examination, examine_named, write_contact_sheet
from samis.data.checks.findings import equal_splits


def check_data_set(data: DataConfig, *, sheet: Path | None = None) -> Examination:
    """Examine training, validation and test split.

    Args:
        data: which data set.
        sheet: PNG to draw a contact sheet into, a few images of each class; None draws none.

    Raises:
        UserError: no such data set, or no data.
    """
    splits = list(dict.fromkeys([data.train, data.val, data.test]))
    if data.name not in DATASETS:
        load_dataset(data.name)  # raises the error that names the near one
    more = loader_options(data.name, data.options)
    if data.clean_share and has_clean_lists(data.name):
        more["clean"] = True
    examination = examine_named(DATASETS[data.name], splits, root=data.root, **more)
    examination.findings += equal_splits({"data.train": data.train, "data.val": data.val, "data.test": data.test})
    examination.sort()
    if sheet:
        write_contact_sheet(load_dataset(data.name, root=data.root, split=splits[0], **more), sheet)
    return examination


def print_findings(examination: Examination, *, most: int = 40, as_json: bool = False) -> None:
    """Print a table of the classes and the findings, the worst first.

    Args:
        examination: by ``check_data_set``.
        most: findings to print.
        as_json: print one JSON document instead, with all findings.
    """
    if as_json:
        print(json.dumps(examination.as_dict()))
        return
    print(f"{'split':10s} {'class':16s} {'images':>7s} {'empty':>6s}   defect area of an image: least, median, largest")
    for row in examination.classes:
        entry = row.as_dict()
        areas = [entry[f"area_{name}"] for name in ("min", "median", "max")]
        shown = "  ".join("-" if area is None else f"{area:.2%}" for area in areas)
        print(f"{entry['split']:10s} {entry['class']:16s} {entry['images']:7d} {entry['empty_masks']:6d}   {shown}")
    for finding in examination.findings[:most]:
        where = "" if finding.file in finding.message else f"{finding.file}: "
        print(f"{finding.severity}: {one_line(where + finding.message)}")
    if len(examination.findings) > most:
        print(f"and {len(examination.findings) - most} more; --json prints all")
    counts = examination.as_dict()["counts"]
    print(", ".join(f"{count} {severity}s" for severity, count in counts.items()))


def one_line(text: str) -> str:
    """Return a text that any terminal can show: control signs of file names are written out."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
