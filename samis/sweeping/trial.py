"""One trial: a command that trains a run folder, whose validations are reported to Optuna as they come."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samis.errors import ConfigError
from samis.sweeping.points import Axes, Range, folder_name, overrides_of

if TYPE_CHECKING:
    from optuna import Trial


class TrialFailed(Exception):
    """A trial's command failed; the message is its last line."""


@dataclass(frozen=True)
class Objective:
    """Trains one trial and returns its best validation.

    Attributes:
        axes: searched keys.
        command: makes the command line of a training from overrides and run folder.
        out: folder of the run folders.
        metric: validation value to report.
        higher_is_better: its direction.
        prune: whether to stop trials.
        poll_s: seconds between readings of a trial's validations.
    """

    axes: Axes
    command: Callable[[list[str], Path], list[str]]
    out: Path
    metric: str
    higher_is_better: bool
    prune: bool = True
    poll_s: float = 1.0

    def __call__(self, trial: Trial) -> float:
        """Train a trial; raise what Optuna records as pruned or failed."""
        point = {key: self._suggest(trial, key, values) for key, values in self.axes.items()}
        overrides = overrides_of(point)
        folder = self.out / folder_name(overrides)
        trial.set_user_attr("overrides", overrides)
        trial.set_user_attr("host", socket.gethostname())
        trial.set_user_attr("folder", str(folder))
        before = trial.study.get_trials(deepcopy=False)[: trial.number]
        if any(other.params == trial.params and other.state.name != "FAIL" for other in before):
            self._fail(trial, "another trial has this point already")
        try:
            return self._train(trial, self.command(overrides, folder), folder)
        except ConfigError as error:
            return self._fail(trial, str(error))

    def _suggest(self, trial: Trial, key: str, values: list[str] | Range) -> Any:
        if isinstance(values, list):
            return trial.suggest_categorical(key, values)
        if values.whole:
            return trial.suggest_int(key, int(values.low), int(values.high), log=values.log)
        return trial.suggest_float(key, values.low, values.high, log=values.log)

    def _train(self, trial: Trial, command: list[str], folder: Path) -> float:
        """Run the command in a process of its own, so that it leaves nothing in this one's memory, and report its validations."""
        import optuna

        folder.parent.mkdir(parents=True, exist_ok=True)
        log = folder.with_name(f"{folder.name}.log")
        reported = 0
        with open(log, "w", encoding="utf-8") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
            try:
                running = True
                while running:
                    with_end = process.poll() is not None
                    records = read_validations(folder)
                    for record in records[reported:]:
                        self._report(trial, record)
                    reported, running = len(records), not with_end
                    if running and self.prune and trial.should_prune():
                        raise optuna.TrialPruned
                    if running:
                        time.sleep(self.poll_s)
            finally:
                if process.poll() is None:
                    process.terminate()  # it saves a resume point and ends
                    process.wait()
        if process.returncode:
            lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            self._fail(trial, f"exit code {process.returncode}: {lines[-1] if lines else 'no message'} ({log})")
        return self._best(trial, records)

    def _report(self, trial: Trial, record: dict[str, Any]) -> None:
        """Report a validation to Optuna."""
        if self.metric not in record["metrics"]:
            raise ConfigError(
                f"keep_best: expected one of the validation's metrics ({', '.join(record['metrics'])}), got {self.metric}",
                code="E-CONFIG-KEEP-BEST",
            )
        if math.isfinite(record["metrics"][self.metric]):
            trial.report(record["metrics"][self.metric], record["epoch"])

    def _best(self, trial: Trial, records: list[dict[str, Any]]) -> float:
        finite = [record for record in records if math.isfinite(record["metrics"][self.metric])]
        if not finite:
            return self._fail(trial, "no validation was a number")
        pick = max if self.higher_is_better else min
        best = pick(finite, key=lambda record: record["metrics"][self.metric])
        trial.set_user_attr("epoch", best["epoch"])
        trial.set_user_attr("metrics", best["metrics"])
        return float(best["metrics"][self.metric])

    def _fail(self, trial: Trial, reason: str) -> Any:
        trial.set_user_attr("reason", reason)
        raise TrialFailed(reason)


def read_validations(folder: Path) -> list[dict[str, Any]]:
    """Return the validations of a run so far; none before the first.

    Raises:
        ConfigError: the record is damaged.
    """
    path = folder / "validation.jsonl"
    if not path.exists():
        return []
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [{"epoch": int(record["epoch"]), "metrics": dict(record["metrics"])} for record in records]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: expected the validations of a run, got trouble ({error}); delete the folder to try again",
            code="E-SWEEP-RECORD",
        ) from error
