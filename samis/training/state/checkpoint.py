"""Resume points and weights on disk: written under another name, synced, then renamed, so that a cut at any moment loses nothing.

A validation's weights are staged first (``.best.epoch7``), then the resume point is written, which decides, and only then
are the staged weights and ``validation.jsonl`` moved to their places. After a cut, ``settle`` moves or removes what was staged.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samis.core.files import replacing, sync
from samis.errors import UserError

VERSION = 2
KEPT = ("last", "best")
"""Folders of weights in a run folder."""


def random_state() -> dict[str, Any]:
    """Return this process's random states; dropout draws from torch's.

    Python's own is left out: libraries draw file names from it, and no training result depends on it.
    """
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 - the global generator is what is saved
    state = {
        "torch": torch.get_rng_state(),
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what ``random_state`` returned."""
    torch.set_rng_state(state["torch"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a resume point; a cut, or a full disk, leaves the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # With a path, torch.save hides the system's error of a full disk.
        with replacing(path) as temporary, open(temporary, "wb") as file:
            torch.save({"version": VERSION, **state}, file)
        sync(path.parent)
    except (OSError, RuntimeError) as error:
        system = error if isinstance(error, OSError) else error.__context__
        if isinstance(system, OSError):
            # Name the file; torch's own error, raised while it closes the file, names nothing.
            raise OSError(system.errno, system.strerror, str(path)) from error
        raise


def read_state(path: Path) -> dict[str, Any]:
    """Read a resume point: tensors and plain values, never code.

    Raises:
        UserError: no such file, a damaged one, or one of an older version.
    """
    again = f"delete {path.parent.parent} to start again"
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path}: expected a resume point, but {reason}; copy it again, or {again}", code="E-TRAIN-RESUME-DAMAGED"
        ) from error
    version = state.get("version") if isinstance(state, dict) else None
    if version != VERSION:
        raise UserError(
            f"{path}: expected a resume point of version {VERSION}, got {version or 'an older one'}; {again}",
            code="E-TRAIN-RESUME-VERSION",
        )
    return state


def load_into(
    state: dict[str, Any], *, path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, scaler: Any
) -> None:
    """Restore a resume point's weights and optimizer state.

    Args:
        state: what ``read_state`` returned.
        path: its file, for the message.
        model: gets the weights.
        optimizer: gets its state.
        scaler: gets its state; None without one.

    Raises:
        UserError: they are of another model.
    """
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path}: cannot resume, the run was made with another config ({first}); choose another training.out, "
            "or delete the run folder to start again",
            code="E-TRAIN-RESUME-MODEL",
        ) from error
    if scaler is not None and state["scaler"] is not None:
        scaler.load_state_dict(state["scaler"])


def stage(folder: Path, name: str, *, epoch: int, save: Callable[[Path], None]) -> None:
    """Let `save` write the weights of an epoch under a staging name, whole and synced.

    Args:
        folder: the run folder.
        name: of the folder of weights.
        epoch: of the weights.
        save: writes them into the folder that it gets.
    """
    partial = folder / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        save(partial)
        for path in sorted(partial.rglob("*")):
            sync(path)
        os.replace(partial, folder / f".{name}.epoch{epoch}")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def settle(folder: Path, *, epoch: int) -> None:
    """Move the weights staged for `epoch` to their places, and remove those of any other epoch.

    Files are replaced one by one, so that each of them is whole at every moment.

    Args:
        folder: the run folder.
        epoch: whose staged weights count.
    """
    for name in KEPT:
        staged = folder / f".{name}.epoch{epoch}"
        target = folder / name
        if staged.is_dir() and not target.exists():
            os.replace(staged, target)
        elif staged.is_dir():
            new = [path.relative_to(staged) for path in staged.rglob("*") if path.is_file()]
            for path in new:
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged / path, target / path)
        for left in folder.glob(f".{name}.*"):
            shutil.rmtree(left, ignore_errors=True)
