"""The parsers of all verbs: description and examples from the verb's module, keys from the config's schema, one-line errors."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from samis import errors
from samis.errors import ConfigError, did_you_mean


class Parser(errors.Parser):
    """An argument parser that raises one-line errors and lists the keys of the config that its verb takes."""

    intermixed = True
    schema: str | None = None
    """Name of the config's dataclass in ``samis.config``; None for verbs without a config."""

    def format_help(self) -> str:
        """Return the usual help, with the config's keys behind it."""
        text = super().format_help()
        if self.schema is None:
            return text
        from samis.config import describe_keys

        keys = describe_keys(schema_of(self.schema))
        return f"{text}\nkeys of the config, their defaults and meanings; override any with key=value:\n\n{keys}\n"

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse arguments; options and positional words may be mixed.

        Raises:
            ConfigError: an unknown option (with the override to write instead), a missing or a wrong argument.
        """
        if not self.intermixed:
            return self.parse_args(words)
        arguments, unknown = self.parse_known_intermixed_args(words)
        if unknown:
            raise ConfigError(self._unknown(unknown), code="E-CONFIG-OPTION")
        return arguments

    def _unknown(self, unknown: Sequence[str]) -> str:
        """Return the message for options that a verb does not have, such as ``--epochs 5``: the override to write instead."""
        option, _, value = unknown[0].partition("=")
        name = option.lstrip("-").replace("-", "_")
        options = [each for action in self._actions for each in action.option_strings if each.startswith("--")]
        if self.schema is None:
            word = "unknown option" if option.startswith("-") else "unexpected argument"
            return f"{option}: {word}{did_you_mean(option, options)}; see {self.prog} --help"
        from samis.config import keys_named

        schema = schema_of(self.schema)
        keys = [
            key for part in (name, name.rpartition(".")[2]) for key in keys_named(schema, part) if key.endswith(name)
        ]
        if not option.startswith("-") or not keys:
            near = did_you_mean(option, options)
            return f"{option}: unknown option{near}; --help lists options and keys, and a key is set by key=value"
        given = value or (unknown[1] if len(unknown) > 1 and not unknown[1].startswith("-") else "VALUE")
        return f"{option}: unknown option; write {' or '.join(f'{key}={given}' for key in dict.fromkeys(keys))}"


def schema_of(name: str) -> type:
    """Return the dataclass of a config by its name in ``samis.config``."""
    schema: type = getattr(import_module("samis.config"), name)
    return schema


def build(verb: str, *, prog: str | None = None, parser: Parser | None = None) -> Parser:
    """Return a verb's parser.

    Args:
        verb: key of ``samis.cli.VERBS``.
        prog: what usage lines call the program; None takes the process's name.
        parser: one to fill, such as a subparser; None makes one.
    """
    module = import_module(f"samis.cli.verbs.{verb.replace('-', '_')}")
    parser = parser or Parser(prog=prog)
    parser.description = module.__doc__
    parser.epilog = "examples:\n" + "\n".join(f"  {line}" for line in module.EXAMPLES)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    module.arguments(parser)
    return parser


def config_arguments(parser: Parser, schema: str = "Experiment", *, takes: str = "") -> None:
    """Add ``CONFIG [key=value ...] [--dry-run]``, for ``read_config``.

    Args:
        parser: of the verb.
        schema: name of the config's dataclass.
        takes: what else CONFIG may be.
    """
    parser.schema = schema
    parser.set_defaults(schema=schema)
    parser.add_argument("config", help="YAML file of the experiment, or the name of one that comes along" + takes)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="override a key, such as adapter.rank=16")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and stop before any work")


def read_config(arguments: argparse.Namespace) -> Any:
    """Read the config that the arguments name, with their overrides.

    Raises:
        ConfigError: no such config, or a mistake in it or in an override.
    """
    from samis.config import load_config
    from samis.core.shipped import find_config

    arguments.config = find_config(arguments.config)
    return load_config(arguments.config, arguments.overrides, schema=schema_of(arguments.schema))
