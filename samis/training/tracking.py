"""TensorBoard: the losses of a run, its scores next to those of zero-shot SAM and the best specialised network, its speed.

``docs/tensorboard.md`` lists which page answers which question. Numbers and config also go to Accelerate's other trackers.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, tracking

from samis.core.contracts import Evaluation
from samis.errors import UserError

PR_THRESHOLDS = 127
"""The most that torch's writer declares; with more, TensorBoard would show wrong thresholds."""

SHOWN = ("s_measure", "weighted_f", "mae", "f_mean", "e_mean", "iou")
"""Scores of the best epoch on the HPARAMS page, if a run has them."""
BEST_EPOCH = "values_of_best_epoch"
"""Prefix of their tags. HPARAMS needs a chart of one point for each; under this name they sort after all other charts."""
NAMED = 6
"""Kinds of parameters that the text lists of one group at most."""


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker whose package is not installed.

    Raises:
        UserError: it is not.
    """
    for name in names:
        if name not in ("tensorboard", "none") and name not in map(str, tracking.get_available_trackers()):
            raise UserError(
                f"training.trackers: {name} is not installed; pip install {name}, or leave it out",
                code="E-TRAIN-TRACKER",
            )


class Tracker:
    """Writes the numbers, pictures and texts of one run; on other processes than the first it writes nothing.

    Args:
        folder: where TensorBoard's events go.
        active: False makes every call a no-op.
        purge_step: hide an earlier process's events from this step on.
        references: name -> metrics of rows to draw together with the validation, each as a run of its own below
            `folder`, under the same tags: TensorBoard draws runs that share a tag into one chart.
        names: ``training.trackers``.
        accelerator: of the run; it holds the trackers other than TensorBoard.
        config: the resolved config, for these trackers.

    Raises:
        UserError: as ``check_trackers``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        active: bool = True,
        purge_step: int | None = None,
        references: dict[str, dict[str, float]] | None = None,
        names: Sequence[str] = ("tensorboard",),
        accelerator: Accelerator | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        self._writer: Any = None
        self._references: list[tuple[Any, dict[str, float]]] = []
        self._active, self._others = active, None
        check_trackers(names)
        others = [name for name in dict.fromkeys(names) if name not in ("tensorboard", "none")]
        if others and accelerator:
            self._others, accelerator.log_with = accelerator, others
            run, project = folder.resolve().parent, os.environ.get("WANDB_PROJECT", "samis")
            how = {"wandb": {"dir": str(run), "name": run.name, "resume": "auto"}, "mlflow": {"run_name": run.name}}
            try:
                accelerator.init_trackers(project, config=flattened(config or {}), init_kwargs=how)
            except Exception as error:  # each package has its own
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                listed = ", ".join(others)
                raise UserError(
                    f"training.trackers: {listed} does not start: {reason}; log in there, or leave it out",
                    code="E-TRAIN-TRACKER-START",
                ) from error
        if active and "tensorboard" in names:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            self._writer = SummaryWriter(str(folder), purge_step=purge_step)
            for name, metrics in (references or {}).items():
                writer = SummaryWriter(str(folder / name), purge_step=purge_step)
                self._references.append((writer, metrics))

    def scalars(self, values: dict[str, float], *, step: int) -> None:
        """Write named numbers."""
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        self._send(values, step)

    def learner(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, *, step: int) -> None:
        """Write how much of a model is trained, and what each of the optimizer's groups is.

        Args:
            model: whose parameters the optimizer has.
            optimizer: its groups have a learning rate and a weight decay of their own.
            step: of the run.
        """
        if not self._active:
            return
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        total = sum(p.numel() for p in model.parameters())
        counts = {"trained": trained, "all": total, "trained_share": trained / max(1, total)}
        self.scalars({f"parameters/{name}": float(value) for name, value in counts.items()}, step=step)
        self.text("parameters/groups", group_table(model, optimizer), step=step)

    def machine(self, device: torch.device, *, step: int) -> None:
        """Write the GPU memory at its highest since the last call (on CUDA only)."""
        if self._active and device.type == "cuda":
            gib = 1024**3
            memory = {
                "allocated": torch.cuda.max_memory_allocated(device),
                "reserved": torch.cuda.max_memory_reserved(device),
            }
            self.scalars({f"machine/gpu_memory_{name}_gib": value / gib for name, value in memory.items()}, step=step)
            torch.cuda.reset_peak_memory_stats(device)

    def evaluation(self, evaluation: Evaluation, *, step: int) -> None:
        """Write a validation: each metric, with those of the references, each class's, clean images, the mean PR curve."""
        if not self._active:
            return
        numbers = {f"validation/{name}": value for name, value in evaluation.metrics.items()}
        for class_name, metrics in evaluation.per_class.items():
            shown = [name for name in ("s_measure", "iou", "mae") if name in metrics]
            numbers |= {f"validation_{name}/{class_name}": metrics[name] for name in shown}
        clean = evaluation.clean or {}  # at threshold 0.5, where the split has clean images
        judged = [name for name in ("kept_clean", "defect_recall", "image_auroc") if name in clean]
        self.scalars(numbers | {f"validation_clean/{name}": clean[name] for name in judged}, step=step)
        for writer, metrics in self._references:
            for name in evaluation.metrics.keys() & metrics.keys():
                writer.add_scalar(f"validation/{name}", metrics[name], step)
        if self._writer and {"precision", "recall"} <= set(evaluation.curves):
            self._pr_curve(np.asarray(evaluation.curves["precision"]), np.asarray(evaluation.curves["recall"]), step)

    def pictures(self, pictures: list[tuple[str, np.ndarray]], *, step: int) -> None:
        """Write (H, W, 3) uint8 pictures, each under its name."""
        if self._writer:
            for name, picture in pictures:
                self._writer.add_image(f"gallery/{name}", picture, step, dataformats="HWC")

    def text(self, name: str, text: str, *, step: int) -> None:
        """Write Markdown on TensorBoard's TEXT page."""
        if self._writer:
            self._writer.add_text(name, text, step)

    def hyperparameters(self, config: dict[str, Any], results: dict[str, float]) -> None:
        """Write the flattened config with the scores of the best epoch, for TensorBoard's HPARAMS page."""
        shown = [name for name in SHOWN if name in results] or list(results)
        values = {f"{BEST_EPOCH}/{name}": results[name] for name in shown}
        self._send(values, None)
        if self._writer:
            self._writer.add_hparams(flattened(config), values, run_name=".")

    def close(self) -> None:
        """Flush and close."""
        if self._others:
            for tracker in self._others.trackers:
                tracker.finish()  # end_training would end the process group as well
            self._others.trackers, self._others.log_with = [], []
        for writer in [self._writer, *(writer for writer, _ in self._references)]:
            if writer:
                writer.close()

    def _send(self, values: dict[str, float], step: int | None) -> None:
        """Send numbers to the trackers other than TensorBoard; where one fails, as without a network, the run goes on."""
        if self._others:
            try:
                self._others.log({re.sub(r"[^\w./ -]", "_", name): value for name, value in values.items()}, step=step)
            except Exception as error:  # each package has its own
                print(f"training.trackers: no more numbers are sent, since it failed: {error}", flush=True)
                self._others.trackers, self._others = [], None

    def _pr_curve(self, precision: np.ndarray, recall: np.ndarray, step: int) -> None:
        # Curves run from threshold 255 down, TensorBoard's from 0 up, in at most 127 steps.
        kept = np.linspace(len(precision) - 1, 0, min(len(precision), PR_THRESHOLDS)).round().astype(int)
        # TensorBoard needs counts as well; only precision and recall are drawn, so these are ones.
        ones = np.ones(len(kept))
        self._writer.add_pr_curve_raw(
            "validation/pr", ones, ones, ones, ones, precision[kept], recall[kept], step, num_thresholds=len(kept)
        )


