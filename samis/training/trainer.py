"""The only training loop: it gets a learner, a loader and a validation, and knows none of them by name.

Accelerate provides devices, mixed precision and several processes; order, learning rate and resuming are decided here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from samis.config import OptimConfig, TrainingConfig, to_dict
from samis.core.contracts import Batch, Evaluation
from samis.core.progress import Progress
from samis.errors import Interrupted, PeerError, UserError
from samis.training import sync
from samis.training.batches import Loader, grouped
from samis.training.compiling import CompiledSteps
from samis.training.ema import Ema
from samis.training.memory import explain_out_of_memory
from samis.training.optim import build_optimizer, lr_factor, set_lr
from samis.training.precision import open_accelerator
from samis.training.sharded import Shards
from samis.training.signals import StopRequest
from samis.training.state.run_log import RunLog
from samis.training.state.run_state import RunState
from samis.training.state.step_plan import StepPlan, TrainerState
from samis.training.step_log import StepLog
from samis.training.stepping import Stepper
from samis.training.time_limit import TimeLimit
from samis.training.tracking import Tracker
from samis.training.validation import Gallery, Selection, Validation

__all__ = ["Selection", "Trainer"]
from samis.training.monitor import TrainingMonitor


class Trainer:
    """Train a learner, validate it, keep the best epoch, and resume a run that was cut.

    Args:
        learner: a torch module that is a ``samis.core.contracts.Learner``.
        loader: this process's training batches.
        validate: scores the unwrapped learner on the validation split; called on every process.
        selection: which validation value keeps an epoch.
        optim: learning rate and schedule.
        training: the loop.
        folder: the run folder.
        accelerator: devices and processes; None makes one from ``training.mixed_precision``.
        gallery: draws pictures of the learner for TensorBoard, on the main process; or None.
        config: the whole resolved config, a dataclass: a resume must have the same; for TensorBoard's hyper-parameters.
        stop: receives signals; share it with `validate` so that a validation ends early too.
        references: name -> metrics of rows that TensorBoard draws together with the validation.
        data: ``data.train`` and ``data.val`` -> fingerprint of their images and masks, on the main process: a run does not go
            on with other data unless ``training.allow_changed_data`` is true.
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
        gallery: Gallery | None = None,
        config: Any = None,
        stop: StopRequest | None = None,
        references: dict[str, dict[str, float]] | None = None,
        data: dict[str, str] | None = None,
        log: RunLog | None = None,
    ) -> None:
        if training.on_nan not in ("stop", "skip"):
            raise UserError(f"training.on_nan: expected stop or skip, got {training.on_nan!r}", code="E-TRAIN-CHOICE")
        self.time_limit = TimeLimit(training.minutes)
        self.accelerator = accelerator or open_accelerator(training.mixed_precision)
        self.learner, self.loader, self.optim, self.training = learner, loader, optim, training
        self.folder, self.config, self.stop = Path(folder), config, stop or StopRequest()
        self.references, self.log = references, log or RunLog(active=self._main)
        self.learner.to(self.accelerator.device)
        self.shards = Shards(learner, self.accelerator)
        self.compiled = CompiledSteps(learner, training, sharded=self.shards.active)
        self.optimizer = build_optimizer(self.shards.trains.parameter_groups(), optim)
        self.model, self.optimizer = self.accelerator.prepare(self.shards.trains, self.optimizer)
        self.run = self._build_run(data)
        self.stepper = Stepper(
            learner, self.model, self.optimizer, self.accelerator, clip_norm=optim.clip_norm,
            halt=training.on_nan == "stop", before_clipping=self.shards.hook_gradients,
        )  # fmt: skip
        self.validation = Validation(
            validate, selection, gallery, learner=learner, accelerator=self.accelerator, run=self.run, lr=optim.lr
        )
        self.finished = False

    def _build_run(self, data: dict[str, str] | None) -> RunState:
        """Cut the epochs into steps and build the run's state on disk."""
        training, accelerator = self.training, self.accelerator
        plan = StepPlan(
            training.epochs, accelerator.num_processes, training.batch_size, training.accumulation, len(self.loader),
            str(accelerator.mixed_precision),
        )  # fmt: skip
        self.total_steps = plan.steps * training.epochs
        if self.total_steps == 0:
            raise UserError(
                "training: no step to make; the training split is empty or training.epochs is 0", code="E-TRAIN-NO-STEP"
            )
        return RunState(
            self.folder, accelerator=accelerator, learner=self.learner, optimizer=self.optimizer, shards=self.shards, plan=plan,
            monitor=TrainingMonitor(spike_ratio=training.spike_ratio, collapse_after=training.collapse_after),
            ema=Ema(self.learner, training.ema), time_limit=self.time_limit, data=data,
            allow_changed=training.allow_changed_data,
        )  # fmt: skip

    @property
    def state(self) -> TrainerState:
        """How far the run is."""
        return self.run.state

    def record(self) -> dict[str, Any]:
        """Return the provenance of the training: precision and data (all of them where a resume changed it), steps, time."""
        record: dict[str, Any] = {"mixed_precision": " then ".join(self.run.precisions), "steps": self.state.step}
        if self.run.seen:
            record["data_fingerprints"] = self.run.seen
        if self.time_limit.limit_s:
            record |= {"minutes": self.time_limit.minutes, "epochs": self.state.epoch}
        if self.training.compile != "no":
            record["compile"] = self.compiled.used
        if self.shards.active:
            record["shards"] = self.accelerator.num_processes
        return record

    def end(self) -> None:
        """Remove the resume point, unless ``training.keep_resume``; call it last, after the provenance was written."""
        if self._main and not self.training.keep_resume:
            self.run.end()

    @property
    def _main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def fit(self) -> Evaluation:
        """Train to the last epoch or to an early stop; return the best validation.

        Raises:
            UserError: the loss is not finite, another run holds the folder, it has another config, or the disk is too small.
            PeerError: another process failed.
            Interrupted: SIGTERM or SIGINT came; the run is saved.
        """
        try:
            memory = explain_out_of_memory(self.training, self.config, precision=str(self.accelerator.mixed_precision))
            with self.stop.listening(), self.run.opened(self.config), memory:
                return self._run()
        except RuntimeError as error:
            if self.accelerator.num_processes > 1 and sync.peer_gone(error):
                raise PeerError(
                    "another process of the run has died; its own message has the reason", code="E-TRAIN-PROCESS"
                ) from error
            raise

    def _run(self) -> Evaluation:
        """Train from the state on."""
        self.finished = self._over()
        if self.finished:
            self.accelerator.print(
                self.run.finished_note(self.validation.selection.metric, epochs=self.training.epochs)
            )
            return Evaluation(self.run.best())
        progress = Progress(
            self.total_steps, unit="steps", done=self.state.step, active=self._main, log_s=math.inf, record=self.log.write
        )  # fmt: skip
        if self.run.resumed is not None:
            start = f"resuming {self.folder} at epoch {self.state.epoch}, step {self.state.step}"
            progress.say("\n  ".join([start, *self.run.resumed]))
        validations = math.ceil(self.training.epochs / self.training.validate_every)
        self.run.begin(self.config, pictures=self.training.gallery * validations if self.validation.gallery else 0)
        self.log.open(self.folder)
        purge, folder = self.state.step or None, self.folder / "tensorboard"
        self.tracker = Tracker(
            folder, active=self._main, purge_step=purge, references=self.references, names=self.training.trackers,
            accelerator=self.accelerator, config=to_dict(self.config) if self.config else {},
        )  # fmt: skip
        self.tracker.learner(self.shards.trains, self.optimizer, step=self.state.step)
        self.steps = StepLog(self.accelerator, self.training, self.run, self.tracker, progress)
        try:
            while not self._over():
                self._epoch()
                last = self.state.epoch + 1 == self.training.epochs or self.time_limit.over
                if (self.state.epoch + 1) % self.training.validate_every == 0 or last:
                    self._validate(progress)
                else:
                    self.run.end_epoch()
            best = Evaluation(self.run.best())
            self.tracker.hyperparameters(to_dict(self.config) if self.config else {}, best.metrics)
            return best
        except Interrupted as stop:
            self.run.save()
            note = f"{self.folder}: stopped and saved at step {self.state.step} of {self.total_steps}"
            raise Interrupted(stop.signal, f"{note}; the same command goes on from there") from None
        finally:
            progress.close()
            with suppress(OSError):  # on a full disk; the error that ended the run is the one to report
                self.tracker.close()

    def _epoch(self) -> None:
        """Train from the position's batch to the end of its epoch, or of the time; its validation is still to come."""
        self.model.train()
        self.loader.set_epoch(self.state.epoch, skip=self.state.batches)
        waited, since = 0.0, time.monotonic()
        groups = grouped(self.loader, self.training.accumulation)
        while step := self._next(groups):
            waited += time.monotonic() - since
            group, images = step
            log = (self.state.step + 1) % self.training.log_every == 0
            lr = self._set_lr()
            with self.compiled:
                result, parts = self.stepper.step(group, images, self.state, collect=log)
            self.steps.add(result)
            if self.training.ema:
                self.shards.gather()
            self.run.ema.update()
            self.state.batches += len(group)
            self.state.step += 1
            self.steps.count_step(lr, left_s=self.time_limit.left_s)
            if log:
                self.steps.log(parts, lr=lr, images=images, waited=waited, left_s=self.time_limit.left_s)
                waited = 0.0
            since = time.monotonic()
        self.steps.read_all()

    def _next(self, groups: Iterator[list[Batch]]) -> tuple[list[Batch], int] | None:
        """Return the next step's batches, once all processes have theirs, and how many images they hold together.

        Saves or stops first, if it is time to. The processes exchange all their numbers in one all-reduce. Returns
        None at the epoch's end, or when the time is over.
        """
        failure, group = None, None
        try:
            group = next(groups, None)
        except Exception as error:
            failure = error
        bad = self.steps.read_ready()
        due = self.run.due(minutes=self.training.save_every_min, steps=self.training.save_every_steps)
        images = sum(batch.counted for batch in group or [])
        own = (failure is not None, bad, self.stop(), due, images, *self.time_limit.clock())
        table = sync.all_numbers(self.accelerator, *own)
        failed, any_bad, signal, any_due = (max(row[column] for row in table) for column in range(4))
        if failed:
            sync.sync_error(self.accelerator, failure)
        if any_bad or signal or any_due:
            self.steps.read_all()
        if signal:
            raise Interrupted(signal)
        if any_due:
            self.run.save()
        self.time_limit.update(*table[0][5:])
        return None if group is None or self.time_limit.over else (group, sum(row[4] for row in table))

    def _set_lr(self) -> float:
        """Set the learning rate of the coming step, which follows the steps or the time, whichever is further; return it."""
        warmup, final = self.optim.warmup_share, self.optim.final_lr_share
        place = max(self.state.step, self.time_limit.progress * self.total_steps)
        factor = lr_factor(place, self.total_steps, warmup_share=warmup, final_share=final)
        set_lr(self.optimizer, factor)
        return self.optim.lr * factor

    def _validate(self, progress: Progress) -> None:
        """Validate and end the epoch; keep time for the next validation."""
        start = self.time_limit.now()
        self.model.eval()
        self.shards.gather()
        self.validation.run_once(self.tracker, progress)
        self.time_limit.reserve(self.time_limit.now() - start)
        self.steps.begin_window()

    def _over(self) -> bool:
        patience_over = 0 < self.training.patience <= self.state.waiting
        time_over = 0 < (self.training.minutes or 0.0) <= self.state.over_minutes
        return self.run.ended or self.state.epoch >= self.training.epochs or patience_over or time_over
