"""YAML <-> dataclasses: strict reading, dotted overrides, typos answered with the near key, ``--help`` from docstrings.

Knows no experiment: ``samis.config`` holds the dataclasses.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


class ConfigError(ValueError):
    """A mistake in a config file or an override, told in one line."""


def load_config(path: str | Path, overrides: Sequence[str] = (), *, schema: type[T]) -> T:
    """Read a YAML file into a dataclass and apply dotted overrides such as ``adapter.rank=16``.

    Raises:
        ConfigError: no such file, no YAML, an unknown key (the near one is proposed), or a value of the wrong type; the
            message names the file and the key.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"{path}: expected a config file, but {error.strerror}; see configs/ for examples") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: expected YAML, but {' '.join(str(error).split())}") from error
    config = from_dict(schema, content, where=str(path))
    return apply_overrides(config, overrides)


def from_dict(schema: type[T], content: Any, *, where: str = "config", prefix: str = "") -> T:
    """Build a dataclass from nested dicts, strictly.

    Raises:
        ConfigError: as ``load_config``.
    """
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: {prefix.rstrip('.') or 'the file'}: expected keys and values, got {content!r}")
    hints = typing.get_type_hints(schema)
    values = {}
    for key, value in content.items():
        if key not in hints:
            raise ConfigError(f"{where}: unknown key {prefix}{key}{_proposal(str(key), hints)}")
        values[key] = _typed(hints[key], value, where=where, key=prefix + str(key))
    return schema(**values)


def apply_overrides(config: T, overrides: Sequence[str]) -> T:
    """Return a copy of `config` with ``a.b=value`` overrides applied; values are read as YAML.

    Raises:
        ConfigError: as ``load_config``.

    >>> from samis.config import Experiment
    >>> apply_overrides(Experiment(), ["adapter.rank=16", "data.name=rsdds"]).adapter.rank
    16
    """
    content = to_dict(config)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"override {override!r}: expected key=value, such as adapter.rank=16")
        target: Any = content
        schema: Any = type(config)
        *sections, last = key.split(".")
        for depth, name in enumerate([*sections, last]):
            hints = typing.get_type_hints(schema) if dataclasses.is_dataclass(schema) else None
            if hints is not None and name not in hints:
                raise ConfigError(
                    f"override {override!r}: unknown key {'.'.join([*sections[:depth], name])}{_proposal(name, hints)}"
                )
            if name != last or depth < len(sections):
                schema = hints[name] if hints else None
                target = target.setdefault(name, {})
        try:
            target[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"override {override!r}: expected a YAML value after '='") from error
    return from_dict(type(config), content, where="override")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as nested plain dicts, in the order of the street."""
    return dataclasses.asdict(config)


def to_yaml(config: Any) -> str:
    """Return a config as YAML, as it is written into run folders."""
    text: str = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
    return text


def describe_keys(schema: type) -> str:
    """Return every key with its default and meaning, for ``--help``."""
    lines: list[str] = []
    _describe(schema, "", lines)
    return "\n".join(lines)


def _describe(schema: type, prefix: str, lines: list[str]) -> None:
    meanings = _meanings(schema.__doc__ or "")
    hints = typing.get_type_hints(schema)
    for f in dataclasses.fields(schema):
        kind = hints[f.name]
        default = f.default if f.default is not dataclasses.MISSING else f.default_factory()  # type: ignore[misc,operator]
        if dataclasses.is_dataclass(kind):
            lines.append("")
            _describe(typing.cast(type, kind), f"{prefix}{f.name}.", lines)
        else:
            shown = "null" if default is None else str(default)
            lines.append(f"  {prefix + f.name:28s} {shown:18s} {meanings.get(f.name, '')}".rstrip())


def _meanings(doc: str) -> dict[str, str]:
    """Read ``name: meaning.`` sentences out of a docstring's Attributes."""
    found: dict[str, str] = {}
    body = doc.partition("Attributes:")[2]
    name = ""
    for sentence in " ".join(body.split()).replace(". ", ".\n").split("\n"):
        head, colon, rest = sentence.partition(": ")
        if colon and all(part.isidentifier() for part in head.split(", ")):
            for name in head.split(", "):
                found[name] = rest.rstrip(".")
        elif name:
            found[name] += ". " + sentence.rstrip(".")
    return found


def _proposal(key: str, known: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"


def _typed(kind: Any, value: Any, *, where: str, key: str) -> Any:
    """Check one value against its annotation; whole numbers pass as floats, and so do YAML's texts such as 1e-3."""
    if dataclasses.is_dataclass(kind):
        return from_dict(typing.cast(type, kind), {} if value is None else value, where=where, prefix=f"{key}.")
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kind = next(a for a in arguments if a is not type(None))
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    expected = origin or kind
    if (expected is int and isinstance(value, bool)) or not isinstance(value, expected):
        name = getattr(expected, "__name__", str(expected))
        raise ConfigError(f"{where}: {key}: expected {name}, got {value!r}")
    if expected is list and arguments:
        return [_typed(arguments[0], item, where=where, key=f"{key}[{i}]") for i, item in enumerate(value)]
    return value
