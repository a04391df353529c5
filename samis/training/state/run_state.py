"""A run's place on the disk: its folder is locked and checked, and a cut run is taken up again, on all processes together."""

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
from samis.training import agree
from samis.training.ema import Ema
from samis.training.sharded import Shards
from samis.training.state import checkpoint, run_folder
from samis.training.state.lock import RunLock
from samis.training.state.plan import Plan, Position, carried_over, changes
from samis.training.timebox import TimeBox
from samis.training.watch import Watch

TRAINED_ON = "data.train"
"""The split that is learnt from; by the others the best epoch is chosen."""


class RunState:
    """What a run folder holds of its run, and what a cut run goes on from.

    Only the main process writes. Every method but ``due`` is a rendezvous of all processes.

    Args:
        folder: the run folder; it need not exist. data: split -> fingerprint of its images and masks; empty on other
            processes, and where there is none. allow_changed: whether a run may go on with other data.
        accelerator: the processes. learner: unwrapped. optimizer: prepared. plan: of this run. watch, ema, box: kept along.

    Attributes:
        position: where the run stands. validations: its lines of ``validation.jsonl``.
        precisions: those that the run has computed in, in order. seen: fingerprints of the data it has seen, in order.
        ended: whether the folder holds a finished run without a resume point.
        resumed: None for a new run; else what this one changes in the run that it takes up, a line each.
    """

    def __init__(
        self,
        folder: Path,
        *,
        accelerator: Accelerator,
        learner: Any,
        optimizer: Any,
        plan: Plan,
        watch: Watch,
        shards: Shards,
        ema: Ema,
        box: TimeBox,
        data: dict[str, str] | None = None,
        allow_changed: bool = False,
    ) -> None:
        self.folder, self.accelerator, self.plan, self.watch = Path(folder), accelerator, plan, watch
        self.learner, self.optimizer, self.shards = learner, optimizer, shards
        self.ema, self.box = ema, box
        self.position, self.validations = Position(), list[str]()
        self.precisions = [plan.precision]
        self.data, self.allow_changed = data or {}, allow_changed
        self.seen = [self.data] if self.data else []
        self.resumed: list[str] | None = None
        self.ended = False
        self._path = self.folder / "resume" / "state.pt"
        self._saved_at, self._saved_step = time.monotonic(), 0

    @contextmanager
    def opened(self, config: Any) -> Iterator[None]:
        """Hold the folder inside the block, with its run, if there is one, taken up.

        Raises:
            UserError: another run holds it, it holds a run of another config, or it is damaged.
        """
        lock = RunLock(self.folder)
        try:
            with agree.together(self.accelerator):
                if self.accelerator.is_main_process:
                    self._claim(lock, config)
            if agree.largest(self.accelerator, self._path.exists())[0]:
                self._take_up()
            elif agree.largest(self.accelerator, run_folder.is_finished(self.folder))[0]:
                self._read_finished()
            else:
                self._seed()
            self._saved_at, self._saved_step = time.monotonic(), self.position.step
            self.box.start()
            yield
        finally:
            lock.release()

    def begin(self, config: Any, *, pictures: int) -> None:
        """See that the disk holds what is to come, `pictures` in TensorBoard among it, and write the config.

        Raises:
            UserError: it does not.
        """
        with agree.together(self.accelerator):
            if self.accelerator.is_main_process:
                run_folder.check_space(
                    self.folder, run_folder.needed_bytes(self.learner, pictures=pictures, averaged=self.ema.decay > 0)
                )
                run_folder.write_config(self.folder, config)

    def due(self, *, minutes: float, steps: int) -> bool:
        """Return whether the last resume point is older than `minutes`, or, unless 0, than `steps`."""
        made = self.position.step - self._saved_step
        return made > 0 and ((time.monotonic() - self._saved_at) / 60 > minutes or 0 < steps <= made)

    def save(self) -> None:
        """Write the resume point: one file, with the random states of all processes."""
        states = agree.gather(self.accelerator, checkpoint.random_state())
        self.shards.gather()
        optimizer = self.shards.optimizer_state(self.optimizer)
        with agree.together(self.accelerator):
            if self.accelerator.is_main_process:
                scaler = self.accelerator.scaler
                state = {
                    "model": self.learner.state_dict(), "optimizer": optimizer,
                    "scaler": None if scaler is None else scaler.state_dict(), "position": asdict(self.position),
                    "plan": asdict(self.plan), "precisions": self.precisions, "validations": self.validations,
                    "watch": self.watch.state(), "random": states,
                    "ema": self.ema.state(), "time": self.box.state(), "data": self.seen,
                }  # fmt: skip
                checkpoint.write_state(state, self._path)
        self._saved_at, self._saved_step = time.monotonic(), self.position.step

    def end_epoch(self, metrics: dict[str, float] | None = None, *, best: bool = False) -> None:
        """End the epoch, with a resume point; with its validation's metrics also keep the weights as ``last``, or ``best`` too.

        The resume point is what makes a validation count, see ``checkpoint``.
        """
        epoch = self.position.epoch + 1
        if metrics is not None:
            with self.ema.applied(), agree.together(self.accelerator):
                if self.accelerator.is_main_process:
                    for name in checkpoint.KEPT[: 1 + best]:
                        checkpoint.stage(self.folder, name, epoch=epoch, save=self.learner.save)
            record = {"epoch": epoch, "step": self.position.step, "best": best, "metrics": metrics}
            self.validations.append(json.dumps(record))
        self.position.epoch, self.position.batches = epoch, 0
        self.save()
        self._settle()

    def best(self) -> dict[str, float]:
        """Return the metrics of the best validation; without one, of the last."""
        records = [json.loads(line) for line in self.validations]
        chosen = [record for record in records if record["best"]] or records
        return dict(chosen[-1]["metrics"]) if chosen else {}

    def finished_note(self, metric: str, *, epochs: int) -> str:
        """Say of a finished run how it ended and how to train longer."""
        p = self.position
        best = (
            f"best {metric} {self.best()[metric]:.4f}, epoch {p.best_epoch}"
            if p.best_epoch > 0
            else "no validation was a number"
        )
        told = f"{self.folder}: this run is finished (epoch {p.epoch}, step {p.step}; {best}) and is left as it is"
        if self.ended:
            return (
                f"{told}; a longer run needs another training.out, and training.keep_resume=true to be trained on later"
            )
        if p.over_minutes:
            return f"{told}; its {p.over_minutes:g} minutes are over: training.minutes={2 * p.over_minutes:g} trains on"
        if p.epoch < epochs:
            return f"{told}; it stopped early: training.patience=0 trains on to epoch {epochs}"
        return f"{told}; train longer with training.epochs={2 * epochs}, or again with another training.out"

    def _claim(self, lock: RunLock, config: Any) -> None:
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
        """Read where a finished run had ended from what it left."""
        path = self.folder / "validation.jsonl"
        try:
            self.validations = path.read_text(encoding="utf-8").splitlines()
            records = [json.loads(line) for line in self.validations]
            self.position.epoch, self.position.step = int(records[-1]["epoch"]), int(records[-1]["step"])
            best = [int(record["epoch"]) for record in records if record["best"]]
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"{path}: expected the validations of a finished run, got trouble ({error}); copy it again, or choose another "
                "training.out"
            ) from error
        self.position.best_epoch = best[-1] if best else -1
        self.ended = True

    def _take_up(self) -> None:
        with agree.together(self.accelerator):
            state = checkpoint.read_state(self._path)
            seen = list(state.get("data", []))
            told = run_folder.check_data(self._path, seen, self.data, allow=self.allow_changed)
            scaler = self.accelerator.scaler
            state["optimizer"] = self.shards.optimizer_shards(self.optimizer, state["optimizer"])
            checkpoint.load_into(state, path=self._path, model=self.learner, optimizer=self.optimizer, scaler=scaler)
        self.shards.scatter()
        old = Plan(**state["plan"])
        self.position = carried_over(Position(**state["position"]), old, self.plan)
        self.validations, self.resumed = list(state["validations"]), [*changes(old, self.plan), *told]
        self._changed_data(seen)
        held = list(state.get("precisions", []))
        self.precisions = held if held[-1:] == self.precisions else held + self.precisions
        self.ema.restore(state.get("ema"))
        self.box.restore(state.get("time"))
        self.watch.restore(state["watch"])
        rank = self.accelerator.process_index
        if rank < len(state["random"]):
            checkpoint.set_random_state(state["random"][rank])
        else:
            self._seed()
        self._settle()

    def _changed_data(self, seen: list[dict[str, str]]) -> None:
        """Take over which data the run has seen; what was best on other validation images is best no more.

        The processes agree on it: only the main one has fingerprints.
        """
        before = seen[-1] if seen else self.data
        self.seen = seen if not self.data or seen[-1:] == [self.data] else [*seen, self.data]
        other = {name for name in self.data if name != TRAINED_ON and before.get(name) != self.data[name]}
        if agree.largest(self.accelerator, bool(other))[0] and self.position.epoch < self.plan.epochs:
            self.position.best, self.position.best_epoch, self.position.waiting = None, -1, 0

    def _seed(self) -> None:
        """Let dropout differ between processes."""
        torch.manual_seed(torch.initial_seed() + self.accelerator.process_index)

    def _settle(self) -> None:
        """Give weights and ``validation.jsonl`` the state that the resume point has."""
        with agree.together(self.accelerator):
            if self.accelerator.is_main_process:
                checkpoint.settle(self.folder, epoch=self.position.epoch)
                path, text = self.folder / "validation.jsonl", "".join(line + "\n" for line in self.validations)
                if text and (not path.exists() or path.read_text(encoding="utf-8") != text):
                    write_atomic(path, text)
