"""A run's state on disk: its folder is locked and checked, and a cut run is resumed, on all processes together."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from samis.core.files import write_atomic
from samis.errors import UserError
from samis.training import sync
from samis.training.ema import Ema
from samis.training.monitor import TrainingMonitor
from samis.training.sharded import Shards
from samis.training.state import checkpoint, run_folder
from samis.training.state.lock import RunLock
from samis.training.state.step_plan import StepPlan, TrainerState, carried_over, changes
from samis.training.time_limit import TimeLimit

TRAINED_ON = "data.train"
"""The split that is trained on; the others choose the best epoch."""


class RunState:
    """The files of a run in its folder, from which a cut run is resumed.

    Only the main process writes. Every method but ``due`` is collective: all processes must call it.

    Args:
        folder: the run folder; it need not exist.
        accelerator: the processes.
        learner: unwrapped.
        optimizer: prepared.
        plan: of this run.
        monitor: saved with the state.
        shards: of the learner.
        ema: saved with the state.
        time_limit: saved with the state.
        data: split -> fingerprint of its images and masks; empty on other processes, and where there is none.
        allow_changed: whether a run may go on with other data.

    Attributes:
        state: how far the run is.
        validations: its lines of ``validation.jsonl``.
        precisions: those that the run has computed in, in order.
        seen: fingerprints of the data it has seen, in order.
        ended: whether the folder holds a finished run without a resume point.
        resumed: None for a new run; else what this process changes in the run that it resumes, a line each.
    """

    def __init__(
        self,
        folder: Path,
        *,
        accelerator: Accelerator,
        learner: Any,
        optimizer: Any,
        plan: StepPlan,
        monitor: TrainingMonitor,
        shards: Shards,
        ema: Ema,
        time_limit: TimeLimit,
        data: dict[str, str] | None = None,
        allow_changed: bool = False,
    ) -> None:
        self.folder, self.accelerator, self.plan, self.monitor = Path(folder), accelerator, plan, monitor
        self.learner, self.optimizer, self.shards = learner, optimizer, shards
        self.ema, self.time_limit = ema, time_limit
        self.state, self.validations = TrainerState(), list[str]()
        self.precisions = [plan.precision]
        self.data, self.allow_changed = data or {}, allow_changed
        self.seen = [self.data] if self.data else []
        self.resumed: list[str] | None = None
        self.ended = False
        self._path = self.folder / "resume" / "state.pt"
        self._saved_at, self._saved_step = time.monotonic(), 0

    @contextmanager
    def opened(self, config: Any) -> Iterator[None]:
        """Lock the folder inside the block; resume its run, if it has one.

        Raises:
            UserError: another run holds it, it holds a run of another config, or it is damaged.
        """
        lock = RunLock(self.folder)
        try:
            with sync.collective_guard(self.accelerator):
                if self.accelerator.is_main_process:
                    self._lock_and_check(lock, config)
            if sync.largest(self.accelerator, self._path.exists())[0]:
                self._resume()
            elif sync.largest(self.accelerator, run_folder.is_finished(self.folder))[0]:
                self._read_finished()
            else:
                self._seed()
            self._saved_at, self._saved_step = time.monotonic(), self.state.step
            self.time_limit.start()
            yield
        finally:
            lock.release()

    def begin(self, config: Any, *, pictures: int) -> None:
        """Check that the disk is large enough, and write the config.

        Args:
            config: of the run.
            pictures: number of pictures that TensorBoard will get.

        Raises:
            UserError: the disk is too small.
        """
        with sync.collective_guard(self.accelerator):
            if self.accelerator.is_main_process:
                run_folder.check_space(
                    self.folder, run_folder.needed_bytes(self.learner, pictures=pictures, averaged=self.ema.decay > 0)
                )
                run_folder.write_config(self.folder, config)

    def due(self, *, minutes: float, steps: int) -> bool:
        """Return whether the last resume point is older than `minutes`, or, unless 0, than `steps`."""
        made = self.state.step - self._saved_step
        return made > 0 and ((time.monotonic() - self._saved_at) / 60 > minutes or 0 < steps <= made)

    def save(self) -> None:
        """Write the resume point: one file, with the random states of all processes."""
        states = sync.gather(self.accelerator, checkpoint.random_state())
        self.shards.gather()
        optimizer = self.shards.optimizer_state(self.optimizer)
        with sync.collective_guard(self.accelerator):
            if self.accelerator.is_main_process:
                scaler = self.accelerator.scaler
                content = {
                    "model": self.learner.state_dict(), "optimizer": optimizer,
                    "scaler": None if scaler is None else scaler.state_dict(), "position": asdict(self.state),
                    "plan": asdict(self.plan), "precisions": self.precisions, "validations": self.validations,
                    "watch": self.monitor.state(), "random": states,
                    "ema": self.ema.state(), "time": self.time_limit.state(), "data": self.seen,
                }  # fmt: skip
                checkpoint.write_state(content, self._path)
        self._saved_at, self._saved_step = time.monotonic(), self.state.step

    def end_epoch(self, metrics: dict[str, float] | None = None, *, best: bool = False) -> None:
        """End the epoch, with a resume point; with its validation's metrics also keep the weights as ``last``, or ``best`` too.

        A validation counts once the resume point holds it, see ``checkpoint``.
        """
        epoch = self.state.epoch + 1
        if metrics is not None:
            with self.ema.applied(), sync.collective_guard(self.accelerator):
                if self.accelerator.is_main_process:
                    for name in checkpoint.KEPT[: 1 + best]:
                        checkpoint.stage(self.folder, name, epoch=epoch, save=self.learner.save)
            record = {"epoch": epoch, "step": self.state.step, "best": best, "metrics": metrics}
            self.validations.append(json.dumps(record))
        self.state.epoch, self.state.batches = epoch, 0
        self.save()
        self._settle()

    def best(self) -> dict[str, float]:
        """Return the metrics of the best validation; without one, of the last."""
        records = [json.loads(line) for line in self.validations]
        chosen = [record for record in records if record["best"]] or records
        return dict(chosen[-1]["metrics"]) if chosen else {}

    def finished_note(self, metric: str, *, epochs: int) -> str:
        """Return how a finished run ended, and how to train longer."""
        p = self.state
        best = (
            f"best {metric} {self.best()[metric]:.4f}, epoch {p.best_epoch}"
            if p.best_epoch > 0
            else "no validation value was finite"
        )
        ended = f"{self.folder}: this run is finished (epoch {p.epoch}, step {p.step}; {best}) and is not changed"
        if self.ended:
            return (
                f"{ended}; a longer run needs another training.out, and training.keep_resume=true to train it on later"
            )
        if p.over_minutes:
            return (
                f"{ended}; its {p.over_minutes:g} minutes are over: training.minutes={2 * p.over_minutes:g} trains on"
            )
        if p.epoch < epochs:
            return f"{ended}; it stopped early: training.patience=0 trains on to epoch {epochs}"
        return f"{ended}; train longer with training.epochs={2 * epochs}, or again with another training.out"

    def _lock_and_check(self, lock: RunLock, config: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        stale = lock.acquire()
        if stale:
            print(stale)
        if self._path.exists():
            run_folder.check_config(self.folder, config)
        elif run_folder.is_finished(self.folder):
            run_folder.check_config(self.folder, config)
            run_folder.check_length(self.folder, config)
        else:
            run_folder.check_leftovers(self.folder)
            checkpoint.settle(self.folder, epoch=-1)

    def end(self) -> None:
        """Remove the resume point of a run that is over and whose provenance is written; on the main process."""
        shutil.rmtree(self._path.parent, ignore_errors=True)

    def _read_finished(self) -> None:
        """Read the final state of a finished run from its files."""
        path = self.folder / "validation.jsonl"
        try:
            self.validations = path.read_text(encoding="utf-8").splitlines()
            records = [json.loads(line) for line in self.validations]
            self.state.epoch, self.state.step = int(records[-1]["epoch"]), int(records[-1]["step"])
            best = [int(record["epoch"]) for record in records if record["best"]]
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"{path}: expected the validations of a finished run, but {error}; copy it again, or choose another "
                "training.out",
                code="E-TRAIN-VALIDATIONS",
            ) from error
        self.state.best_epoch = best[-1] if best else -1
        self.ended = True

    def _resume(self) -> None:
        with sync.collective_guard(self.accelerator):
            content = checkpoint.read_state(self._path)
            seen = list(content.get("data", []))
            notes = run_folder.check_data(self._path, seen, self.data, allow=self.allow_changed)
            scaler = self.accelerator.scaler
            content["optimizer"] = self.shards.optimizer_shards(self.optimizer, content["optimizer"])
            checkpoint.load_into(content, path=self._path, model=self.learner, optimizer=self.optimizer, scaler=scaler)
        self.shards.scatter()
        old = StepPlan(**content["plan"])
        self.state = carried_over(TrainerState(**content["position"]), old, self.plan)
        self.validations, self.resumed = list(content["validations"]), [*changes(old, self.plan), *notes]
        self._changed_data(seen)
        before = list(content.get("precisions", []))
        self.precisions = before if before[-1:] == self.precisions else before + self.precisions
        self.ema.restore(content.get("ema"))
        self.time_limit.restore(content.get("time"))
        self.monitor.restore(content["watch"])
        rank = self.accelerator.process_index
        if rank < len(content["random"]):
            checkpoint.set_random_state(content["random"][rank])
        else:
            self._seed()
        self._settle()

    def _changed_data(self, seen: list[dict[str, str]]) -> None:
        """Restore which data the run has seen; a best value on other validation images no longer counts.

        Only the main process has fingerprints, so that it decides for all.
        """
        before = seen[-1] if seen else self.data
        self.seen = seen if not self.data or seen[-1:] == [self.data] else [*seen, self.data]
        other = {name for name in self.data if name != TRAINED_ON and before.get(name) != self.data[name]}
        if sync.largest(self.accelerator, bool(other))[0] and self.state.epoch < self.plan.epochs:
            self.state.best, self.state.best_epoch, self.state.waiting = None, -1, 0

    def _seed(self) -> None:
        """Let dropout differ between processes."""
        torch.manual_seed(torch.initial_seed() + self.accelerator.process_index)

    def _settle(self) -> None:
        """Bring weights and ``validation.jsonl`` to the state of the resume point."""
        with sync.collective_guard(self.accelerator):
            if self.accelerator.is_main_process:
                checkpoint.settle(self.folder, epoch=self.state.epoch)
                path, text = self.folder / "validation.jsonl", "".join(line + "\n" for line in self.validations)
                if text and (not path.exists() or path.read_text(encoding="utf-8") != text):
                    write_atomic(path, text)
