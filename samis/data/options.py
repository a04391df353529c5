"""Checks names of splits and values of ``data.options`` before any file is read: what is in a config, not what is in a folder."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field

from samis.config import from_dict
from samis.config.fields import NUMBER, Count, Flag, Number, OneOf, Section, Share, Text, Whole
from samis.data.own.annotations import SPLITS as OWN_SPLITS
from samis.data.own.annotations import UNLABELLED
from samis.data.public import magnetic_tile, rsdds, sd_saliency_900
from samis.errors import ConfigError, UserError, did_you_mean

TYPES: dict[str, Any] = {
    "val_share": Share,
    "test_share": Share,
    "clean_share": Share,
    "line_width": Annotated[float, Field(strict=True, ge=0, le=1000), NUMBER],
    "seed": Count,
    "count": Annotated[int, Field(strict=True, ge=0, le=1_000_000)],
    "division": Annotated[Text, OneOf(*magnetic_tile.DIVISIONS)],
    "unlabelled": Annotated[Text, OneOf(*UNLABELLED)],
    "surface": Annotated[Text, OneOf("all", "steel", "tile", "rail")],
}
"""Option -> its range or choices in any data set; a loader may be stricter."""
PLAIN: dict[str, Any] = {"bool": Flag, "str": Text, "int": Whole, "float": Number}
"""Annotation in a loader's signature -> type of any other option."""
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
_NO_OPTIONS = ("root", "split", "self")
_WRITTEN_AS = {"division": "split"}
"""Option of a loader -> its name in a config."""


def check_split_names(name: str, roles: Mapping[str, str]) -> None:
    """Refuse a split that a data set does not have.

    Args:
        name: of the data set.
        roles: config key -> name of the split.

    Raises:
        UserError: names the key, the splits that exist and the nearest.
    """
    known = SPLITS.get(name)
    for key, split in roles.items():
        if known is not None and split not in known:
            raise UserError(
                f"{key}: expected a split of {name}, one of {', '.join(known)}, got '{split}'{did_you_mean(split, known)}",
                code="E-DATA-SPLIT",
            )


def check_values(name: str, loader: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that a loader does not take, and values of another type or out of range.

    Args:
        name: of the data set.
        loader: its signature states the options and their types.
        options: as keyword arguments of the loader.

    Raises:
        UserError: one line for each mistake names the option, what was expected, and where there is one the near name.
    """
    schema = _schema(loader)
    if schema is None:
        return
    written = {
        _WRITTEN_AS.get(key, key): os.fspath(v) if isinstance(v, os.PathLike) else v for key, v in options.items()
    }
    try:
        from_dict(schema, written, where=f"data set {name}: data.options")
    except ConfigError as error:
        lines = re.sub(r"\[E-CONFIG-[A-Z-]+\]$", "[E-DATA-OPTION]", error.message, flags=re.MULTILINE)
        raise UserError(lines, code="E-DATA-OPTION") from None


@lru_cache
def _schema(loader: Callable[..., Any]) -> type | None:
    """Return a dataclass of a loader's options; None where it takes any."""
    parameters = inspect.signature(loader).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    types = {p.name: TYPES.get(p.name) or PLAIN.get(_annotation(p.annotation), Any) for p in parameters}
    fields = [(_WRITTEN_AS.get(key, key), kind, None) for key, kind in types.items() if key not in _NO_OPTIONS]
    return dataclasses.make_dataclass("Options", fields, bases=(Section,))


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
