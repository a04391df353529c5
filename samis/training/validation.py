"""The validation after an epoch: score the averaged weights, keep the best epoch, log it, warn of collapsed predictions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from accelerate import Accelerator

from samis.core.contracts import Evaluation
from samis.core.progress import Progress
from samis.errors import NotFiniteError, UserError
from samis.training import sync
from samis.training.state.run_state import RunState
from samis.training.tracking import Tracker

Gallery = Callable[[Any], list[tuple[str, np.ndarray]]]
"""Draws named (H, W, 3) uint8 pictures of a learner."""


@dataclass(frozen=True)
class Selection:
    """How the best epoch is chosen: by which validation metric, and whether higher is better."""

    metric: str
    higher_is_better: bool = True

    def better(self, new: float, old: float | None) -> bool:
        """Return whether `new` is better than `old`; a NaN never is."""
        if math.isnan(new):
            return False
        return old is None or (new > old if self.higher_is_better else new < old)


class Validation:
    """Validates a run's learner; every process takes part.

    Args:
        score: scores the unwrapped learner on the validation split.
        selection: which of its values keeps an epoch.
        gallery: draws pictures for TensorBoard, on the main process; or None.
        learner: unwrapped, whole.
        accelerator: the processes.
        run: keeps the state and the weights.
        lr: learning rate, for a message.
    """

    def __init__(
        self,
        score: Callable[[Any], Evaluation],
        selection: Selection,
        gallery: Gallery | None,
        *,
        learner: Any,
        accelerator: Accelerator,
        run: RunState,
        lr: float,
    ) -> None:
        self.score, self.selection, self.gallery = score, selection, gallery
        self.learner, self.accelerator, self.run, self.lr = learner, accelerator, run, lr

    def run_once(self, tracker: Tracker, progress: Progress) -> None:
        """Validate the epoch that was just trained and end it.

        Raises:
            UserError: a map is not finite, or the validation has no such metric.
        """
        self.learner.eval()
        with self.run.ema.applied():
            evaluation = self._scored()
        metric, state = self.selection.metric, self.run.state
        if metric not in evaluation.metrics:
            known = ", ".join(evaluation.metrics)
            message = f"keep_best: expected one of the validation's metrics ({known}), got {metric}"
            sync.fail_all(self.accelerator, message, code="E-TRAIN-METRIC")
        value = float(evaluation.metrics[metric])
        best = self.selection.better(value, state.best)
        state.waiting += 1
        if best:
            state.best, state.best_epoch, state.waiting = value, state.epoch + 1, 0
        warning = self.run.monitor.collapse(evaluation)
        if self.run.time_limit.over:
            state.over_minutes = self.run.time_limit.minutes or 0.0
        self.run.end_epoch(evaluation.metrics, best=best)
        with sync.collective_guard(self.accelerator):
            tracker.evaluation(evaluation, step=state.step)
            if self.accelerator.is_main_process and self.gallery:
                with self.run.ema.applied():
                    tracker.pictures(self.gallery(self.learner), step=state.step)
        others = [f"{name} {number:.4f}" for name, number in evaluation.metrics.items() if name != metric]
        mark = " (best so far)" if best else ""
        progress.say(f"validation after epoch {state.epoch}: {metric} {value:.4f}{mark} {' '.join(others[:5])}")
        if warning:
            progress.say(warning)
            tracker.text("warning", warning, step=state.step)

    def _scored(self) -> Evaluation:
        try:
            return self.score(self.learner)
        except NotFiniteError as error:  # finite losses, but weights so large that a map is not
            reason = error.message.partition(";")[0]
            raise UserError(
                f"validation after step {self.run.state.step}: {reason}; the weights have grown too large: lower optim.lr "
                f"({self.lr:g}) and start again",
                code="E-TRAIN-VALIDATION-NAN",
            ) from error
