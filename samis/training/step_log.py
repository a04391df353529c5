"""What a run hears of its steps once their numbers have reached the host: the loss, leaping norms, steps that were no number."""

from __future__ import annotations

import math
import time

import torch
from accelerate import Accelerator
from torch import Tensor

from samis.config import TrainingConfig
from samis.core.progress import Progress
from samis.training import agree
from samis.training.precision import nan_advice
from samis.training.readings import OnTheWay, Reading, Readings, merged
from samis.training.state.run_state import RunState
from samis.training.tracking import Tracker


class StepLog:
    """Reads a run's steps, in their order, some of them late.

    Args:
        accelerator: the processes. training: what a step that was no number does. run: whose position counts them.
        tracker, progress: who is told.
    """

    def __init__(
        self, accelerator: Accelerator, training: TrainingConfig, run: RunState, tracker: Tracker, progress: Progress
    ) -> None:
        self.accelerator, self.training, self.run = accelerator, training, run
        self.tracker, self.progress, self.readings = tracker, progress, Readings()
        self.loss = math.nan  # running mean
        self.begin_window()

    def begin_window(self) -> None:
        """Measure the pace, and the time that steps wait for data, from now on."""
        self._since, self._steps = time.monotonic(), 0

    def made(self, rate: float, *, left_s: float) -> None:
        """Count a step for the bar, made at a learning rate; `left_s` seconds of a limited time are left."""
        self._steps += 1
        shown = self.progress.shown
        self.progress.advance(
            about=f"loss {self.loss:.4f}, lr {rate:.1e}, {self.progress.left(left_s)} left" if shown else ""
        )

    def log(
        self,
        parts: dict[str, Tensor],
        *,
        rate: float,
        images: int,
        waited: float,
        left_s: float,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Write the numbers of the step that was just made; here, and not at other steps, the host waits for the device.

        Args:
            parts: of the loss. rate: learning rate. images: of the step, on all processes. waited: seconds for data since the
                last line. left_s: seconds left of a limited time. optimizer: whose groups' rates are written.
        """
        position, took = self.run.position, max(1e-9, time.monotonic() - self._since)
        numbers = OnTheWay(torch.stack([value.detach().float() for value in parts.values()])).read()
        told = dict(zip(parts, numbers, strict=True)) | {"rate": rate} | self.read_all()
        told |= {"wait_share": waited / took, "images_per_s": images * self._steps / took}
        self.tracker.scalars({f"training/{name}": value for name, value in told.items()}, step=position.step)
        self.tracker.machine(optimizer, self.accelerator.device, step=position.step)
        self.progress.note(
            f"epoch {position.epoch} step {position.step}/{self.progress.bar.total} loss {self.loss:.4f} lr {rate:.2e} "
            f"gradient norm {told.get('gradient_norm', math.nan):.3g} images/s {told['images_per_s']:.3g} "
            f"data wait {told['wait_share']:.0%} left {self.progress.left(left_s)}"
        )
        self.begin_window()

    def add(self, reading: Reading) -> None:
        """Take a step that was just enqueued."""
        self.readings.add(reading)

    def read_ready(self) -> bool:
        """Read what is there, waiting for nothing; return whether a step was no number, which ``read_all`` must settle."""
        for reading in self.readings.good():
            self._took(reading)
        return self.readings.stuck()

    def read_all(self) -> dict[str, float]:
        """Read every step made so far, on all processes together; return the last one's numbers, for the log.

        Raises:
            UserError: a step was no number, and the run ends of it.
        """
        waiting = self.readings.all()
        troubles = {reading.step: told for reading in waiting if (told := reading.trouble())}
        if agree.largest(self.accelerator, bool(troubles))[0]:
            troubles = merged(agree.gather(self.accelerator, troubles))
        numbers: dict[str, float] = {}
        for reading in waiting:
            if reading.step in troubles:
                numbers = {"gradient_norm": reading.norm}
                self._skip(reading.step, troubles[reading.step])
            else:
                numbers = self._took(reading)
        return numbers

    def _skip(self, step: int, bad: str) -> None:
        """Go on without a step that changed no weight, or give up, as ``training.on_nan`` says; alike on every process."""
        position = self.run.position
        position.skipped += 1
        told = f"step {step}: {bad}"
        advice = nan_advice(str(self.accelerator.mixed_precision))
        if self.training.on_nan == "stop":
            agree.fail(self.accelerator, f"{told}; {advice}, or skip such steps with training.on_nan=skip")
        if position.skipped >= self.training.nan_limit:
            agree.fail(self.accelerator, f"{told}; that was step {position.skipped} skipped in a row; {advice}")
        self.progress.say(f"{told}; skipped")

    def _took(self, reading: Reading) -> dict[str, float]:
        """Count a step that was made; return its norm and the norm's ratio to its running median; tell one that leaps."""
        self.run.position.skipped = 0
        norm, watch = reading.norm, self.run.watch
        loss = sum(reading.losses) / len(reading.losses)
        if math.isfinite(loss):
            self.loss = loss if math.isnan(self.loss) else 0.95 * self.loss + 0.05 * loss
        ratio = watch.ratio(norm)
        if ratio is None:
            return {"gradient_norm": norm}
        if watch.spike(ratio):
            note = f"gradient norm {norm:.3g} is {ratio:.3g} times the running median, after images {reading.images()}"
            self.progress.say(f"step {reading.step}: {note}")
            self.tracker.scalars({"training/gradient_norm_spike": ratio}, step=reading.step)
        return {"gradient_norm": norm, "gradient_norm_ratio": ratio}
