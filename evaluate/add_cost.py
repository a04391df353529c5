"""Add the cost (parameters, multiply-adds, latency on this machine) to score rows that lack it; nothing is scored again.

python evaluate/add_cost.py evaluate/results                 every row below the folder
python evaluate/add_cost.py ROW.json --overwrite             measured again, as on another machine
python evaluate/add_cost.py evaluate/results --no-latency    counted alone
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import run
from samis.errors import ConfigError, Parser


def main() -> None:
    """Find the rows, measure each by its own config, write it back."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", type=Path, metavar="ROWS", help="score rows (*.json), or folders of them")
    parser.add_argument("--no-latency", action="store_true", help="count parameters and multiply-adds alone")
    parser.add_argument("--overwrite", action="store_true", help="also rows that have a cost")
    arguments = parser.parse_args()
    paths = [
        path for place in arguments.rows for path in (sorted(place.rglob("*.json")) if place.is_dir() else [place])
    ]
    if not paths:
        raise ConfigError(f"{arguments.rows[0]}: expected score rows (*.json) in here, found none; name another folder")
    from samis.jobs.cost import add_costs  # heavy imports come after the cheap checks

    try:
        for line in add_costs(paths, latency=not arguments.no_latency, overwrite=arguments.overwrite):
            print(line, flush=True)
    except ValueError as error:
        raise ConfigError(str(error)) from error


if __name__ == "__main__":
    run(main)