def group_table(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> str:
    """Return a Markdown table of an optimizer's groups: what each trains, its learning rate and its weight decay.

    Args:
        model: whose parameters the optimizer has.
        optimizer: of one or more groups.

    >>> model = torch.nn.ModuleList([torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)])
    >>> print(group_table(model, torch.optim.SGD(model.parameters(), lr=0.1)).splitlines()[-1])
    | 1 | 4 tensors, 18 numbers: `*.weight` (2), `*.bias` (2) | 0.1 | 0 |
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    lines = [
        "Each row is a group of parameters that share a learning rate and a weight decay. `*` replaces the numbers in names; "
        "in brackets: how many tensors have such a name. `training/lr` is the learning rate of groups at the full `optim.lr`.",
        "",
        "| group | what it trains | highest lr | weight decay |",
        "|---|---|---:|---:|",
    ]
    for number, group in enumerate(optimizer.param_groups, 1):
        kinds = Counter(re.sub(r"\b\d+\b", "*", names.get(id(p), "without a name")) for p in group["params"])
        listed = ", ".join(f"`{kind}` ({count})" for kind, count in kinds.most_common(NAMED))
        more = f" and {len(kinds) - NAMED} more" if len(kinds) > NAMED else ""
        size = sum(p.numel() for p in group["params"])
        content = f"{len(group['params'])} tensors, {size:,} numbers: {listed}{more}"
        lr, decay = group.get("base_lr", group["lr"]), group.get("weight_decay", 0.0)
        lines.append(f"| {number} | {content} | {lr:g} | {decay:g} |")
    return "\n".join(lines)


def flattened(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dicts as one level of ``a.b`` keys; lists become text, since TensorBoard takes only plain values.

    >>> flattened({"adapter": {"rank": 8, "encoder": ["q", "v"]}})
    {'adapter.rank': 8, 'adapter.encoder': 'q,v'}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flattened(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            flat[prefix + key] = ",".join(map(str, value))
        else:
            flat[prefix + key] = "null" if value is None else value
    return flat
