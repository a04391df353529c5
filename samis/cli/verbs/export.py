"""Write a tuned SAM for other tools, each file read back by its tool before it is kept.

Formats: peft, merged, onnx, transformers; a model card (README.md) is always written. Needs: pip install 'samis[export]'.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from samis.cli.parser import Parser

EXAMPLES = (
    "samis export steel                                                             all formats, into exports/steel",
    "samis export checkpoints/runs/steel_lora --out exports/mine --formats onnx merged",
    "samis export checkpoints/runs/steel_lora --dry-run                             what is possible, and why not",
)
PLACES = [Path("reports/rows"), Path("evaluate/results")]
"""Where score rows are looked for, for the card."""


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add("run", type=Path, help="run folder of a tuned SAM, or the name of a tuned adapter (steel, tile, rail)")
    add("--out", type=Path, help="folder for what is written (default: exports/<name of the run>)", metavar="DIR")
    formats = ["peft", "merged", "onnx", "transformers"]
    add("--formats", nargs="+", default=[], choices=formats, help="default: all possible")
    add("--rows", type=Path, nargs="+", default=PLACES, help="folders of score rows, for the card (default: reports/rows "
        "evaluate/results)", metavar="DIR")  # fmt: skip
    add("--dry-run", action="store_true", help="say what would be written, and stop")
    add("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> None:
    """Check the run, export it, say what was written."""
    from samis.config import Experiment, load_config
    from samis.core.shipped import find_run

    folder = find_run(arguments.run)
    config = load_config(folder / "config.yaml", schema=Experiment)
    from samis.jobs.export import FORMATS, export, reasons_against  # heavy imports come after the cheap checks

    if arguments.dry_run:
        against = reasons_against(config)
        for name in arguments.formats or FORMATS:
            print(f"{name}: {'not possible: ' + against[name] if name in against else FORMATS[name]}")
        return
    out = arguments.out or Path("exports") / folder.resolve().name
    written, left_out = export(folder, out, arguments.formats, rows=arguments.rows)
    if arguments.json:
        print(json.dumps({"written": [vars(each) for each in written], "left_out": left_out}))
        return
    for each in written:
        print(f"{each.format}: {each.path} (read back; masks within {each.difference:.1g})")
    print(f"card: {out / 'README.md'}")
    for name, why in left_out.items() if not arguments.formats else ():
        print(f"left out {name}: {why}")
