"""Types of a config's fields: numbers with a range, texts with choices; pydantic checks them, ``--help`` and editors show them.

Choices are the names of a table, such as ``PROMPTERS``. They are read from the source of the table's module, since importing it
would import torch; a table that is imported already is read as it is then, so that names added at run time count.
"""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from samis.errors import near_name

PACKAGE = Path(__file__).resolve().parents[1]


def _number(value: Any) -> Any:
    """Return a whole number or a text such as 1e-3, which YAML 1.1 takes for a text, as a float."""
    if isinstance(value, int | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)
    return value


MAX_WHOLE = 2**31
"""Whole numbers are below it: torch and numpy count with at least so many bits."""
NUMBER = BeforeValidator(_number)
Text = Annotated[str, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True, lt=MAX_WHOLE)]
Number = Annotated[float, Field(strict=True), NUMBER]
Count = Annotated[int, Field(strict=True, ge=0, lt=MAX_WHOLE)]
Positive = Annotated[int, Field(strict=True, ge=1, lt=MAX_WHOLE)]
Share = Annotated[float, Field(strict=True, ge=0, le=1), NUMBER]
ShareBelowOne = Annotated[float, Field(strict=True, ge=0, lt=1), NUMBER]
Weight = Annotated[float, Field(strict=True, ge=0), NUMBER]
PositiveNumber = Annotated[float, Field(strict=True, gt=0), NUMBER]


class Section:
    """A part of a config: a dataclass whose fields are described by the docstrings below them; no unknown key, no NaN.

    Made in Python it is a plain dataclass, which may be changed and ``dataclasses.replace``d; ``samis.config.check`` validates it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


def _folder_name(value: str) -> str:
    if (
        value.startswith(".")
        or not value.strip()
        or not value.isprintable()
        or set(value) & set("/\\")
        or len(value) > 200
    ):
        raise PydanticCustomError(
            "folder_name", "a name of a folder, without / and \\ and with no dot at its beginning"
        )
    return value


FolderName = Annotated[Text, AfterValidator(_folder_name)]
"""Names a folder in a place that the user does not choose by it."""


class OneOf:
    """The names that a text may be.

    Args:
        *names: sources of names: a text is a name, a function returns several.
        later: a function that returns names which a later check refuses with a better message.
        **meant: other words for a name; a message proposes the name.
    """

    def __init__(
        self, *names: str | Callable[[], list[str]], later: Callable[[], list[str]] = list, **meant: str
    ) -> None:
        self.names, self.later, self.meant = names, later, meant

    def known(self) -> list[str]:
        """Return all names, in their order."""
        return [name for source in self.names for name in ([source] if isinstance(source, str) else source())]

    def check(self, value: str) -> str:
        """Return the value.

        Raises:
            PydanticCustomError: it is none of the names; the near one is proposed.
        """
        known = self.known()
        if value in known or value in self.later():
            return value
        near = self.meant.get(value.lower()) or near_name(value, known)
        proposal = f"; did you mean {near}?" if near else ""
        raise PydanticCustomError("one_of", "one of", {"known": ", ".join(known), "proposal": proposal})

    def _checked(self, value: Any, inner: Callable[[Any], Any]) -> Any:
        if isinstance(
            value, bool | int | float
        ):  # YAML reads true, or 5, as no text: the message names the choices, too
            self.check(str(value).lower())
        text = inner(value)
        return text if text is None else self.check(text)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"enum": self.known()}


def table(module: str, name: str) -> Callable[[], list[str]]:
    """Return a function that gives the names in ``module.name``, a dict, tuple or set, without importing the module."""

    def names() -> list[str]:
        loaded = getattr(sys.modules.get(module), name, None)
        return [str(each) for each in (_names_in_source(module, name) if loaded is None else loaded)]

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


@lru_cache
def adapter(schema: type) -> TypeAdapter[Any]:
    """Return pydantic's validator of a schema."""
    return TypeAdapter(schema)


class PlainDefaults(GenerateJsonSchema):
    """Writes defaults as they are, which are numbers, texts and lists; pydantic would build a validator for each of them."""

    def encode_default(self, dft: Any) -> Any:
        """Return the default."""
        return dft


@lru_cache
def properties(schema: type) -> dict[str, dict[str, Any]]:
    """Return each dotted key of a schema with its JSON schema: type, range, choices, meaning."""
    return flat(adapter(schema).json_schema(schema_generator=PlainDefaults))


def flat(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each dotted key of a JSON schema with its part of it."""
    sections = document.get("$defs", {})
    keys: dict[str, dict[str, Any]] = {}
    for key, content in document["properties"].items():
        section = sections.get(content.get("$ref", "").rpartition("/")[2])
        inner = section["properties"].items() if section else ()
        keys |= {f"{key}.{name}": each for name, each in inner} if section else {key: content}
    return keys


def limits(content: dict[str, Any]) -> str:
    """Return a number's range in words, "" without one; "at least" and "at most" allow the limit itself.

    ``MAX_WHOLE`` is left out: no one who reads the help needs it.

    >>> limits({"type": "number", "minimum": 0, "exclusiveMaximum": 1})
    'a number at least 0 and below 1'
    """
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    number = content["anyOf"][0] if "anyOf" in content else content  # the other one is null
    bounds = [f"{text} {number[word]:.12g}" for word, text in words.items() if number.get(word, MAX_WHOLE) != MAX_WHOLE]
    return f"a number {' and '.join(bounds)}" if bounds else ""


def keys_named(schema: type, name: str) -> list[str]:
    """Return the dotted keys of a schema whose last part is `name`.

    >>> from samis.config import Experiment
    >>> keys_named(Experiment, "epochs"), keys_named(Experiment, "batch_size")
    (['training.epochs'], ['training.batch_size', 'metrics.batch_size'])
    """
    return [key for key in properties(schema) if key.rpartition(".")[2] == name]
