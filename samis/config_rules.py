"""Ranges and choices of a config's keys, declared beside their types and checked before anything is loaded.

A field says ``lr: Annotated[float, Range(above=0)]`` or ``kind: Annotated[str, OneOf(table("samis.prompts", "PROMPTERS"))]``.
Names of a table are read from the source of its module, since importing it would import torch; a table that is imported
already is read as it is then, so that names added at run time count.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
MAX_SHOWN = 80
"""Most characters of a value that a message repeats."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Limits of a number; ``low`` and ``high`` are allowed themselves, ``above`` and ``below`` are not."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def fault(self, value: float) -> str | None:
        """Return what was expected, or None where the value fits."""
        fits = (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        return None if fits else f"expected {self}"

    def __str__(self) -> str:
        words = [
            f"{word} {limit:g}"
            for word, limit in (
                ("at least", self.low),
                ("above", self.above),
                ("at most", self.high),
                ("below", self.below),
            )
            if limit is not None
        ]
        return f"a number {' and '.join(words)}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """Names that a text, or each text of a list, may be.

    Args:
        names: sources of names: a text is a name, a function returns several.
        later: a function that returns names which a later check refuses with a better message.
        meant: other words for a name, as (word, name); a message proposes the name.
    """

    names: tuple[str | Callable[[], list[str]], ...]
    later: Callable[[], list[str]] | None = None
    meant: tuple[tuple[str, str], ...] = ()

    def known(self) -> list[str]:
        """Return all names, in their order."""
        return [name for source in self.names for name in ([source] if isinstance(source, str) else source())]

    def fault(self, value: str) -> str | None:
        """Return what was expected, with the near name, or None where the value is one of the names."""
        known = self.known()
        if value in known or (self.later is not None and value in self.later()):
            return None
        return f"expected one of {', '.join(known)}"

    def near(self, value: str) -> str | None:
        """Return the name that was most likely meant."""
        return dict(self.meant).get(value.lower()) or near_name(value, self.known())


def one_of(*names: str | Callable[[], list[str]], later: Callable[[], list[str]] | None = None, **meant: str) -> OneOf:
    """Return the rule that a text, or each text of a list, is one of these names; see ``OneOf``."""
    return OneOf(names, later, tuple(meant.items()))


def table(module: str, name: str) -> Callable[[], list[str]]:
    """Return a function that gives the names in ``module.name``, a dict, tuple or set, without importing the module."""

    def names() -> list[str]:
        loaded = sys.modules.get(module)
        found = getattr(loaded, name, None)
        return [str(each) for each in found] if found is not None else list(_names_in_source(module, name))

    return names


@lru_cache
def _names_in_source(module: str, name: str) -> tuple[str, ...]:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            content: Any = getattr(node, "value", None)
            keys: list[Any] = content.keys if isinstance(content, ast.Dict) else content.elts
            return tuple(str(key.value) for key in keys)
    raise LookupError(f"{path} has no {name}")


def near_name(value: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to a mistyped one; case, dashes and spaces do not count.

    >>> near_name("vit-b", ["vit_h", "vit_b"]), near_name("zzz", ["vit_b"])
    ('vit_b', None)
    """
    names = {name.lower().replace("_", ""): name for name in known}
    plain = value[:MAX_SHOWN].lower().replace("_", "").replace("-", "").replace(" ", "")
    near = difflib.get_close_matches(plain, names, n=1, cutoff=0.6)
    return names[near[0]] if near else None


def broken_rules(config: Any, *, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, message) for each value of a config, nested ones included, that breaks its field's rule."""
    hints = typing.get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from broken_rules(value, prefix=f"{key}.")
        elif value is not None:
            for rule in rules(hints[field.name]):
                for place, item in enumerate(value) if isinstance(value, list) else [(None, value)]:
                    if message := rule.fault(item):
                        shown = repr(item)[:MAX_SHOWN]
                        near = rule.near(item) if isinstance(rule, OneOf) else None
                        proposal = f"; did you mean {near}?" if near else ""
                        yield key + ("" if place is None else f"[{place}]"), f"{message}, got {shown}{proposal}"


def rules(hint: Any) -> Iterator[Range | OneOf]:
    """Yield the rules of an annotation, also of ``list[Annotated[...]]`` and of ``Annotated[...] | None``."""
    if typing.get_origin(hint) is typing.Annotated:
        yield from (rule for rule in hint.__metadata__ if isinstance(rule, Range | OneOf))
    elif typing.get_origin(hint) in (list, typing.Union, types.UnionType):
        for argument in typing.get_args(hint):
            yield from rules(argument)
