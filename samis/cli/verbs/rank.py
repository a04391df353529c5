"""Order unlabelled photos by how much their labels would teach a run: uncertain ones, different ones, or both."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from samis.cli.parser import Parser

EXAMPLES = (
    "samis rank photos/ --run checkpoints/runs/own_lora                 photos by number, in ranking.csv",
    "samis rank 'line_3/**/*.png' --run steel --rule uncertainty --out next.csv",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add("photos", nargs="+", help="files, folders or quoted globs")
    add("--run", required=True, dest="model", help="run folder, name of a tuned adapter, or config of a zero-shot SAM")
    add("--rule", default="both", help="uncertainty, diversity or both (default: %(default)s)")
    add("--out", type=Path, default=Path("ranking.csv"), help="CSV file (default: %(default)s)", metavar="FILE")
    add("--batch-size", type=int, default=8, help="photos or tiles at once (default: %(default)s)", metavar="N")


def run(arguments: argparse.Namespace) -> int:
    """Rank the photos, write the CSV; return the exit code, 1 if some could not be read."""
    from samis.core.shipped import find_model

    find_model(arguments.model)  # a typo is reported at once
    from samis.jobs.rank import rank_photos, write_ranking
    from samis.prediction import Options

    lines, failed = rank_photos(
        arguments.model, arguments.photos, rule=arguments.rule, options=Options(batch_size=arguments.batch_size)
    )
    write_ranking(lines, arguments.out)
    print(f"{len(lines)} photos by {arguments.rule}: {arguments.out}")
    for line in lines[:5]:
        print(f"{line['rank']:4d}  {line['file']}  uncertainty {line['uncertainty']:.3f}")
    for reason in failed.values():
        print(f"not ranked: {reason}", file=sys.stderr)
    return 1 if failed else 0
