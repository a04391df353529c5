"""Optuna's study of a search: in a database that several machines may share; the same command goes on with it."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from samis.errors import ConfigError
from samis.sweeping.trial import Objective, TrialFailed

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_HEARTBEAT_S, _GONE_AFTER_S = 10, 60


@contextmanager
def opened(
    folder: Path,
    name: str,
    *,
    higher_is_better: bool,
    url: str = "",
    warmup: int = 0,
    seed: int = 0,
    verbose: bool = False,
) -> Iterator[Study]:
    """Open a study, made if it is new.

    Args:
        folder: of the trials.
        name: of the study.
        higher_is_better: whether a larger value of the metric wins.
        url: its database, as SQLAlchemy reads it; "" makes study.db in the folder.
        warmup: epochs before which no trial is pruned.
        seed: of Optuna's sampler.
        verbose: whether Optuna logs.

    Raises:
        ConfigError: the database cannot be used.
    """
    import optuna
    import sqlalchemy.exc

    optuna.logging.set_verbosity(optuna.logging.INFO if verbose else optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    url = url or f"sqlite:///{(folder / 'study.db').resolve()}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the heartbeat
            with _alone(folder):
                storage = optuna.storages.RDBStorage(url, heartbeat_interval=_HEARTBEAT_S, grace_period=_GONE_AFTER_S)
                direction = (
                    optuna.study.StudyDirection.MAXIMIZE if higher_is_better else optuna.study.StudyDirection.MINIMIZE
                )
                study = optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
            before = len(study.get_trials(deepcopy=False))  # so that machines with one seed choose different points
            study.sampler = optuna.samplers.TPESampler(seed=seed + before, constant_liar=True)
            study.pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup)
            yield study
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, optuna.exceptions.StorageInternalError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        shown = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)  # a log may be read by others
        raise ConfigError(
            f"{shown}: expected a database for the study, but {reason}; see --storage in --help", code="E-SWEEP-STORAGE"
        ) from error


def queue(study: Study, points: Sequence[dict[str, Any]], *, failed: bool) -> None:
    """Queue the points that no trial has, or has only failed at; `failed` tries those again whose command failed, too."""
    trials = study.get_trials(deepcopy=False)
    held = [t for t in trials if t.state.name != "FAIL" or ("reason" in t.user_attrs and not failed)]
    taken = [t.system_attrs.get("fixed_params", t.params) for t in held]
    for point in points:
        if point not in taken:
            study.enqueue_trial(point)


def work(
    study: Study, objective: Objective, points: Sequence[dict[str, Any]], *, count: int, say: Callable[[str], None]
) -> None:
    """Run trials until all points are tried, on whatever machine, or until there are `count` trials, where that is not 0.

    A trial whose machine has been silent for a minute counts as failed, and its point is queued again.
    """
    import optuna

    failures, waiting = 0, False

    def ended(_: Study, trial: FrozenTrial) -> None:
        nonlocal failures
        failures += trial.state.name == "FAIL"
        say(_line(trial, objective.metric))

    first = True
    while True:
        with _alone(objective.out):
            optuna.storages.fail_stale_trials(study)
            queue(study, points, failed=first)
        first = False
        states = [t.state.name for t in study.get_trials(deepcopy=False)]
        if "WAITING" in states or (failures < count and sum(state != "FAIL" for state in states) < count):
            study.optimize(objective, n_trials=1, catch=(TrialFailed,), callbacks=[ended])
        elif "RUNNING" in states:
            if not waiting:
                say(f"waiting for {states.count('RUNNING')} trials of other processes")
            waiting = True
            time.sleep(objective.poll_s)
        else:
            return


def _alone(folder: Path) -> FileLock:
    """Return the lock under which processes that share a folder open the study and queue its points, one after the other."""
    return FileLock(folder / ".study.lock")


def _line(trial: FrozenTrial, metric: str) -> str:
    if trial.state.name == "COMPLETE":
        outcome = f"{metric} {trial.value:.4f} at epoch {trial.user_attrs['epoch']}"
    elif trial.state.name == "PRUNED":
        outcome = f"pruned after epoch {trial.last_step}"
    else:
        outcome = f"failed: {trial.user_attrs.get('reason', 'cut')}"
    return f"trial {trial.number + 1}: {' '.join(trial.user_attrs.get('overrides', []))}: {outcome}"
