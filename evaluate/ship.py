"""Make a run folder an adapter that ships with the project: half precision, threshold, provenance, card.

python evaluate/ship.py checkpoints/runs/steel_lora --name steel              writes checkpoints/tuned/steel
python evaluate/ship.py steel --name steel                                    writes its card again, with new rows
python evaluate/ship.py RUN --name tile --hardware "one H200, 4 minutes" --code "commit 31d036d"

Then `python evaluate/predict.py steel photos/ --out predictions` and `samis.load_run("steel")` use it. The threshold is searched on
the validation split where the run stored none. Only adapters of the embedded SAM can ship, at most 5 MB each.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import run
from samis.core.shipped import checkpoints_folder, find_run
from samis.errors import Parser


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = found.add_argument
    add("run", help="run folder of a tuned SAM, or the name of a shipped adapter")
    add("--name", required=True, help="name to use it by: one word")
    add("--out", type=Path, help="folder of the adapters that ship (default: tuned/ beside the weights)", metavar="DIR")
    places = [Path("reports/rows"), Path("evaluate/results")]
    add("--rows", type=Path, nargs="+", default=places, help="folders of score rows, for the card (default: reports/rows "
        "evaluate/results)", metavar="DIR")  # fmt: skip
    add("--hardware", help="what it was tuned on, and how long that took; for the card")
    add("--code", help="which code tuned it, where the run's own record does not say; for the card")
    add("--limit", action="append", default=[], help="a sentence on what it cannot do, for the card; may be repeated")
    return found


def main() -> None:
    """Check the run, ship it, say where it is."""
    arguments = parser().parse_args()
    find_run(arguments.run)
    from samis.jobs.ship import ship  # heavy imports come after the cheap checks

    given = {"hardware": arguments.hardware, "code": arguments.code, "limits": "|".join(arguments.limit)}
    made = {key: value for key, value in given.items() if value}
    out = arguments.out or checkpoints_folder() / "tuned"
    print(ship(arguments.run, arguments.name, out, rows=arguments.rows, made=made))


if __name__ == "__main__":
    run(main)
