"""YAML <-> dataclasses: safe reading, dotted overrides; pydantic validates, and each mistake becomes one line.

A config may come from a stranger: it makes no objects (tags), repeats nothing by reference (a few lines of aliases can mean
gigabytes), and is small.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from samis.config.faults import messages, plain, short
from samis.config.fields import adapter, properties
from samis.config.schema import Experiment
from samis.errors import ConfigError

T = TypeVar("T")
_UNREADABLE = "\x85\u2028\u2029\ufeff"  # PyYAML writes these line breaks as they are, and reads them as others
MAX_CHARACTERS = 1_000_000
"""Longest config read; the longest of ours has some 3,000 characters."""
MAX_DEPTH = 30
"""Most lists and mappings written in brackets within each other."""


class _PlainLoader(yaml.SafeLoader):
    """Reads texts, numbers, lists, mappings, true and false; no, off and dates stay texts, a key may occur once."""

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
        raise ConfigError(
            f"{where}: expected a config of at most {MAX_CHARACTERS:,} characters, got {len(text):,}",
            code="E-CONFIG-TOO-LARGE",
        )
    try:
        loader = _PlainLoader(text)
        return loader.get_single_data()
    except RecursionError:
        raise ConfigError(f"{where}: expected YAML, but it is nested too deep", code="E-CONFIG-TOO-LARGE") from None
    except (yaml.YAMLError, ValueError, LookupError, OverflowError) as error:  # PyYAML lets Python's own errors through
        raise ConfigError(f"{where}: expected YAML, but {_one_line(error)}", code="E-CONFIG-YAML") from error


def _one_line(error: Exception) -> str:
    """Return an error's text on one line, with escapes for characters that cannot be printed."""
    text = " ".join(str(error).split())
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def load_config(path: str | Path, overrides: Sequence[str] = (), *, schema: type[T] = Experiment) -> T:  # type: ignore[assignment]
    """Read a YAML file into a dataclass and apply dotted overrides such as ``adapter.rank=16``.

    Raises:
        ConfigError: no such file, no YAML, an unknown key (the near one is proposed), a value of the wrong type, or one
            outside its range or choices; one line for each mistake names the file (or the override) and the key.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: expected a config file, but {error.strerror}; see configs/ for examples", code="E-FILE-UNREADABLE"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected UTF-8 text, but {error.reason} at byte {error.start}", code="E-CONFIG-YAML"
        ) from error
    content = read_yaml(text, where=str(path))
    return _resolve(schema, {} if content is None else content, overrides, where=str(path))


def from_dict(schema: type[T], content: Any, *, where: str = "config") -> T:
    """Build a dataclass from nested dicts, strictly.

    Raises:
        ConfigError: as ``load_config``.
    """
    return _resolve(schema, content, (), where=where)


def check(config: Any, *, where: str = "config") -> None:
    """Validate a config that was made or changed in Python.

    Raises:
        ConfigError: one line for each value of a wrong type, or outside its range or choices.
    """
    from_dict(type(config), to_dict(config), where=where)


def apply_overrides(config: T, overrides: Sequence[str]) -> T:
    """Return a copy of `config` with ``a.b=value`` overrides applied; values are read as YAML.

    Raises:
        ConfigError: as ``load_config``.

    >>> from samis.config import Experiment
    >>> apply_overrides(Experiment(), ["adapter.rank=16", "data.name=rsdds"]).adapter.rank
    16
    """
    return _resolve(type(config), to_dict(config), overrides, where="config")


def _resolve(schema: Any, content: Any, overrides: Sequence[str], *, where: str) -> Any:
    """Merge overrides into nested dicts, which may be changed, and validate them."""
    if isinstance(content, dict):
        for override in overrides:
            _merge(content, override)
        sections = {key.partition(".")[0] for key in properties(schema) if "." in key}
        content = {key: {} if value is None and key in sections else value for key, value in content.items()}
    try:
        return adapter(schema).validate_python(content)
    except ValidationError as error:
        *others, (line, code) = messages(error, schema, where=where, overrides=overrides)
        lines = [f"{other} [{its_code}]" for other, its_code in others]
        raise ConfigError("\n".join([*lines, line]), code=code) from None


def _merge(content: dict[Any, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(
            f"override {short(override)}: expected key=value, such as adapter.rank=16", code="E-CONFIG-OVERRIDE"
        )
    *sections, last = key.split(".")
    for depth, name in enumerate(sections, 1):
        if content.get(name) is None:
            content[name] = {}
        content = content[name]
        if not isinstance(content, dict):
            held = plain(".".join(sections[:depth]))
            raise ConfigError(f"override {short(override)}: {held} holds one value, not keys", code="E-CONFIG-OVERRIDE")
    content[last] = read_yaml(text, where=f"override {short(override)}")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as nested plain dicts, in the order of the pipeline."""
    return dataclasses.asdict(config)


def to_yaml(config: Any) -> str:
    """Return a config as YAML, as it is written into run folders."""
    text: str = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
    if any(sign in text for sign in _UNREADABLE):
        text = yaml.safe_dump(to_dict(config), sort_keys=False)  # every letter beyond ASCII as an escape
    return text
