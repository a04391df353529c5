"""Check this machine before a run: versions, GPU, the torch/torchvision pair, space, weights, data sets, runs.

Exit code: 0 if SAM-IS can work here (notes aside), 2 if something is broken. For your images: samis check.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from samis.cli.parser import Parser

EXAMPLES = (
    "samis doctor           one line each, and what to do where something is missing",
    "samis doctor --json    the same for machines",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    runs = Path("checkpoints/runs")
    parser.add_argument(
        "--runs", type=Path, default=runs, help="folder of run folders (default: %(default)s)", metavar="DIR"
    )


def run(arguments: argparse.Namespace) -> int:
    """Examine and print; return the exit code."""
    from samis.jobs.doctor import as_dict, examine_machine

    facts = examine_machine(arguments.runs)
    if arguments.json:
        print(json.dumps(as_dict(facts)))
    else:
        for fact in facts:
            mark = {"ok": "  ", "note": "- ", "error": "! "}[fact.severity]
            print(f"{mark}{fact.name:26s} {fact.value}" + (f"\n{'':28s} -> {fact.advice}" if fact.advice else ""))
    return 2 if any(fact.severity == "error" for fact in facts) else 0
