"""Search over config keys on the validation split: a grid, points at random, or points that Optuna chooses.

A key with several values, or a range low..high, is searched; one with a single value is set in every trial; commas inside
brackets do not separate. Each trial is a run folder below checkpoints/runs/<experiment>_sweep with its log next to it. Trials
whose validations stay below the median of the others end early. The same command goes on with a study that was cut, and
tries failed trials again. Several machines, or several GPUs, share a study when each runs the same command: with the same
folder, or with --storage and a database. Ends in a table, sweep.json and sweep.html next to the trials, and the command of
the winner. The test split is never read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from samis.cli.parser import Parser

EXAMPLES = (
    "samis sweep steel_lora data.root=... adapter.rank=4,8,16 optim.lr=1e-3,2e-3",
    "samis sweep steel_lora data.root=... adapter.rank=4,8,16 optim.lr=1e-4..1e-2 --tpe 20 training.epochs=4",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add("config", help="YAML file of the experiment, or the name of one that comes along")
    add("keys", nargs="+", metavar="key=value[,value...]", help="what to search and what to set")
    add("--random", type=int, default=0, metavar="N", help="draw N points (default: the whole grid)")
    add("--tpe", type=int, default=0, metavar="N", help="let Optuna's TPE choose N points, one after the other")
    add("--seed", type=int, default=0, metavar="N", help="of the choice of points (default: %(default)s)")
    add("--no-prune", action="store_true", help="train every trial to its end")
    add("--out", type=Path, metavar="DIR", help="folder of the trials (default: checkpoints/runs/<experiment>_sweep)")
    add(
        "--storage", default="", metavar="URL",
        help="database of the study, such as postgresql://user@host/name (default: study.db in the folder)",
    )  # fmt: skip
    add("--dry-run", action="store_true", help="list the trials and stop")
    add("--verbose", action="store_true", help="show Optuna's own log")
    add("--json", action="store_true", help="print the results as one JSON document at the end")


def run(arguments: argparse.Namespace) -> None:
    """Plan, run the trials that are left, print the best."""
    from samis.jobs.sweep import Search, sweep

    sweep(
        Search(
            arguments.config, arguments.keys, draws=arguments.random, tpe=arguments.tpe, seed=arguments.seed,
            prune=not arguments.no_prune, out=arguments.out, storage=arguments.storage, dry_run=arguments.dry_run,
            verbose=arguments.verbose, as_json=arguments.json,
        )
    )  # fmt: skip
