"""Pydantic's errors as the project's own: where, key, what was expected, what the value is, which name is close."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from samis.config.fields import MAX_WHOLE, keys_named, limits, properties
from samis.errors import near_name

TYPES = {"string": "str", "int": "int", "float": "float", "bool": "bool", "list": "list", "dict": "dict"}


CODES = {"unexpected_keyword_argument": "E-CONFIG-KEY", "invalid_key": "E-CONFIG-KEY", "one_of": "E-CONFIG-CHOICE"}
"""Pydantic's kind of mistake -> code; those of ``RANGES`` are E-CONFIG-RANGE, all others E-CONFIG-TYPE."""
RANGES = ("greater_than", "less_than", "finite_number", "folder_name")
"""How the names of those kinds begin whose value has the right type and is not allowed."""


def messages(
    error: ValidationError, schema: type, *, where: str, overrides: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield one line and its code for each mistake, those of the command line first.

    Args:
        error: of pydantic.
        schema: the dataclass that was to be built.
        where: names the file.
        overrides: what was set on the command line; their mistakes name the override instead of the file.
    """
    given = [override.partition("=")[0].split(".") for override in overrides]
    lines: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for fault in error.errors(include_url=False):
        place = [part for part in fault["loc"] if isinstance(part, str)]
        overridden = any(all(a == b for a, b in zip(place, key, strict=False)) for key in given)
        lines[overridden].append((_message(fault, schema), code_of_kind(fault["type"])))
    yield from ((f"override: {line}", code) for line, code in lines[True])
    yield from ((f"{where}: {line}", code) for line, code in lines[False])


def code_of_kind(kind: str) -> str:
    """Return the code of one of pydantic's kinds of mistake.

    >>> code_of_kind("greater_than_equal"), code_of_kind("int_type")
    ('E-CONFIG-RANGE', 'E-CONFIG-TYPE')
    """
    return CODES.get(kind, "E-CONFIG-RANGE" if kind.startswith(RANGES) else "E-CONFIG-TYPE")


def _message(fault: Any, schema: type) -> str:
    kind, value, loc = fault["type"], fault["input"], fault["loc"]
    if kind in ("unexpected_keyword_argument", "invalid_key"):
        return _unknown_key(loc, schema)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
    if kind == "dataclass_type":
        return f"{key or 'the file'}: expected keys and values, got {short(value)}"
    if loc[-1] == "[key]":
        return f"{'.'.join(loc[:2])}: expected names as keys, got {short(value)}"
    if kind == "one_of":
        context = fault["ctx"]
        return f"{key}: expected one of {context['known']}, got {short(value)}{context['proposal']}"
    if kind == "finite_number":
        return f"{key}: expected a finite number, got {value}"
    if kind.startswith(("greater_than", "less_than")):
        too_big = fault["ctx"].get("lt") == MAX_WHOLE
        expected = f"a whole number below {MAX_WHOLE}" if too_big else limits(properties(schema)[key])
        return f"{key}: expected {expected}, got {short(value)}"
    expected, todo = TYPES.get(kind.removesuffix("_type"), fault["msg"]), ""
    if expected == "list" and isinstance(value, str) and value.isprintable():
        todo = f"; write [{', '.join(word.strip() for word in value[:80].split(','))}]"
    return f"{key}: expected {expected}, got {short(value)}{todo}"


def _unknown_key(loc: Sequence[Any], schema: type) -> str:
    *sections, name = loc
    prefix = "".join(f"{section}." for section in sections)
    known = [key.removeprefix(prefix).partition(".")[0] for key in properties(schema) if key.startswith(prefix)]
    near = near_name(str(name), known)
    meant = [near] if near else [] if sections else keys_named(schema, str(name))
    proposal = (
        f"did you mean {' or '.join(meant)}?" if meant else f"known are {', '.join(dict.fromkeys(known)) or 'none'}"
    )
    return f"unknown key {prefix}{plain(name)}; {proposal}"


def short(value: Any) -> str:
    """Return a value as one short line.

    >>> short("x" * 100)[-5:]
    "xxx'…"
    """
    text = repr(value)
    return text if len(text) <= 80 else text[:76] + text[-1:] + "…"


def plain(key: Any) -> str:
    """Return a key as it is, if that is one short line."""
    return key if isinstance(key, str) and key.isprintable() and len(key) <= 80 else short(key)
