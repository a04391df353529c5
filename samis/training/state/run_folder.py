"""Checks of a run folder before its run: whether it belongs to this experiment, and whether the disk is large enough."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from samis.config import load_config, to_dict, to_yaml
from samis.core.files import write_atomic
from samis.errors import UserError
from samis.training.tracking import flattened

FREE_KEYS = {
    "training.epochs", "training.patience", "training.batch_size", "training.accumulation", "training.workers",
    "training.log_every", "training.save_every_min", "training.save_every_steps", "training.on_nan", "training.nan_limit",
    "training.spike_ratio", "training.collapse_after", "training.out", "training.gallery", "training.reference_rows",
    "data.root", "data.check", "metrics.batch_size", "metrics.bootstrap", "cache.folder", "cache.limit_gb",
    "training.prefetch", "training.minutes", "training.allow_changed_data", "segmenter.checkpoint_activations", "segmenter.compile",
    "training.compile", "training.trackers", "training.keep_resume",
}  # fmt: skip
"""Keys that may differ when a run is resumed: how long, how fast and where, not the model, the data or the optimization."""
PICTURE_BYTES = 200_000
"""Size of one picture in TensorBoard's file, measured with photos of a few hundred pixels a side."""


def check_config(folder: Path, config: Any) -> None:
    """Compare a config, a dataclass, with that of the run in the folder.

    Args:
        folder: the run folder.
        config: of this run; None compares nothing.

    Raises:
        UserError: a key differs that may not; each is named with both values.
    """
    path = folder / "config.yaml"
    if config is None or not path.exists():
        return
    old, new = flattened(to_dict(load_config(path, schema=type(config)))), flattened(to_dict(config))
    differ = [key for key in {**new, **old} if key not in FREE_KEYS and old.get(key) != new.get(key)]
    if differ:
        shown = ", ".join(f"{key} is {old.get(key)} there and {new.get(key)} here" for key in differ[:5])
        raise UserError(
            f"{path}: cannot resume a run of another config ({shown}); choose another training.out, or delete the run "
            "folder to start again",
            code="E-TRAIN-OTHER-CONFIG",
        )


LENGTH = ("training.epochs", "training.minutes", "training.patience")


def is_finished(folder: Path) -> bool:
    """Return whether a folder holds a finished run."""
    return (folder / "provenance.json").exists() and (folder / "validation.jsonl").exists()


def check_length(folder: Path, config: Any) -> None:
    """Refuse to train a finished run on, whose resume point was removed.

    Args:
        folder: the run folder.
        config: of this run; None compares nothing.

    Raises:
        UserError: a key of the run's length differs.
    """
    path = folder / "config.yaml"
    if config is None or not path.exists():
        return
    old, new = flattened(to_dict(load_config(path, schema=type(config)))), flattened(to_dict(config))
    differ = [f"{key} is {old.get(key)} there and {new[key]} here" for key in LENGTH if old.get(key) != new[key]]
    if differ:
        raise UserError(
            f"{folder}: cannot train a finished run on ({', '.join(differ)}), its resume point was removed; choose another "
            "training.out, with training.keep_resume=true to train it on later",
            code="E-TRAIN-FINISHED",
        )


def check_data(path: Path, old: list[dict[str, str]], new: dict[str, str], *, allow: bool) -> list[str]:
    """Compare the data of a run with that of the resume point that it goes on from.

    Args:
        path: the resume point.
        old: its fingerprints by split, for each data set that the run has seen, in order; empty where an older version wrote it.
        new: this process's, by split; empty where it checks none.
        allow: whether the run may go on with other data.

    Returns:
        notes about it, a line each.

    Raises:
        UserError: a split differs and `allow` is false.
    """
    if not new:
        return []
    if not old:
        return [
            f"{path} holds no fingerprints of the data (an older version wrote it): a change of the data cannot be detected"
        ]
    differ = [name for name in new if old[-1].get(name) != new[name]]
    if not differ:
        return []
    shown = ", ".join(f"{name} {old[-1].get(name, 'none')[:12]} there and {new[name][:12]} here" for name in differ)
    if not allow:
        raise UserError(
            f"{path}: expected the images and masks of the run so far, got others (fingerprint of {shown}); restore them, "
            "choose another training.out, or go on with training.allow_changed_data=true",
            code="E-TRAIN-OTHER-DATA",
        )
    return [f"the data has changed (fingerprint of {shown}); provenance.json records both"]


def write_config(folder: Path, config: Any) -> None:
    """Write the resolved config, unless the folder has it."""
    path = folder / "config.yaml"
    if config is not None and (not path.exists() or path.read_text(encoding="utf-8") != to_yaml(config)):
        write_atomic(path, to_yaml(config))


def check_leftovers(folder: Path) -> None:
    """Refuse a folder with weights but without a resume point: training into it would overwrite them.

    Raises:
        UserError: it is one.
    """
    if (folder / "best").exists() or (folder / "last").exists():
        raise UserError(
            f"{folder}: expected a new folder or one with resume/state.pt, but it holds weights without it; choose another "
            "training.out, or delete the run folder to start again",
            code="E-TRAIN-NO-RESUME",
        )


def needed_bytes(learner: torch.nn.Module, *, pictures: int, averaged: bool = False) -> int:
    """Estimate the largest disk use of a run: two resume points (old and new), best and last twice each, pictures.

    A resume point holds the weights and, for each trained one, AdamW's two moments, and its average where there is one.

    Args:
        learner: whose weights are saved.
        pictures: number of pictures in TensorBoard's file.
        averaged: whether an average of the weights is kept.
    """
    weights = sum(t.numel() * t.element_size() for t in learner.state_dict().values() if isinstance(t, torch.Tensor))
    moments = (2 + averaged) * sum(p.numel() * p.element_size() for p in learner.parameters() if p.requires_grad)
    return 2 * (weights + moments) + 4 * weights + pictures * PICTURE_BYTES


def check_space(folder: Path, need: int) -> None:
    """Compare what a run needs with what is free; the folder's present files count as free.

    Args:
        folder: the run folder.
        need: bytes.

    Raises:
        UserError: it is not enough; the message states how much is missing.
    """
    present = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free + present
    if free < need:
        raise UserError(
            f"{folder}: expected about {size(need)} of disk for resume points and weights, got {size(free)}: "
            f"{size(need - free)} are missing; free some, or choose another training.out",
            code="E-TRAIN-DISK",
        )


def size(count: float) -> str:
    """Return a number of bytes for people.

    >>> size(312), size(4_200_000), size(7.7e9)
    ('312 B', '4.2 MB', '7.7 GB')
    """
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
