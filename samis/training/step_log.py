"""The log of a run's steps, once their numbers have reached the host: loss, gradient norm, steps that are not finite."""

from __future__ import annotations

import math
import time

import torch
from accelerate import Accelerator
from torch import Tensor

from samis.config import TrainingConfig
from samis.core.progress import Progress
from samis.training import sync
from samis.training.precision import nan_advice
from samis.training.state.run_state import RunState
from samis.training.step_results import AsyncValues, PendingSteps, StepResult, merge_failures
from samis.training.tracking import Tracker


class StepLog:
    """Reads a run's steps, in their order, some of them late.

    Args:
        accelerator: the processes.
        training: what happens after a step that is not finite.
        run: whose state counts them.
        tracker: gets the numbers.
        progress: prints the lines.
    """

    def __init__(
        self, accelerator: Accelerator, training: TrainingConfig, run: RunState, tracker: Tracker, progress: Progress
    ) -> None:
        self.accelerator, self.training, self.run = accelerator, training, run
        self.tracker, self.progress, self.pending = tracker, progress, PendingSteps()
        self.loss = math.nan  # running mean
        self.begin_window()

    def begin_window(self) -> None:
        """Start to measure the speed, and the time that steps wait for data."""
        self._since, self._steps = time.monotonic(), 0

    def count_step(self, lr: float, *, left_s: float) -> None:
        """Count a step for the bar.

        Args:
            lr: learning rate of the step.
            left_s: seconds left of a limited time.
        """
        self._steps += 1
        shown = self.progress.shown
        self.progress.advance(
            about=f"loss {self.loss:.4f}, lr {lr:.1e}, {self.progress.left(left_s)} left" if shown else ""
        )

    def log(
        self,
        parts: dict[str, Tensor],
        *,
        lr: float,
        images: int,
        waited: float,
        left_s: float,
    ) -> None:
        """Write the numbers of the step that was just made; here, and not at other steps, the host waits for the device.

        Args:
            parts: of the loss.
            lr: learning rate.
            images: of the step, on all processes.
            waited: seconds for data since the last line.
            left_s: seconds left of a limited time.
        """
        state, took = self.run.state, max(1e-9, time.monotonic() - self._since)
        numbers = AsyncValues(torch.stack([value.detach().float() for value in parts.values()])).read()
        values = dict(zip(parts, numbers, strict=True)) | {"lr": lr} | self.read_all()
        values |= {"data_wait_percent": 100 * waited / took, "images_per_s": images * self._steps / took}
        self.tracker.scalars({f"training/{name}": value for name, value in values.items()}, step=state.step)
        self.tracker.machine(self.accelerator.device, step=state.step)
        self.progress.note(
            f"step {state.step}/{self.progress.bar.total} loss {self.loss:.4f} lr {lr:.2e} gradient norm "
            f"{values.get('gradient_norm', math.nan):.3g} data wait {values['data_wait_percent']:.0f}% "
            f"left {self.progress.left(left_s)}"
        )
        self.begin_window()

    def add(self, result: StepResult) -> None:
        """Add a step that was just enqueued."""
        self.pending.add(result)

    def read_ready(self) -> bool:
        """Read what has arrived, without waiting; return whether a step is not finite, which ``read_all`` must handle."""
        for result in self.pending.take_finite():
            self._record(result)
        return self.pending.oldest_failed()

    def read_all(self) -> dict[str, float]:
        """Read every step made so far, on all processes together; return the last one's numbers, for the log.

        Raises:
            UserError: a step is not finite, and the run ends for it.
        """
        waiting = self.pending.take_all()
        failures = {result.step: message for result in waiting if (message := result.non_finite())}
        if sync.largest(self.accelerator, bool(failures))[0]:
            failures = merge_failures(sync.gather(self.accelerator, failures))
        numbers: dict[str, float] = {}
        for result in waiting:
            if result.step in failures:
                numbers = {"gradient_norm": result.norm}
                self._skip(result.step, failures[result.step])
            else:
                numbers = self._record(result)
        return numbers

    def _skip(self, step: int, bad: str) -> None:
        """Skip a step that changed no weight, or end the run, by ``training.on_nan``; alike on every process."""
        state = self.run.state
        state.skipped += 1
        message = f"step {step}: {bad}"
        advice = nan_advice(str(self.accelerator.mixed_precision))
        if self.training.on_nan == "stop":
            sync.fail_all(
                self.accelerator,
                f"{message}; {advice}, or skip such steps with training.on_nan=skip",
                code="E-TRAIN-NAN",
            )
        if state.skipped >= self.training.nan_limit:
            sync.fail_all(
                self.accelerator,
                f"{message}; that was step {state.skipped} skipped in a row; {advice}",
                code="E-TRAIN-NAN",
            )
        self.progress.say(f"{message}; skipped")

    def _record(self, result: StepResult) -> dict[str, float]:
        """Count a step that was made; return its norm and the norm's ratio to its running median; print a ratio that is a spike."""
        self.run.state.skipped = 0
        norm, monitor = result.norm, self.run.monitor
        loss = sum(result.losses) / len(result.losses)
        if math.isfinite(loss):
            self.loss = loss if math.isnan(self.loss) else 0.95 * self.loss + 0.05 * loss
        ratio = monitor.ratio(norm)
        if ratio is None:
            return {"gradient_norm": norm}
        if monitor.spike(ratio):
            note = f"gradient norm {norm:.3g} is {ratio:.3g} times the running median, after images {result.images()}"
            self.progress.say(f"step {result.step}: {note}")
            self.tracker.scalars({"training/gradient_norm_spike": ratio}, step=result.step)
        return {"gradient_norm": norm, "gradient_norm_ratio": ratio}
