"""Look this machine over before a run: versions, GPU, the torch/torchvision pair, space, weights, data sets, runs.

python evaluate/doctor.py            one line each, and what to do where something is missing
python evaluate/doctor.py --json     the same for machines

Exit code: 0 if SAM-IS can work here (notes aside), 2 if something is broken. For your images: evaluate/check_data.py.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import run
from samis.errors import Parser


def main() -> None:
    """Examine and print."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument(
        "--runs", type=Path, default=Path("checkpoints/runs"), help="folder of run folders (default: %(default)s)"
    )
    arguments = parser.parse_args()
    from samis.jobs.doctor import as_dict, examine_machine  # heavy imports come after the cheap checks

    facts = examine_machine(arguments.runs)
    if arguments.json:
        print(json.dumps(as_dict(facts)))
    else:
        for fact in facts:
            mark = {"ok": "  ", "note": "- ", "error": "! "}[fact.severity]
            print(f"{mark}{fact.name:26s} {fact.value}" + (f"\n{'':28s} -> {fact.advice}" if fact.advice else ""))
    sys.exit(2 if any(fact.severity == "error" for fact in facts) else 0)


if __name__ == "__main__":
    run(main)
