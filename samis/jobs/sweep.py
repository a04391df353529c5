"""What samis sweep does: plan the trials, run those that are left, rank them; see ``samis.sweeping``."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samis.config import Experiment, load_config
from samis.core.files import write_atomic
from samis.core.shipped import find_config
from samis.errors import ConfigError
from samis.jobs.launch import command as samis_command
from samis.jobs.launch import environment
from samis.sweeping import points


@dataclass(frozen=True)
class Search:
    """What to search, and how.

    Attributes:
        config: file of the experiment, or the name of one that comes along.
        keys: ``key=value[,value...]`` or ``key=low..high``, what to search and what to set.
        draws: points to draw; 0 takes the whole grid.
        tpe: points that Optuna's TPE chooses; 0 takes the grid's or the drawn ones.
        seed: of the choice of points.
        prune: end trials early whose validations stay below the median.
        out: folder of the trials; None takes ``checkpoints/runs/<experiment>_sweep``.
        storage: URL of the study's database; "" takes a file in the folder.
        dry_run: list the trials and stop.
        verbose: show Optuna's own log.
        as_json: print one JSON document at the end.
    """

    config: str
    keys: Sequence[str]
    draws: int = 0
    tpe: int = 0
    seed: int = 0
    prune: bool = True
    out: Path | None = None
    storage: str = ""
    dry_run: bool = False
    verbose: bool = False
    as_json: bool = False


def sweep(given: Search) -> None:
    """Plan, run what is not finished, rank.

    Raises:
        ConfigError: a mistake in the config or in a key, or all trials failed.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the running trial is stopped, too
    axes, fixed = points.parse_axes(given.keys)
    path = find_config(given.config)
    config: Experiment = load_config(path, fixed)
    out = given.out or Path(f"checkpoints/runs/{config.experiment}_sweep")
    planned = [] if given.tpe else points.plan(axes, draws=given.draws, seed=given.seed)
    for point in planned or [points.ends(axes, 0), points.ends(axes, -1)]:  # every mistake comes before the first hour
        load_config(path, [*fixed, *points.overrides_of(point)])
    print(f"{len(planned) or given.tpe} trials, in {out}", file=sys.stderr, flush=True)
    if given.dry_run:
        print("\n".join(" ".join(points.overrides_of(point)) for point in planned))
        return
    verb = "train" if config.segmenter.name == "sam" else "baseline"
    _search(given, config, axes, [verb, given.config, *fixed], planned, out)


def _search(
    given: Search, config: Experiment, axes: points.Axes, words: list[str], planned: list[dict], out: Path
) -> None:
    """Run the trials that are left, then write and print the result; `words` trains what is fixed."""
    from samis.metrics import directions_of  # heavy imports come after the cheap checks
    from samis.sweeping import page, trial
    from samis.sweeping import study as studies

    os.environ.update(environment())  # the trials use this installation of samis

    def command(overrides: list[str], folder: Path) -> list[str]:
        names = [f"experiment={config.experiment}", f"training.out={folder}"]
        return samis_command([*words, *overrides, *names])

    higher = directions_of([config.keep_best]).get(config.keep_best, 1) > 0
    objective = trial.Objective(axes, command, out, config.keep_best, higher, prune=given.prune)
    name, warmup = points.study_name(config, axes), config.training.epochs // 3
    with studies.opened(
        out,
        name,
        higher_is_better=higher,
        url=given.storage,
        warmup=warmup,
        seed=given.seed,
        verbose=given.verbose,
    ) as study:
        studies.work(
            study, objective, planned, count=given.tpe, say=lambda line: print(line, file=sys.stderr, flush=True)
        )
        ranked = page.ranked(study)
        if not ranked or ranked[0].state.name != "COMPLETE":
            raise ConfigError(
                f"{out}: expected a trial that trains, but all failed; the reasons are above, the logs there",
                code="E-SWEEP-FAILED",
            )
        words = [*words, *ranked[0].user_attrs["overrides"]]
        best = shlex.join(["samis", *words])
        write_atomic(out / "sweep.json", json.dumps(page.record(study), indent=1) + "\n")
        title = f"Sweep of {config.experiment} over {', '.join(axes)}"
        write_atomic(out / "sweep.html", page.render(study, config.keep_best, title=title, command=best))
        if given.as_json:
            print(json.dumps({"winner": words, "trials": page.record(study)}))
            return
        print(page.text_table(study, config.keep_best))
    print(f"page: {out / 'sweep.html'}")
    print(f"best on validation by {config.keep_best}; train it with:\n  {best}")
