"""YAML <-> dataclasses: strict reading, dotted overrides, typos answered with the near key, ``--help`` from docstrings.

Knows no experiment: ``samis.config`` holds the dataclasses. A config may come from a stranger: it makes no objects (tags),
repeats nothing by reference (a few lines of aliases can stand for gigabytes), and is small.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from samis.config_rules import Range, broken_rules, rules

T = TypeVar("T")
_UNREADABLE = "\x85\u2028\u2029\ufeff"  # PyYAML writes these line breaks as they are, and reads them as others
MAX_CHARACTERS = 1_000_000
"""Longest config read; the longest of ours has some 3,000 characters."""
MAX_DEPTH = 30
"""Most lists and mappings written in brackets within each other."""


class ConfigError(ValueError):
    """A mistake in a config file or an override, told in one line."""


class _PlainLoader(yaml.SafeLoader):
    """Reads texts, numbers, lists, mappings, true and false; no, off and dates stay texts, a key may stand once."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, f"found the alias *{event.anchor}; write it out", event.start_mark
            )
        return super().compose_node(parent, index)  # type: ignore[no-untyped-call]

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level >= MAX_DEPTH:  # PyYAML's time grows with the square of it
            raise yaml.scanner.ScannerError(None, None, f"found more than {MAX_DEPTH} open brackets", self.get_mark())
        super().fetch_flow_collection_start(token)  # type: ignore[no-untyped-call]

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.constructor.ConstructorError(None, None, f"found the key {key} twice", node.start_mark)
        return super().construct_mapping(node, deep)


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in ("timestamp", "bool")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# As YAML 1.2 has it: mixed_precision=no is a text, not a truth value.
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def read_yaml(text: str, *, where: str) -> Any:
    """Read plain YAML.

    Raises:
        ConfigError: no YAML, or YAML that makes objects, uses aliases, is too long or nested too deep; names `where`.

    >>> read_yaml("[1, a]", where="here")
    [1, 'a']
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{where}: expected a config of at most {MAX_CHARACTERS:,} characters, got {len(text):,}")
    try:
        loader = _PlainLoader(text)
        return loader.get_single_data()
    except RecursionError:
        raise ConfigError(f"{where}: expected YAML, but it is nested too deep") from None
    except (yaml.YAMLError, ValueError, LookupError, OverflowError) as error:  # PyYAML lets Python's own errors through
        raise ConfigError(f"{where}: expected YAML, but {' '.join(str(error).split())}") from error


def load_config(path: str | Path, overrides: Sequence[str] = (), *, schema: type[T]) -> T:
    """Read a YAML file into a dataclass and apply dotted overrides such as ``adapter.rank=16``.

    Raises:
        ConfigError: no such file, no YAML, an unknown key (the near one is proposed), a value of the wrong type, or one
            outside its range or choices; the message names the file and the key.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise ConfigError(f"{path}: expected a config file, but {error.strerror}; see configs/ for examples") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, but {error.reason} at byte {error.start}") from error
    content = read_yaml(text, where=str(path))
    config = from_dict(schema, {} if content is None else content, where=str(path))
    config = apply_overrides(config, overrides)
    check(config, where=str(path), overrides=overrides)
    return config


def check(config: Any, *, where: str = "config", overrides: Sequence[str] = ()) -> None:
    """Hold a config against the ranges and choices of its fields.

    Args:
        config: a dataclass whose types may be right and values wrong.
        where: names the file. overrides: what was set on the command line, which messages name instead of the file.

    Raises:
        ConfigError: one line for each value that breaks its rule: where, key, what was expected, what it is.
    """
    overridden = {override.partition("=")[0] for override in overrides}
    faults = [
        f"{'override' if key.partition('[')[0] in overridden else where}: {key}: {message}"
        for key, message in broken_rules(config)
    ]
    if faults:
        raise ConfigError("\n".join(faults))


