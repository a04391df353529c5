"""Write a tuned SAM for other tools, each file read back by its tool before it is kept.

python evaluate/export.py checkpoints/runs/steel_lora --out exports/steel                       all that is possible
python evaluate/export.py checkpoints/runs/steel_lora --out exports/steel --formats onnx merged
python evaluate/export.py checkpoints/runs/steel_lora --out exports/steel --dry-run             what is possible, and why not
python evaluate/export.py steel --out exports/steel                                             an adapter that ships

Formats: peft, merged, onnx, transformers; a model card (README.md) is always written. Needs: pip install 'samis[export]'.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import run
from samis.config import Experiment, load_config
from samis.core.shipped import find_run
from samis.errors import Parser


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = found.add_argument
    add("run", type=Path, help="run folder of a tuned SAM, or the name of a shipped adapter")
    add("--out", type=Path, required=True, help="folder for what is written", metavar="DIR")
    add(
        "--formats",
        nargs="+",
        default=[],
        choices=["peft", "merged", "onnx", "transformers"],
        help="default: all possible",
    )
    places = [Path("reports/rows"), Path("evaluate/results")]
    add("--rows", type=Path, nargs="+", default=places, help="folders of score rows, for the card (default: reports/rows "
        "evaluate/results)", metavar="DIR")  # fmt: skip
    add("--dry-run", action="store_true", help="say what would be written, and stop")
    add("--json", action="store_true", help="print one JSON object instead of text")
    return found


def main() -> None:
    """Check the run, export it, say what was written."""
    arguments = parser().parse_args()
    arguments.run = find_run(arguments.run)
    config = load_config(arguments.run / "config.yaml", schema=Experiment)
    from samis.jobs.export import FORMATS, export, reasons_against

    if arguments.dry_run:
        against = reasons_against(config)
        for name in arguments.formats or FORMATS:
            print(f"{name}: {'not possible: ' + against[name] if name in against else FORMATS[name]}")
        return
    written, left_out = export(arguments.run, arguments.out, arguments.formats, rows=arguments.rows)
    if arguments.json:
        print(json.dumps({"written": [vars(each) for each in written], "left_out": left_out}))
        return
    for each in written:
        print(f"{each.format}: {each.path} (read back; masks within {each.difference:.1g})")
    print(f"card: {arguments.out / 'README.md'}")
    for name, why in left_out.items() if not arguments.formats else ():
        print(f"left out {name}: {why}")


if __name__ == "__main__":
    run(main)
