"""A small search over config keys: which trials a grid means, what each reached on validation, which one won.

Knows no trainer: a trial is a command, its result a run folder's ``validation.jsonl``. The test split is never read.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samis.config import ConfigError

_LONGEST_NAME = 80


@dataclass(frozen=True)
class Trial:
    """One point of the grid.

    Attributes:
        overrides: ``key=value`` of the searched keys. folder: its run folder.
    """

    overrides: tuple[str, ...]
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether its run came to its end."""
        return (self.folder / "provenance.json").exists()


@dataclass(frozen=True)
class Result:
    """What a finished trial reached at its best epoch, on validation."""

    trial: Trial
    epoch: int
    metrics: dict[str, float]


def parse_axes(arguments: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Split ``key=v1,v2`` arguments into searched keys with their values, and fixed overrides.

    Commas inside brackets do not separate. A key with one value is fixed.

    Raises:
        ConfigError: no ``=``, an empty value, a value twice, or a key twice.

    >>> parse_axes(["adapter.rank=4,8", "adapter.encoder=[q,v],[qkv]", "seed=1"])
    ({'adapter.rank': ['4', '8'], 'adapter.encoder': ['[q,v]', '[qkv]']}, ['seed=1'])
    """
    axes: dict[str, list[str]] = {}
    fixed: list[str] = []
    for argument in arguments:
        key, equals, text = argument.partition("=")
        values = [value.strip() for value in re.split(r",(?![^\[{]*[\]}])", text)]
        if not equals or not key or not all(values):
            raise ConfigError(f"{argument!r}: expected key=value or key=value,value,..., such as adapter.rank=4,8,16")
        if len(set(values)) < len(values) or key in axes or any(f.startswith(f"{key}=") for f in fixed):
            raise ConfigError(f"{argument!r}: expected each key once with values that differ")
        if len(values) == 1:
            fixed.append(argument)
        else:
            axes[key] = values
    return axes, fixed


def plan(axes: dict[str, list[str]], base: Path, *, draws: int = 0, seed: int = 0) -> list[Trial]:
    """Return every point of the grid, or some of them drawn at random without repeats.

    Args:
        axes: searched keys and their values.
        base: folder of the trials' run folders.
        draws: how many points to draw; 0 takes all.
        seed: of the draw.

    Raises:
        ConfigError: nothing to search.
    """
    if not axes:
        raise ConfigError("sweep: expected at least one key with several values, such as adapter.rank=4,8,16")
    points = [
        tuple(f"{key}={value}" for key, value in zip(axes, values, strict=True))
        for values in itertools.product(*axes.values())
    ]
    if draws and draws < len(points):
        chosen = sorted(random.Random(seed).sample(range(len(points)), draws))
        points = [points[index] for index in chosen]
    return [Trial(point, base / folder_name(point)) for point in points]


def folder_name(overrides: Sequence[str]) -> str:
    """Return a folder name that says what was tried and stays the same when the grid grows.

    >>> folder_name(["adapter.rank=8", "optim.lr=1e-3"])
    'adapter.rank=8_optim.lr=1e-3'
    """
    text = "_".join(overrides)
    name = re.sub(r"[^\w.=+-]+", "-", text)
    if name == text and len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def read_result(trial: Trial) -> Result | None:
    """Return the best validation of a finished trial; None for another.

    Raises:
        ConfigError: the record is damaged.
    """
    path = trial.folder / "validation.jsonl"
    if not trial.finished:
        return None
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        best = [record for record in records if record["best"]] or records
        return Result(trial, int(best[-1]["epoch"]), dict(best[-1]["metrics"]))
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ConfigError(
            f"{path}: expected the validations of a finished run, got trouble ({error}); delete the folder to try again"
        ) from error


def ranked(results: Sequence[Result], metric: str) -> list[Result]:
    """Return results from best to worst by a validation metric.

    Raises:
        ConfigError: a result lacks the metric.
    """
    for result in results:
        if metric not in result.metrics:
            known = ", ".join(result.metrics)
            raise ConfigError(f"keep_best: expected one of the validation's metrics ({known}), got {metric}")
    from samis.metrics import directions_of  # imports OpenCV, which --help does not wait for

    return sorted(results, key=lambda r: r.metrics[metric], reverse=directions_of([metric]).get(metric, 1) > 0)


def table(results: Sequence[Result], metrics: Sequence[str]) -> str:
    """Return results as aligned text, in the order given."""
    width = max((len(" ".join(result.trial.overrides)) for result in results), default=5)
    shown = [metric for metric in metrics if all(metric in result.metrics for result in results)]
    lines = [f"{'trial':{width}s} {'epoch':>6s}" + "".join(f" {metric:>12s}" for metric in shown)]
    for result in results:
        numbers = "".join(f" {result.metrics[metric]:12.4f}" for metric in shown)
        lines.append(f"{' '.join(result.trial.overrides):{width}s} {result.epoch:6d}{numbers}")
    return "\n".join(lines)


def record(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return results as plain values, for JSON."""
    return [
        {"overrides": list(r.trial.overrides), "folder": str(r.trial.folder), "epoch": r.epoch, "validation": r.metrics}
        for r in results
    ]
