"""The only training loop: it knows a learner, a loader and a validation, and no name of any.

Accelerate brings devices, mixed precision and several processes; order, rate and resume are kept here, in plain sight.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from samis.config import OptimConfig, TrainingConfig, to_dict
from samis.contracts import Batch, Evaluation, Interrupted, PeerError, UserError
from samis.training import agree
from samis.training.batches import Loader, grouped, ids_of
from samis.training.memory import naming_the_knob
from samis.training.optim import build_optimizer, rate_factor, set_rate
from samis.training.plan import Plan, Position
from samis.training.precision import nan_advice, open_accelerator
from samis.training.progress import Progress
from samis.training.run_state import RunState
from samis.training.signals import StopRequest
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
        learner: a torch module that is a ``samis.contracts.Learner``.
        loader: this process's training batches.
        validate: scores the unwrapped learner on the validation split; called on every process.
        selection: which validation value keeps an epoch.
        optim: rates and schedule. training: the loop. folder: the run folder.
        accelerator: devices and processes; None makes one from ``training.mixed_precision``.
        gallery: draws pictures of the learner for TensorBoard, on the main process; or None.
        config: the whole resolved config, a dataclass: a resume must have the same; for TensorBoard's hyper-parameters.
        stop: hears of signals; share it with `validate` so that a validation ends early too.
        references: name -> metrics of rows that TensorBoard draws beside the validation.

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
    ) -> None:
        if training.on_nan not in ("stop", "skip"):
            raise UserError(f"training.on_nan: expected stop or skip, got {training.on_nan!r}")
        self.accelerator = accelerator or open_accelerator(training.mixed_precision)
        self.learner, self.loader, self.validate, self.selection = learner, loader, validate, selection
        self.optim, self.training, self.folder = optim, training, Path(folder)
        self.gallery, self.config, self.stop = gallery, config, stop or StopRequest()
        self.references = references
        self.learner.to(self.accelerator.device)
        self.optimizer = build_optimizer(learner.parameter_groups(), optim)
        self.model, self.optimizer = self.accelerator.prepare(learner, self.optimizer)
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
            plan=plan,
            watch=self.watch,
        )
        self.finished = False

    @property
    def position(self) -> Position:
        """Where the run stands."""
        return self.run.position

    def record(self) -> dict[str, Any]:
        """Return what provenance says of the training itself: the precision, each in turn where a resume changed it."""
        return {"mixed_precision": " then ".join(self.run.precisions)}

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
        if self.run.resumed is not None:
            start = f"resuming {self.folder} at epoch {self.position.epoch}, step {self.position.step}"
            self.accelerator.print("\n  ".join([start, *self.run.resumed]))
        validations = math.ceil(self.training.epochs / self.training.validate_every)
        self.run.begin(self.config, pictures=self.training.gallery * validations if self.gallery else 0)
        purge, folder = self.position.step or None, self.folder / "tensorboard"
        self.tracker = Tracker(folder, active=self._main, purge_step=purge, references=self.references)
        self.tracker.learner(self.learner, self.optimizer, step=self.position.step)
        progress = Progress(self.total_steps, done=self.position.step, active=self._main)
        try:
            while not self._over():
                self._epoch(progress)
                last = self.position.epoch + 1 == self.training.epochs
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

    def _epoch(self, progress: Progress) -> None:
        """Train from the position's batch to the end of its epoch; its validation is still to come."""
        self.model.train()
        self.loader.set_epoch(self.position.epoch, skip=self.position.batches)
        waited, asked = 0.0, time.monotonic()
        groups = grouped(self.loader, self.training.accumulation)
        while group := self._next(groups):
            waited += time.monotonic() - asked
            parts = self._step(group, progress)
            self.position.batches += len(group)
            self.position.step += 1
            progress.advance(parts)
            if self.position.step % self.training.log_every == 0:
                took = time.monotonic() - progress.window_start
                parts |= {
                    "wait_share": waited / max(took, 1e-9),
                    "images_per_s": progress.images_per_s(self._images(group)),
                }
                self.tracker.scalars(
                    {f"training/{name}": value for name, value in parts.items()}, step=self.position.step
                )
                self.tracker.machine(self.optimizer, self.accelerator.device, step=self.position.step)
                progress.log(self.position.epoch, parts)
                waited = 0.0
            asked = time.monotonic()

    def _next(self, groups: Iterator[list[Batch]]) -> list[Batch] | None:
        """Return the next step's batches, once all processes have theirs; save or stop first, if it is time to.

        Returns None at the epoch's end.
        """
        with agree.together(self.accelerator):
            group = next(groups, None)
        due = self.run.due(minutes=self.training.save_every_min, steps=self.training.save_every_steps)
        signal, somewhere_due = agree.largest(self.accelerator, self.stop(), due)
        if signal:
            raise Interrupted(signal)
        if somewhere_due:
            self.run.save()
        return group

    def _step(self, group: list[Batch], progress: Progress) -> dict[str, float]:
        """Make one optimizer step over the group's micro-batches; return the log's numbers."""
        warmup, final = self.optim.warmup_share, self.optim.final_lr_share
        factor = rate_factor(self.position.step, self.total_steps, warmup_share=warmup, final_share=final)
        set_rate(self.optimizer, factor)
        parts: dict[str, float] = {}
        bad: str | None = None
        for number, batch in enumerate(group):
            last = number == len(group) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():
                    loss = self.model(batch.to(self.accelerator.device))
                if bad is None and not torch.isfinite(loss.total):
                    where = f"batch {self.position.batches + number} of epoch {self.position.epoch}"
                    bad = f"the loss is {float(loss.total.detach())} on images {', '.join(batch.ids)} ({where})"
                self.accelerator.backward(loss.total / len(group))
            for name, value in {"loss": loss.total.detach(), **loss.parts}.items():
                parts[name] = parts.get(name, 0.0) + float(value) / len(group)
        norm = float(self.accelerator.clip_grad_norm_(self.model.parameters(), self.optim.clip_norm or math.inf))
        parts |= {"rate": self.optim.lr * factor, "gradient_norm": norm}
        if bad is None and not math.isfinite(norm) and self.accelerator.scaler is None:
            # A scaler's overflow is its daily business: it skips the step itself.
            bad = f"the gradient's norm is {norm} after images {ids_of(group)}"
        bad = agree.words(self.accelerator, bad)
        if bad:
            self._skip(bad, progress)
        else:
            self.position.skipped = 0
            self.optimizer.step()
            self._watch(norm, parts, group, progress)
        self.optimizer.zero_grad(set_to_none=True)
        return parts

    def _skip(self, bad: str, progress: Progress) -> None:
        """Leave the weights as they are and go on, or give up, as ``training.on_nan`` says; alike on every process."""
        self.position.skipped += 1
        told = f"step {self.position.step}: {bad}"
        advice = nan_advice(str(self.accelerator.mixed_precision))
        if self.training.on_nan == "stop":
            agree.fail(self.accelerator, f"{told}; {advice}, or skip such steps with training.on_nan=skip")
        if self.position.skipped >= self.training.nan_limit:
            agree.fail(self.accelerator, f"{told}; that was step {self.position.skipped} skipped in a row; {advice}")
        progress.say(f"{told}; skipped")
        self.optimizer.zero_grad(set_to_none=True)
        if self.accelerator.scaler is not None:
            self.optimizer.step()  # no gradient, no change; but the scaler must see that the step is over

    def _watch(self, norm: float, parts: dict[str, float], group: list[Batch], progress: Progress) -> None:
        """Add the norm's ratio to its running median to the log's numbers; tell one that leaps."""
        ratio = self.watch.ratio(norm)
        if ratio is None:
            return
        parts["gradient_norm_ratio"] = ratio
        if self.watch.spike(ratio):
            note = f"gradient norm {norm:.3g} is {ratio:.3g} times the running median, after images {ids_of(group)}"
            progress.say(f"step {self.position.step}: {note}")
            self.tracker.scalars({"training/gradient_norm_spike": ratio}, step=self.position.step)

    def _validation(self, progress: Progress) -> None:
        """Score, keep the best, log."""
        self.model.eval()
        evaluation = self.validate(self.learner)
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
        self.run.end_epoch(evaluation.metrics, best=gained)
        with agree.together(self.accelerator):
            self.tracker.evaluation(evaluation, step=self.position.step)
            if self._main and self.gallery:
                self.tracker.pictures(self.gallery(self.learner), step=self.position.step)
        progress.validation(self.position.epoch, self.selection.metric, evaluation.metrics, gained)
        if warning:
            progress.say(warning)
            self.tracker.text("warning", warning, step=self.position.step)

    def _over(self) -> bool:
        patience_over = 0 < self.training.patience <= self.position.waiting
        return self.position.epoch >= self.training.epochs or patience_over

    def _images(self, group: list[Batch]) -> int:
        return sum(len(batch) for batch in group) * int(self.accelerator.num_processes)
