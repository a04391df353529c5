"""Estimate how long trainings take on this machine, from one measured micro-batch of each: nothing is trained or written."""

from __future__ import annotations

import argparse

from samis.cli.parser import Parser
from samis.errors import ConfigError

EXAMPLES = (
    "samis how-long train steel_lora data.root=... training.epochs=50",
    "samis how-long train steel_lora data.root=... -- baseline unet_lite0 data.root=...",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    parser.intermixed = False  # what follows belongs to other commands
    parser.add_argument("commands", nargs=argparse.REMAINDER, help="training commands, with -- between them")


def split(words: list[str]) -> list[tuple[str, list[str]]]:
    """Return (config, overrides) of each command; it begins with the verb, or with the launch script.

    Raises:
        ConfigError: a command of another form.

    >>> split(["train", "a", "seed=1", "--", "train/baseline.py", "b.yaml", "--"])
    [('a', ['seed=1']), ('b.yaml', [])]
    """
    commands: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            commands.append([])
        else:
            commands[-1].append(word)
    given = [command for command in commands if command]
    for command in given:
        if len(command) < 2 or not (command[0] in ("train", "baseline") or command[0].endswith(".py")):
            raise ConfigError(
                f"{' '.join(command)!r}: expected train CONFIG key=value ..., or baseline CONFIG ...",
                code="E-CONFIG-OPTION",
            )
    return [(command[1], command[2:]) for command in given]


def run(arguments: argparse.Namespace) -> None:
    """Measure each training that is not finished, print the sum.

    Raises:
        ConfigError: no commands, or a mistake in one.
    """
    commands = split(arguments.commands)
    if not commands:
        raise ConfigError(
            "expected training commands, such as train steel_lora training.epochs=50, got none", code="E-CONFIG-OPTION"
        )
    from samis.config import Experiment, load_config
    from samis.core.shipped import find_config

    configs = [load_config(find_config(path), overrides, schema=Experiment) for path, overrides in commands]
    from samis.jobs.how_long import estimate  # heavy imports come after the cheap checks

    estimate(configs)
