"""Add the cost (parameters, multiply-adds, latency on this machine) to score rows that lack it; nothing is scored again."""

from __future__ import annotations

import argparse
from pathlib import Path

from samis.cli.parser import Parser
from samis.errors import ConfigError, code_of, text_of

EXAMPLES = (
    "samis cost reports/rows                 every row below the folder",
    "samis cost ROW.json --overwrite         measured again, as on another machine",
    "samis cost reports/rows --no-latency    counted alone",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("rows", nargs="+", type=Path, metavar="ROWS", help="score rows (*.json), or folders of them")
    parser.add_argument("--no-latency", action="store_true", help="count parameters and multiply-adds alone")
    parser.add_argument("--overwrite", action="store_true", help="also rows that have a cost")


def run(arguments: argparse.Namespace) -> None:
    """Find the rows, measure each by its own config, write it back.

    Raises:
        ConfigError: no rows, or one that cannot be measured.
    """
    paths = [
        path for place in arguments.rows for path in (sorted(place.rglob("*.json")) if place.is_dir() else [place])
    ]
    if not paths:
        raise ConfigError(
            f"{arguments.rows[0]}: expected score rows (*.json) in here, found none; name another folder",
            code="E-ROW-MISSING",
        )
    from samis.jobs.cost import add_costs  # heavy imports come after the cheap checks

    try:
        for line in add_costs(paths, latency=not arguments.no_latency, overwrite=arguments.overwrite):
            print(line, flush=True)
    except ValueError as error:
        raise ConfigError(text_of(error), code=code_of(error, "E-ROW-FORMAT")) from error
