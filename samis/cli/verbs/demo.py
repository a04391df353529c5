"""Run the main job in small, on drawn rails: zero-shot SAM, a U-Net, tuned SAM, the same evaluator, the report.

Some minutes on a CPU; needs no data. Writes checkpoints/runs/demo_lora, checkpoints/runs/demo_unet and reports/demo below the
current folder, and replaces what an earlier demo left there.
"""

from __future__ import annotations

import argparse

from samis.cli.parser import Parser

EXAMPLES = (
    "samis demo            zero-shot, tune, score, compare",
    "samis demo --quick    the same way in about a minute, whose numbers mean nothing",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--quick", action="store_true", help="8 pictures, one epoch: shows the way, not the result")


def run(arguments: argparse.Namespace) -> None:
    """Run the steps, say where things are and what to type next."""
    from samis.jobs.demo import demo

    demo(quick=arguments.quick)
