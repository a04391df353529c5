"""Which points a search means: lists and ranges of values for config keys, and the names of their run folders."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from samis.config import to_dict
from samis.errors import ConfigError

_LONGEST_NAME = 80
OF_THE_MACHINE = {"data.root", "cache", "training.out", "training.workers", "training.prefetch"}
"""Keys, and sections, that may differ between the machines that share a study."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; on a logarithmic scale where they span a factor of ten or more."""

    low: float
    high: float
    whole: bool

    @property
    def log(self) -> bool:
        """Whether the scale is logarithmic."""
        return self.low > 0 and self.high / self.low >= 10

    def draw(self, rng: random.Random) -> float:
        """Return a number within the range."""
        value = (
            math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
            if self.log
            else rng.uniform(self.low, self.high)
        )
        return round(value) if self.whole else min(max(float(f"{value:.4g}"), self.low), self.high)


Axes = dict[str, "list[str] | Range"]
"""Searched key -> its values, or the range they come from."""


def parse_axes(arguments: Sequence[str]) -> tuple[Axes, list[str]]:
    """Split ``key=v1,v2`` and ``key=low..high`` arguments into searched keys, and fixed overrides.

    Commas inside brackets do not separate. A key with one value is fixed.

    Raises:
        ConfigError: no ``=``, an empty value, a value twice, a key twice, or no range.

    >>> parse_axes(["adapter.rank=4,8", "adapter.encoder=[q,v],[qkv]", "seed=1"])
    ({'adapter.rank': ['4', '8'], 'adapter.encoder': ['[q,v]', '[qkv]']}, ['seed=1'])
    >>> parse_axes(["optim.lr=1e-4..1e-2"])[0]
    {'optim.lr': Range(low=0.0001, high=0.01, whole=False)}
    """
    axes: Axes = {}
    fixed: dict[str, str] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        values = [value.strip() for value in re.split(r",(?![^\[{]*[\]}])", text)]
        if not equals or not key or not all(values):
            raise ConfigError(
                f"{argument!r}: expected key=value or key=value,value,..., such as adapter.rank=4,8,16",
                code="E-SWEEP-KEYS",
            )
        if len(set(values)) < len(values) or key in axes or key in fixed:
            raise ConfigError(f"{argument!r}: expected each key once with values that differ", code="E-SWEEP-KEYS")
        ends = re.fullmatch(r"([-+\d.eE]*\d)\.\.([-+\d.eE]+)", text)
        if ends:
            axes[key] = _range(argument, *ends.groups())
        elif len(values) == 1:
            fixed[key] = argument
        else:
            axes[key] = values
    if not axes:
        raise ConfigError(
            "sweep: expected at least one key with several values, such as adapter.rank=4,8,16", code="E-SWEEP-KEYS"
        )
    return axes, list(fixed.values())


def _range(argument: str, low: str, high: str) -> Range:
    try:
        limits = Range(float(low), float(high), all(re.fullmatch(r"[-+]?\d+", end) for end in (low, high)))
    except ValueError:
        limits = Range(0, 0, False)
    if not limits.low < limits.high < math.inf:
        raise ConfigError(
            f"{argument!r}: expected a range key=low..high with low < high, such as optim.lr=1e-4..1e-2",
            code="E-SWEEP-RANGE",
        )
    return limits


def plan(axes: Axes, *, draws: int = 0, seed: int = 0) -> list[dict[str, Any]]:
    """Return every point of the grid, or some drawn at random without repeats, each as key -> value.

    Args:
        axes: searched keys.
        draws: how many points to draw; 0 takes all.
        seed: of the draw.

    Raises:
        ConfigError: all points of a range.
    """
    ranges = [key for key, values in axes.items() if isinstance(values, Range)]
    rng = random.Random(seed)
    if ranges and not draws:
        raise ConfigError(
            f"sweep: {ranges[0]} is a range, which has no grid; add --random N or --tpe N", code="E-SWEEP-RANGE"
        )
    if ranges:
        return [
            {k: v.draw(rng) if isinstance(v, Range) else rng.choice(v) for k, v in axes.items()} for _ in range(draws)
        ]
    lists = [values for values in axes.values() if not isinstance(values, Range)]
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*lists)]
    chosen = sorted(rng.sample(range(len(points)), draws)) if 0 < draws < len(points) else range(len(points))
    return [points[index] for index in chosen]


def ends(axes: Axes, place: int) -> dict[str, Any]:
    """Return the first (0) or last (-1) value of every key."""
    return {
        key: (values.low, values.high)[place] if isinstance(values, Range) else values[place]
        for key, values in axes.items()
    }


def overrides_of(point: dict[str, Any]) -> list[str]:
    """Return a point as overrides.

    >>> overrides_of({"adapter.rank": "8", "optim.lr": 0.00123456})
    ['adapter.rank=8', 'optim.lr=0.001235']
    """
    return [f"{key}={f'{value:.4g}' if isinstance(value, float) else value}" for key, value in point.items()]


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


def study_name(config: Any, axes: Axes) -> str:
    """Return a name that changes with the searched keys and with every fixed one that may change a result."""
    kept = {}
    for section, values in to_dict(config).items():
        for key, value in values.items() if isinstance(values, dict) else [("", values)]:
            name = f"{section}.{key}".rstrip(".")
            if not {section, name} & OF_THE_MACHINE and name not in axes:
                kept[name] = value
    text = json.dumps([kept, {key: str(values) for key, values in axes.items()}], sort_keys=True)
    return f"{config.experiment}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
