"""The only training loop: it knows a learner, a loader and a validation, and no name of any.

Accelerate brings devices, mixed precision and several processes; order, rate and resume are kept here, in plain sight.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator

from samis.config import OptimConfig, TrainingConfig
from samis.contracts import Batch, Evaluation, UserError
from samis.training import checkpoint
from samis.training.optim import build_optimizer, rate_factor, set_rate
from samis.training.progress import Progress
from samis.training.tracking import Tracker


class Loader(Protocol):
    """What the trainer draws batches from: the same batches for the same seed and epoch, this process's share of them."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...

    def set_epoch(self, epoch: int, *, skip: int = 0) -> None: ...


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
        config: the whole resolved config, for TensorBoard's hyper-parameters.
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
        config: dict[str, Any] | None = None,
    ) -> None:
        self.accelerator = accelerator or Accelerator(mixed_precision=training.mixed_precision)
        self.learner, self.loader, self.validate, self.selection = learner, loader, validate, selection
        self.optim, self.training, self.folder = optim, training, Path(folder)
        self.gallery, self.config = gallery, config or {}
        self.learner.to(self.accelerator.device)
        self.optimizer = build_optimizer(learner.parameter_groups(), optim)
        self.model, self.optimizer = self.accelerator.prepare(learner, self.optimizer)
        self.position = checkpoint.Position()
        self.steps_per_epoch = math.ceil(len(loader) / training.accumulation)
        self.total_steps = self.steps_per_epoch * training.epochs
        if self.total_steps == 0:
            raise UserError("training: no step to make; the training split is empty or training.epochs is 0")

    @property
    def _main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def fit(self) -> Evaluation:
        """Train to the last epoch or to an early stop; return the best validation.

        Raises:
            UserError: the loss is no number, or the run folder holds a run of another config.
        """
        self._resume()
        self.tracker = Tracker(self.folder / "tensorboard", active=self._main, purge_step=self.position.step or None)
        progress = Progress(self.total_steps, done=self.position.step, active=self._main)
        self._last_save = time.monotonic()
        while self.position.epoch < self.training.epochs and not self._patience_over():
            self._epoch(progress)
            last = self.position.epoch == self.training.epochs
            if self.position.epoch % self.training.validate_every == 0 or last:
                self._validation(progress)
            self._save_resume()
        progress.close()
        best = self._best()
        self.tracker.hyperparameters(self.config, best.metrics)
        self.tracker.close()
        return best

    def _epoch(self, progress: Progress) -> None:
        """Train from the position's batch to the end of its epoch."""
        self.model.train()
        self.loader.set_epoch(self.position.epoch, skip=self.position.batches)
        waited, asked = 0.0, time.monotonic()
        for group in _grouped(self.loader, self.training.accumulation):
            waited += time.monotonic() - asked
            parts = self._step(group)
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
                progress.log(self.position.epoch, parts)
                waited = 0.0
            if time.monotonic() - self._last_save > 60 * self.training.save_every_min:
                self._save_resume()
            asked = time.monotonic()
        self.position.epoch += 1
        self.position.batches = 0

    def _step(self, group: list[Batch]) -> dict[str, float]:
        """Make one optimizer step over the group's micro-batches; return the log's numbers."""
        factor = rate_factor(
            self.position.step,
            self.total_steps,
            warmup_share=self.optim.warmup_share,
            final_share=self.optim.final_lr_share,
        )
        set_rate(self.optimizer, factor)
        parts: dict[str, float] = {}
        for number, batch in enumerate(group):
            last = number == len(group) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():
                    loss = self.model(batch.to(self.accelerator.device))
                if not torch.isfinite(loss.total):
                    raise UserError(
                        f"step {self.position.step}: the loss is {float(loss.total.detach())} on images {', '.join(batch.ids)}; "
                        "lower optim.lr, or set training.mixed_precision to bf16 or no"
                    )
                self.accelerator.backward(loss.total / len(group))
            for name, value in {"loss": loss.total.detach(), **loss.parts}.items():
                parts[name] = parts.get(name, 0.0) + float(value) / len(group)
        if self.optim.clip_norm:
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.optim.clip_norm)
            parts["gradient_norm"] = float(norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return parts | {"rate": self.optim.lr * factor}

    def _validation(self, progress: Progress) -> None:
        """Score, log, keep the best, write ``last`` and ``best``."""
        self.model.eval()
        evaluation = self.validate(self.learner)
        if self.selection.metric not in evaluation.metrics:
            known = ", ".join(evaluation.metrics)
            raise UserError(
                f"keep_best: expected one of the validation's metrics ({known}), got {self.selection.metric}"
            )
        value = evaluation.metrics[self.selection.metric]
        gained = self.selection.better(value, self.position.best)
        if gained:
            self.position.best, self.position.best_epoch, self.position.waiting = value, self.position.epoch, 0
        else:
            self.position.waiting += 1
        if not self._main:
            return
        self._write("last")
        if gained:
            self._write("best")
        record = {
            "epoch": self.position.epoch,
            "step": self.position.step,
            "best": gained,
            "metrics": evaluation.metrics,
        }
        with open(self.folder / "validation.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.tracker.evaluation(evaluation, step=self.position.step)
        if self.gallery:
            self.tracker.pictures(self.gallery(self.learner), step=self.position.step)
        progress.validation(self.position.epoch, self.selection.metric, evaluation.metrics, gained)

    def _write(self, name: str) -> None:
        new = self.folder / f".{name}.new"
        self.learner.save(new)
        checkpoint.replace_folder(new, self.folder / name)

    def _save_resume(self) -> None:
        rank = self.accelerator.process_index
        checkpoint.save_random_state(self.folder / "resume", rank=rank, step=self.position.step)
        if self._main:
            checkpoint.save_resume(
                self.folder / "resume",
                model=self.learner,
                optimizer=self.optimizer,
                scaler=self.accelerator.scaler,
                position=self.position,
            )
        self._last_save = time.monotonic()

    def _resume(self) -> None:
        if (self.folder / "resume" / "state.pt").exists():
            self.position = checkpoint.load_resume(
                self.folder / "resume",
                model=self.learner,
                optimizer=self.optimizer,
                scaler=self.accelerator.scaler,
                rank=self.accelerator.process_index,
            )
            self._drop_later_validations()
            self.accelerator.print(f"resuming {self.folder} at epoch {self.position.epoch}, step {self.position.step}")
        self.folder.mkdir(parents=True, exist_ok=True)

    def _drop_later_validations(self) -> None:
        """Forget validations that a cut run made after its last resume point; they will be made again."""
        path = self.folder / "validation.jsonl"
        if self._main and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= self.position.step]
            path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def _best(self) -> Evaluation:
        path = self.folder / "validation.jsonl"
        if not path.exists():
            return Evaluation({})
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        chosen = [record for record in records if record["best"]]
        return Evaluation(chosen[-1]["metrics"] if chosen else records[-1]["metrics"])

    def _patience_over(self) -> bool:
        return 0 < self.training.patience <= self.position.waiting

    def _images(self, group: list[Batch]) -> int:
        return sum(len(batch) for batch in group) * int(self.accelerator.num_processes)


def _grouped(batches: Loader, size: int) -> Iterator[list[Batch]]:
    """Yield lists of `size` micro-batches; the last may be shorter."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
