"""Calibrate a run on labelled images that it has not seen, so that samis predict can keep a promise such as --miss-at-most 0.1.

Training does this by itself where data.calibration_share sets validation images aside. This verb is for runs without, for the
tuned adapters that come along, and for new images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from samis.cli.parser import Parser

EXAMPLES = (
    "samis calibrate checkpoints/runs/own_lora                                     the images that training set aside",
    "samis calibrate checkpoints/runs/own_lora data.val=test                       its test split",
    "samis calibrate steel data.name=folder data.root=labelled data.val=all --out steel.json    a tuned adapter, your photos",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add("run", type=Path, help="run folder, or the name of a tuned adapter (steel, tile, rail)")
    add("overrides", nargs="*", metavar="data.key=value", help="other labelled images; their split is data.val")
    add("--out", type=Path, help="file to write (default: calibration.json in the run folder)", metavar="FILE")
    add("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> None:
    """Check the overrides, calibrate, print what can be promised."""
    from samis.config import Experiment, load_config
    from samis.core.shipped import CONFIG, find_run

    load_config(find_run(arguments.run) / CONFIG, arguments.overrides, schema=Experiment)  # a typo is reported at once
    from samis.jobs.calibrate import calibrate

    calibrate(arguments.run, arguments.overrides, out=arguments.out, as_json=arguments.json)
