"""Checks names of splits and values of ``data.options`` before any file is read: what a config says, not what a folder holds."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from samis.contracts import UserError
from samis.data import magnetic_tile, rsdds, sd_saliency_900
from samis.data.annotations import SPLITS as OWN_SPLITS
from samis.data.annotations import UNLABELLED
from samis.data.base import did_you_mean

MAX_SEED = 2**31
MAX_COUNT = 1_000_000
RANGES: dict[str, tuple[float, float]] = {
    "val_share": (0, 1),
    "test_share": (0, 1),
    "clean_share": (0, 1),
    "line_width": (0, 1000),
    "seed": (0, MAX_SEED - 1),
    "count": (0, MAX_COUNT),
}
"""Option -> least and largest value that any data set takes; a loader may be stricter."""
CHOICES: dict[str, tuple[str, ...]] = {
    "division": tuple(magnetic_tile.DIVISIONS),
    "unlabelled": UNLABELLED,
    "surface": ("all", "steel", "tile", "rail"),
}
"""Option -> names that it may be."""
SPLITS: dict[str, tuple[str, ...]] = {
    "sd_saliency_900": sd_saliency_900.SPLITS,
    "magnetic_tile": magnetic_tile.SPLITS,
    "rsdds": rsdds.SPLITS,
    "folder": OWN_SPLITS,
    "coco": OWN_SPLITS,
    "labelme": OWN_SPLITS,
    "procedural": ("train", "val", "trainval", "test"),
}
"""Data set -> splits that it has; NRSD-MN's depend on its folders, and a data set of the user's own is not listed."""
_WRITTEN_AS = {"division": "split"}
"""Option of a loader -> its name in a config."""


def check_split_names(name: str, roles: Mapping[str, str]) -> None:
    """Refuse a split that a data set does not have.

    Args:
        name: of the data set. roles: config key -> name of the split.

    Raises:
        UserError: names the key, the splits there are and the nearest.
    """
    known = SPLITS.get(name)
    for key, split in roles.items():
        if known is not None and split not in known:
            raise UserError(
                f"{key}: expected a split of {name}, one of {', '.join(known)}, got '{split}'{did_you_mean(split, known)}"
            )


def check_values(name: str, loader: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that a loader does not take, and values of another type or out of range.

    Args:
        name: of the data set. loader: whose signature says which options there are, and of which type.
        options: as keyword arguments of the loader.

    Raises:
        UserError: names the option, what was expected, and where there is one the near name.
    """
    parameters = inspect.signature(loader).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = [key for key in parameters if key not in ("root", "split", "self")]
    for option, value in options.items():
        if option not in known:
            takes = f"one of {', '.join(known)}" if known else "none"
            raise UserError(f"data set {name}: expected options, {takes}, got '{option}'{did_you_mean(option, known)}")
        expected = _expected(option, parameters[option].annotation, value)
        if expected:
            near = did_you_mean(value, CHOICES.get(option, ())) if isinstance(value, str) else ""
            shown = value if isinstance(value, str) and value.isprintable() else repr(value)
            raise UserError(
                f"data set {name}: data.options: {_WRITTEN_AS.get(option, option)}: expected {expected}, "
                f"got {str(shown)[:80]}{near}"
            )


def _expected(option: str, annotation: Any, value: Any) -> str | None:
    """Return what an option should be, or None where its value fits.

    >>> _expected("seed", "int", -1), _expected("grey_masks", "bool", "no"), _expected("csv", "str", "pairs.csv")
    ('a whole number from 0 to 2147483647', 'true or false', None)
    """
    kind = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    low, high = RANGES.get(option, (-math.inf, math.inf))
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    fits = number and low <= value <= high
    if option in CHOICES:
        return None if value in CHOICES[option] else f"one of {', '.join(CHOICES[option])}"
    if kind == "bool":
        return None if isinstance(value, bool) else "true or false"
    if kind == "str":
        return None if isinstance(value, str | os.PathLike) else "a text"
    if kind == "int":
        return None if fits and isinstance(value, int) else f"a whole number{_limits(low, high)}"
    if kind == "float":
        return None if fits else f"a number{_limits(low, high)}"
    return None


def _limits(low: float, high: float) -> str:
    return f" from {low:.0f} to {high:.0f}" if math.isfinite(low) else ""
