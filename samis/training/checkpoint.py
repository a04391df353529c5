"""What a killed run needs to go on exactly: weights, optimizer, random state, position, best so far; written by rename."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from samis.contracts import UserError


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        epoch: epochs finished. batches: micro-batches finished in the running epoch. step: optimizer steps finished.
        best: best validation value so far, or None. best_epoch: its epoch. waiting: validations since then.
    """

    epoch: int = 0
    batches: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = -1
    waiting: int = 0


def save_resume(
    folder: Path, *, model: torch.nn.Module, optimizer: torch.optim.Optimizer, scaler: Any, position: Position
) -> None:
    """Write the resume point of the main process as ``folder/state.pt``; a cut leaves the one before."""
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "position": asdict(position),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write(state, folder / "state.pt")


def save_random_state(folder: Path, *, rank: int, step: int) -> None:
    """Write a process's own random state; dropout draws from it."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {"torch": torch.get_rng_state(), "step": step}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    _write(state, folder / f"random_{rank}.pt")


def load_resume(
    folder: Path, *, model: torch.nn.Module, optimizer: torch.optim.Optimizer, scaler: Any, rank: int
) -> Position:
    """Restore what ``save_resume`` and ``save_random_state`` wrote, and return the position.

    Raises:
        UserError: the file is of another model.
    """
    path = folder / "state.pt"
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path}: cannot resume, the run was made with another config ({first}); choose another training.out, "
            "or delete the run folder to start anew"
        ) from error
    if scaler is not None and state["scaler"] is not None:
        scaler.load_state_dict(state["scaler"])
    random = folder / f"random_{rank}.pt"
    if random.exists():
        own = torch.load(random, map_location="cpu", weights_only=True)
        torch.set_rng_state(own["torch"])
        if "cuda" in own and torch.cuda.is_available():
            torch.cuda.set_rng_state(own["cuda"])
    return Position(**state["position"])


def replace_folder(new: Path, old: Path) -> None:
    """Put the finished folder `new` in the place of `old`."""
    if old.exists():
        aside = old.with_name(f".{old.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(old, aside)
        os.replace(new, old)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        os.replace(new, old)


def _write(state: dict[str, Any], path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        torch.save(state, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
