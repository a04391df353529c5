"""What train/sweep.py does: plan the trials, run those that are left, rank them; see ``samis.sweeping``."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
from pathlib import Path

from samis.config import Experiment, load_config
from samis.core.files import write_atomic
from samis.errors import ConfigError, Parser
from samis.sweeping import points


def arguments(description: str | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="YAML file of the experiment, see configs/")
    parser.add_argument("keys", nargs="+", metavar="key=value[,value...]", help="what to search and what to set")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="draw N points (default: the whole grid)")
    parser.add_argument(
        "--tpe", type=int, default=0, metavar="N", help="let Optuna's TPE choose N points, one after the other"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice of points (default: %(default)s)")
    parser.add_argument("--no-prune", action="store_true", help="train every trial to its end")
    parser.add_argument("--out", type=Path, help="folder of the trials (default: checkpoints/runs/<experiment>_sweep)")
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="database of the study, such as postgresql://user@host/name (default: study.db in the folder)",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the trials and stop")
    parser.add_argument("--verbose", action="store_true", help="show Optuna's own log")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON document at the end")
    return parser.parse_intermixed_args()


def sweep(description: str | None, *, scripts: Path) -> None:
    """Read the command line, plan, run what is not finished, rank.

    Args:
        description: for --help. scripts: folder of the training scripts.
    """
    given = arguments(description)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the running trial is stopped, too
    axes, fixed = points.parse_axes(given.keys)
    config: Experiment = load_config(given.config, fixed)
    out = given.out or Path(f"checkpoints/runs/{config.experiment}_sweep")
    planned = [] if given.tpe else points.plan(axes, draws=given.random, seed=given.seed)
    for point in planned or [points.ends(axes, 0), points.ends(axes, -1)]:  # every mistake comes before the first hour
        load_config(given.config, [*fixed, *points.overrides_of(point)])
    print(f"{len(planned) or given.tpe} trials, in {out}", file=sys.stderr, flush=True)
    if given.dry_run:
        print("\n".join(" ".join(points.overrides_of(point)) for point in planned))
        return
    _search(given, config, axes, [_script(config, scripts), given.config, *fixed], planned, out)


def _search(
    given: argparse.Namespace, config: Experiment, axes: points.Axes, words: list[str], planned: list[dict], out: Path
) -> None:
    """Run the trials that are left, then write and print what was found; `words` trains what is fixed."""
    from samis.metrics import directions_of  # heavy imports come after the cheap checks
    from samis.sweeping import page, study, trial

    def command(overrides: list[str], folder: Path) -> list[str]:
        names = [f"experiment={config.experiment}", f"training.out={folder}"]
        return [sys.executable, *words, *overrides, *names]

    higher = directions_of([config.keep_best]).get(config.keep_best, 1) > 0
    objective = trial.Objective(axes, command, out, config.keep_best, higher, prune=not given.no_prune)
    name, warmup = points.study_name(config, axes), config.training.epochs // 3
    with study.opened(
        out,
        name,
        higher_is_better=higher,
        url=given.storage or "",
        warmup=warmup,
        seed=given.seed,
        verbose=given.verbose,
    ) as found:
        study.work(
            found, objective, planned, count=given.tpe, say=lambda line: print(line, file=sys.stderr, flush=True)
        )
        ranked = page.ranked(found)
        if not ranked or ranked[0].state.name != "COMPLETE":
            raise ConfigError(
                f"{out}: expected a trial that trains, but all failed; the reasons are above, the logs there"
            )
        words = [*words, *ranked[0].user_attrs["overrides"]]
        best = shlex.join(["python", *words])
        write_atomic(out / "sweep.json", json.dumps(page.record(found), indent=1) + "\n")
        title = f"Sweep of {config.experiment} over {', '.join(axes)}"
        write_atomic(out / "sweep.html", page.render(found, config.keep_best, title=title, command=best))
        if given.json:
            print(json.dumps({"winner": words, "trials": page.record(found)}))
            return
        print(page.text_table(found, config.keep_best))
    print(f"page: {out / 'sweep.html'}")
    print(f"best on validation by {config.keep_best}; train it with:\n  {best}")


def _script(config: Experiment, folder: Path) -> str:
    """Return the script that trains this kind of segmenter."""
    path = folder / ("adapt.py" if config.segmenter.name == "sam" else "baseline.py")
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)
