"""TensorBoard: scalars, overlays of fixed validation images, PR curves, hyper-parameters with final scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from samis.contracts import Evaluation


class Tracker:
    """Writes one run's TensorBoard events; on other processes than the first it writes nothing.

    Args:
        folder: where the events go.
        active: False makes every call a no-op.
    """

    def __init__(self, folder: Path, *, active: bool = True, purge_step: int | None = None) -> None:
        self._writer: Any = None
        if active:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def scalars(self, values: dict[str, float], *, step: int) -> None:
        """Write named numbers."""
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def evaluation(self, evaluation: Evaluation, *, step: int) -> None:
        """Write a validation: each metric, each class's, and the mean PR curve."""
        if not self._writer:
            return
        for name, value in evaluation.metrics.items():
            self._writer.add_scalar(f"validation/{name}", value, step)
        for class_name, metrics in evaluation.per_class.items():
            for name in ("s_measure", "iou", "mae"):
                if name in metrics:
                    self._writer.add_scalar(f"validation_{name}/{class_name}", metrics[name], step)
        if {"precision", "recall"} <= set(evaluation.curves):
            self._pr_curve(np.asarray(evaluation.curves["precision"]), np.asarray(evaluation.curves["recall"]), step)

    def pictures(self, pictures: list[tuple[str, np.ndarray]], *, step: int) -> None:
        """Write (H, W, 3) uint8 pictures, each under its name."""
        if self._writer:
            for name, picture in pictures:
                self._writer.add_image(f"gallery/{name}", picture, step, dataformats="HWC")

    def hyperparameters(self, config: dict[str, Any], results: dict[str, float]) -> None:
        """Write the flattened config beside the final scores, for TensorBoard's HPARAMS page."""
        if self._writer:
            self._writer.add_hparams(flattened(config), {f"final/{k}": v for k, v in results.items()}, run_name=".")

    def close(self) -> None:
        """Flush and close."""
        if self._writer:
            self._writer.close()

    def _pr_curve(self, precision: np.ndarray, recall: np.ndarray, step: int) -> None:
        thresholds = len(precision)
        ones = np.ones(thresholds)
        # TensorBoard wants counts; only precision and recall are drawn, so unit counts stand in.
        self._writer.add_pr_curve_raw(
            "validation/pr", ones, ones, ones, ones, precision[::-1], recall[::-1], step, num_thresholds=thresholds
        )


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
