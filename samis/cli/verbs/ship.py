"""Turn a run folder into a tuned adapter that has a name: half precision, threshold, provenance, card.

Then `samis predict NAME photos/` and `samis.load_run("NAME")` use it. The threshold is searched on the validation split where the
run stored none. Only adapters of the embedded SAM can ship, at most 5 MB each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from samis.cli.parser import Parser

EXAMPLES = (
    "samis ship checkpoints/runs/steel_lora --name my_steel          writes checkpoints/tuned/my_steel",
    "samis ship my_steel --name my_steel                             writes its card again, with new rows",
    'samis ship RUN --name tile --hardware "one H200, 4 minutes" --code "commit 31d036d"',
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add("run", help="run folder of a tuned SAM, or the name of a tuned adapter")
    add("--name", required=True, help="name to use it by: one word")
    add(
        "--out",
        type=Path,
        help="folder of the tuned adapters (default: tuned/ in the folder of weights)",
        metavar="DIR",
    )
    places = [Path("reports/rows"), Path("evaluate/results")]
    add("--rows", type=Path, nargs="+", default=places, help="folders of score rows, for the card (default: reports/rows "
        "evaluate/results)", metavar="DIR")  # fmt: skip
    add("--hardware", help="what it was tuned on, and how long that took; for the card")
    add("--code", help="which code tuned it, where the run's own record does not say; for the card")
    add("--limit", action="append", default=[], help="a sentence on what it cannot do, for the card; may be repeated")


def run(arguments: argparse.Namespace) -> None:
    """Check the run, ship it, say where it is."""
    from samis.core.shipped import checkpoints_folder, find_run

    find_run(arguments.run)
    from samis.jobs.ship import ship  # heavy imports come after the cheap checks

    given = {"hardware": arguments.hardware, "code": arguments.code, "limits": "|".join(arguments.limit)}
    made = {key: value for key, value in given.items() if value}
    out = arguments.out or checkpoints_folder() / "tuned"
    print(ship(arguments.run, arguments.name, out, rows=arguments.rows, made=made))
