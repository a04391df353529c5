"""Score folders of saved maps against a folder of masks; needs no torch."""

from __future__ import annotations

import argparse

from samis.cli.parser import Parser

EXAMPLES = (
    "samis metrics maps/ masks/ --protocol pysod --csv images.csv",
    "samis metrics method_a/ method_b/ method_c/ --truth masks/       each mask is prepared only once",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    from samis.metrics.__main__ import add_arguments

    add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Score and print."""
    from samis.metrics.__main__ import score_folders

    score_folders(arguments)
