"""The only training loop: it knows a learner, a loader and a validation, and no name of any.

Accelerate brings devices, mixed precision and several processes; order, rate and resume are kept here, in plain sight.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from samis.config import OptimConfig, TrainingConfig, to_dict
from samis.core.contracts import Batch, Evaluation
from samis.core.progress import Progress
from samis.errors import Interrupted, NotFiniteError, PeerError, UserError
from samis.training import agree
from samis.training.batches import Loader, grouped
from samis.training.compiling import CompiledSteps
from samis.training.ema import Ema
from samis.training.memory import naming_the_knob
from samis.training.optim import build_optimizer, rate_factor, set_rate
from samis.training.precision import open_accelerator
from samis.training.sharded import Shards
from samis.training.signals import StopRequest
from samis.training.state.plan import Plan, Position
from samis.training.state.run_log import RunLog
from samis.training.state.run_state import RunState
from samis.training.step_log import StepLog
from samis.training.stepping import Stepper
from samis.training.timebox import TimeBox
from samis.training.tracking import Tracker
from samis.training.watch import Watch


@dataclass(frozen=True)
class Selection:
    """How the best epoch is chosen: by which validation metric, and whether higher is better."""

    metric: str
    higher_is_better: bool = True

    def better(self, new: float, old: float | None) -> bool:
        """Return whether `new` beats `old`; a NaN never does."""
        if math.isnan(new):
            return False
        return old is None or (new > old if self.higher_is_better else new < old)


class Trainer:
    """Train a learner, validate it, keep the best, and go on where a cut left off.

    Args:
        learner: a torch module that is a ``samis.core.contracts.Learner``.
        loader: this process's training batches.
        validate: scores the unwrapped learner on the validation split; called on every process.
        selection: which validation value keeps an epoch.
        optim: rates and schedule. training: the loop. folder: the run folder.
        accelerator: devices and processes; None makes one from ``training.mixed_precision``.
        gallery: draws pictures of the learner for TensorBoard, on the main process; or None.
        config: the whole resolved config, a dataclass: a resume must have the same; for TensorBoard's hyper-parameters.
        stop: hears of signals; share it with `validate` so that a validation ends early too.
        references: name -> metrics of rows that TensorBoard draws beside the validation.
        data: ``data.train`` and ``data.val`` -> fingerprint of their images and masks, on the main process: a run does not go
            on with other data unless ``training.allow_changed_data`` says so.
        log: what the run folder's log begins with; None begins it empty.

    Attributes:
        finished: after ``fit``, whether the folder held a finished run, which was left as it is.
    """

    def __init__(
        self,
        learner: Any,
        loader: Loader,
        validate: Callable[[Any], Evaluation],
        *,
        selection: Selection,
        optim: OptimConfig,
        training: TrainingConfig,
        folder: Path,
        accelerator: Accelerator | None = None,
        gallery: Callable[[Any], list[tuple[str, np.ndarray]]] | None = None,
        config: Any = None,
        stop: StopRequest | None = None,
        references: dict[str, dict[str, float]] | None = None,
        data: dict[str, str] | None = None,
        log: RunLog | None = None,
    ) -> None:
        if training.on_nan not in ("stop", "skip"):
            raise UserError(f"training.on_nan: expected stop or skip, got {training.on_nan!r}")
        self.box = TimeBox(training.minutes)
        self.accelerator = accelerator or open_accelerator(training.mixed_precision)
        self.learner, self.loader, self.validate, self.selection = learner, loader, validate, selection
        self.optim, self.training, self.folder = optim, training, Path(folder)
        self.gallery, self.config, self.stop = gallery, config, stop or StopRequest()
        self.references, self.log = references, log or RunLog(active=self._main)
        self.learner.to(self.accelerator.device)
        self.shards = Shards(learner, self.accelerator)
        self.compiled = CompiledSteps(learner, training, sharded=self.shards.active)
        self.optimizer = build_optimizer(self.shards.trains.parameter_groups(), optim)
        self.model, self.optimizer = self.accelerator.prepare(self.shards.trains, self.optimizer)
        world, size = self.accelerator.num_processes, training.batch_size
        plan = Plan(
            training.epochs, world, size, training.accumulation, len(loader), str(self.accelerator.mixed_precision)
        )
        self.total_steps = plan.steps * training.epochs
        if self.total_steps == 0:
            raise UserError("training: no step to make; the training split is empty or training.epochs is 0")
        self.watch = Watch(spike_ratio=training.spike_ratio, collapse_after=training.collapse_after)
        self.run = RunState(
            self.folder,
            accelerator=self.accelerator,
            learner=learner,
            optimizer=self.optimizer,
            shards=self.shards,
            plan=plan,
            watch=self.watch,
            ema=Ema(learner, training.ema),
            box=self.box,
            data=data,
            allow_changed=training.allow_changed_data,
        )
        halt = training.on_nan == "stop"
        self.stepper = Stepper(
            learner,
            self.model,
            self.optimizer,
            self.accelerator,
            clip_norm=optim.clip_norm,
            halt=halt,
            before_clipping=self.shards.hook_gradients,
        )
        self.finished = False

    @property
    def position(self) -> Position:
        """Where the run stands."""
        return self.run.position

    def record(self) -> dict[str, Any]:
        """Return what provenance says of the training: precision and data (each in turn where a resume changed it), steps, time."""
        told: dict[str, Any] = {"mixed_precision": " then ".join(self.run.precisions), "steps": self.position.step}
        if self.run.seen:
            told["data_fingerprints"] = self.run.seen
        if self.box.limit_s:
            told |= {"minutes": self.box.minutes, "epochs": self.position.epoch}
        if self.training.compile != "no":
            told["compile"] = self.compiled.used
        if self.shards.active:
            told["shards"] = self.accelerator.num_processes
        return told

    def end(self) -> None:
        """Remove the resume point, unless it shall be kept; the last thing of a run, after its provenance."""
        if self._main and not self.training.keep_resume:
            self.run.end()

    @property
    def _main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def fit(self) -> Evaluation:
        """Train to the last epoch or to an early stop; return the best validation.

        Raises:
            UserError: the loss is no number, another run holds the folder or one of another config lies in it, the disk is
                too small. PeerError: another process failed.
            Interrupted: SIGTERM or SIGINT came; everything is saved.
        """
        try:
            knob = naming_the_knob(self.training, self.config, precision=str(self.accelerator.mixed_precision))
            with self.stop.listening(), self.run.opened(self.config), knob:
                return self._run()
        except RuntimeError as error:
            if self.accelerator.num_processes > 1 and agree.peer_gone(error):
                raise PeerError("another process of the run has died; its own message says why") from error
            raise

    def _run(self) -> Evaluation:
        """Train from the position on."""
        self.finished = self._over()
        if self.finished:
            self.accelerator.print(self.run.finished_note(self.selection.metric, epochs=self.training.epochs))
            return Evaluation(self.run.best())
        progress = Progress(
            self.total_steps, unit="steps", done=self.position.step, active=self._main, log_s=math.inf, record=self.log.write
        )  # fmt: skip
        if self.run.resumed is not None:
            start = f"resuming {self.folder} at epoch {self.position.epoch}, step {self.position.step}"
            progress.say("\n  ".join([start, *self.run.resumed]))
        validations = math.ceil(self.training.epochs / self.training.validate_every)
        self.run.begin(self.config, pictures=self.training.gallery * validations if self.gallery else 0)
        self.log.open(self.folder)
        purge, folder = self.position.step or None, self.folder / "tensorboard"
        self.tracker = Tracker(
            folder, active=self._main, purge_step=purge, references=self.references, names=self.training.trackers,
            accelerator=self.accelerator, config=to_dict(self.config) if self.config else {},
        )  # fmt: skip
        self.tracker.learner(self.learner, self.optimizer, step=self.position.step)
        self.steps = StepLog(self.accelerator, self.training, self.run, self.tracker, progress)
        try:
            while not self._over():
                self._epoch()
                last = self.position.epoch + 1 == self.training.epochs or self.box.over
                if (self.position.epoch + 1) % self.training.validate_every == 0 or last:
                    self._validation(progress)
                else:
                    self.run.end_epoch()
            best = Evaluation(self.run.best())
            self.tracker.hyperparameters(to_dict(self.config) if self.config else {}, best.metrics)
            return best
        except Interrupted as asked:
            self.run.save()
            note = f"{self.folder}: stopped and saved at step {self.position.step} of {self.total_steps}"
            raise Interrupted(asked.signal, f"{note}; the same command goes on from there") from None
        finally:
            progress.close()
            with suppress(OSError):  # on a full disk; what ended the run is told, not this
                self.tracker.close()

    def _epoch(self) -> None:
        """Train from the position's batch to the end of its epoch, or of the time; its validation is still to come."""
        self.model.train()
        self.loader.set_epoch(self.position.epoch, skip=self.position.batches)
        waited, asked = 0.0, time.monotonic()
        groups = grouped(self.loader, self.training.accumulation)
        while found := self._next(groups):
            waited += time.monotonic() - asked
            group, images = found
            log = (self.position.step + 1) % self.training.log_every == 0
            rate = self._set_rate()
            with self.compiled:
                reading, parts = self.stepper.step(group, images, self.position, collect=log)
            self.steps.add(reading)
            if self.training.ema:
                self.shards.gather()
            self.run.ema.update()
            self.position.batches += len(group)
            self.position.step += 1
            self.steps.made(rate, left_s=self.box.left_s)
            if log:
                self.steps.log(
                    parts, rate=rate, images=images, waited=waited, left_s=self.box.left_s, optimizer=self.optimizer
                )
                waited = 0.0
            asked = time.monotonic()
        self.steps.read_all()

    def _next(self, groups: Iterator[list[Batch]]) -> tuple[list[Batch], int] | None:
        """Return the next step's batches, once all processes have theirs, and how many images they hold together.

        Saves or stops first, if it is time to. What the processes must know of each other goes in one all-reduce. Returns
        None at the epoch's end, or when the time is over.
        """
        failure, group = None, None
        try:
            group = next(groups, None)
        except Exception as error:
            failure = error
        stuck = self.steps.read_ready()
        due = self.run.due(minutes=self.training.save_every_min, steps=self.training.save_every_steps)
        images = sum(batch.counted for batch in group or [])
        mine = (failure is not None, stuck, self.stop(), due, images, *self.box.clock())
        table = agree.share(self.accelerator, *mine)
        failed, somewhere_stuck, signal, somewhere_due = (max(row[column] for row in table) for column in range(4))
        if failed:
            agree.raise_first(self.accelerator, failure)
        if somewhere_stuck or signal or somewhere_due:
            self.steps.read_all()
        if signal:
            raise Interrupted(signal)
        if somewhere_due:
            self.run.save()
        self.box.hear(*table[0][5:])
        return None if group is None or self.box.over else (group, sum(row[4] for row in table))

    def _set_rate(self) -> float:
        """Set the learning rate of the coming step, which follows the steps or the time, whichever is further; return it."""
        warmup, final = self.optim.warmup_share, self.optim.final_lr_share
        place = max(self.position.step, self.box.progress * self.total_steps)
        factor = rate_factor(place, self.total_steps, warmup_share=warmup, final_share=final)
        set_rate(self.optimizer, factor)
        return self.optim.lr * factor

    def _validation(self, progress: Progress) -> None:
        """Score, keep the best, log."""
        began = self.box.now()
        self.model.eval()
        self.learner.eval()
        self.shards.gather()
        with self.run.ema.applied():
            evaluation = self._validated()
        if self.selection.metric not in evaluation.metrics:
            known = ", ".join(evaluation.metrics)
            told = f"keep_best: expected one of the validation's metrics ({known}), got {self.selection.metric}"
            agree.fail(self.accelerator, told)
        value = float(evaluation.metrics[self.selection.metric])
        gained = self.selection.better(value, self.position.best)
        self.position.waiting += 1
        if gained:
            self.position.best, self.position.best_epoch, self.position.waiting = value, self.position.epoch + 1, 0
        warning = self.watch.collapse(evaluation)
        if self.box.over:
            self.position.over_minutes = self.training.minutes or 0.0
        self.run.end_epoch(evaluation.metrics, best=gained)
        with agree.together(self.accelerator):
            self.tracker.evaluation(evaluation, step=self.position.step)
            if self._main and self.gallery:
                with self.run.ema.applied():
                    self.tracker.pictures(self.gallery(self.learner), step=self.position.step)
        self.box.measured(self.box.now() - began)
        others = [
            f"{name} {number:.4f}" for name, number in evaluation.metrics.items() if name != self.selection.metric
        ]
        best = " (best so far)" if gained else ""
        progress.say(
            f"validation after epoch {self.position.epoch}: {self.selection.metric} {value:.4f}{best} {' '.join(others[:5])}"
        )
        self.steps.begin_window()
        if warning:
            progress.say(warning)
            self.tracker.text("warning", warning, step=self.position.step)

    def _validated(self) -> Evaluation:
        try:
            return self.validate(self.learner)
        except NotFiniteError as error:  # finite losses, but weights so large that a map is not
            found = str(error).partition(";")[0]
            raise UserError(
                f"validation after step {self.position.step}: {found}; the weights have grown too large: lower optim.lr "
                f"({self.optim.lr:g}) and start anew"
            ) from error

    def _over(self) -> bool:
        patience_over = 0 < self.training.patience <= self.position.waiting
        time_over = 0 < (self.training.minutes or 0.0) <= self.position.over_minutes
        return self.run.ended or self.position.epoch >= self.training.epochs or patience_over or time_over