def from_dict(schema: type[T], content: Any, *, where: str = "config", prefix: str = "") -> T:
    """Build a dataclass from nested dicts, strictly.

    Raises:
        ConfigError: as ``load_config``.
    """
    if not isinstance(content, dict):
        raise ConfigError(
            f"{where}: {prefix.rstrip('.') or 'the file'}: expected keys and values, got {_short(content)}"
        )
    hints = typing.get_type_hints(schema)
    values = {}
    for key, value in content.items():
        if key not in hints:
            raise ConfigError(f"{where}: unknown key {prefix}{_plain(key)}{_proposal(str(key), hints)}")
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
        shown = _short(override)
        if not equals:
            raise ConfigError(f"override {shown}: expected key=value, such as adapter.rank=16")
        target: Any = content
        schema: Any = type(config)
        *sections, last = key.split(".")
        for depth, name in enumerate([*sections, last]):
            if not isinstance(target, dict):
                raise ConfigError(f"override {shown}: {'.'.join(sections[:depth])} holds one value, not keys")
            hints = typing.get_type_hints(schema) if dataclasses.is_dataclass(schema) else None
            if hints is not None and name not in hints:
                unknown = _plain(".".join([*sections[:depth], name]))
                nested = [] if depth else keys_named(type(config), key)
                proposal = f"; did you mean {' or '.join(nested)}?" if nested else _proposal(name, hints)
                raise ConfigError(f"override {shown}: unknown key {unknown}{proposal}")
            if depth < len(sections):
                schema = hints[name] if hints else None
                target = target.setdefault(name, {})
        target[last] = read_yaml(text, where=f"override {shown}")
    return from_dict(type(config), content, where="override")


def keys_named(schema: Any, name: str, prefix: str = "") -> list[str]:
    """Return the dotted keys of a schema whose last part is `name`.

    >>> from samis.config import Experiment
    >>> keys_named(Experiment, "epochs"), keys_named(Experiment, "batch_size")
    (['training.epochs'], ['training.batch_size', 'metrics.batch_size'])
    """
    found = []
    for key, hint in typing.get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            found += keys_named(hint, name, f"{prefix}{key}.")
        elif key == name:
            found.append(prefix + key)
    return found


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as nested plain dicts, in the order of the street."""
    return dataclasses.asdict(config)


def to_yaml(config: Any) -> str:
    """Return a config as YAML, as it is written into run folders."""
    text: str = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
    if any(sign in text for sign in _UNREADABLE):
        text = yaml.safe_dump(to_dict(config), sort_keys=False)  # every letter beyond ASCII as an escape
    return text


def describe_keys(schema: type) -> str:
    """Return every key with its default and meaning, for ``--help``."""
    lines: list[str] = []
    _describe(schema, "", lines)
    return "\n".join(lines)


def _describe(schema: type, prefix: str, lines: list[str]) -> None:
    meanings = _meanings(schema.__doc__ or "")
    hints, ruled = typing.get_type_hints(schema), typing.get_type_hints(schema, include_extras=True)
    for f in dataclasses.fields(schema):
        kind = hints[f.name]
        default = f.default if f.default is not dataclasses.MISSING else f.default_factory()  # type: ignore[misc,operator]
        if dataclasses.is_dataclass(kind):
            lines.append("")
            _describe(typing.cast(type, kind), f"{prefix}{f.name}.", lines)
        else:
            shown = "null" if default is None else str(default)
            limits = "".join(f" [{rule}]" for rule in rules(ruled[f.name]) if isinstance(rule, Range))
            lines.append(f"  {prefix + f.name:28s} {shown:18s} {meanings.get(f.name, '')}{limits}".rstrip())


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


def _short(value: Any) -> str:
    """Return a value as one short line.

    >>> _short("x" * 100)[-5:]
    "xxx'…"
    """
    text = repr(value)
    return text if len(text) <= 80 else text[:76] + text[-1:] + "…"


def _plain(key: Any) -> str:
    """Return a key as it stands, if that is one short line."""
    return key if isinstance(key, str) and key.isprintable() and len(key) <= 80 else _short(key)


def _proposal(key: str, known: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(key[:80], list(known), n=1, cutoff=0.5)
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
        with contextlib.suppress(ValueError, OverflowError):
            value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: {key}: expected a finite number, got {value}")
    expected = origin or kind
    if (expected is int and isinstance(value, bool)) or not isinstance(value, expected):
        name = getattr(expected, "__name__", str(expected))
        todo = ""
        if expected is list and isinstance(value, str) and value.isprintable():
            todo = f"; write [{', '.join(word.strip() for word in value[:80].split(','))}]"
        raise ConfigError(f"{where}: {key}: expected {name}, got {_short(value)}{todo}")
    if expected is list and arguments:
        return [_typed(arguments[0], item, where=where, key=f"{key}[{i}]") for i, item in enumerate(value)]
    return value
