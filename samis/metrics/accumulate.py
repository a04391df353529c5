"""The metrics as one torchmetrics metric whose states add up over batches and processes.

torchmetrics brings in torchvision and more, seconds of import, so it is loaded here only and not with `samis.metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from samis.errors import UserError
from samis.metrics import find_metrics
from samis.metrics.base import ImageScores, SetScores, finish_all, score_pair
from samis.metrics.float_pair import make_pair
from samis.metrics.on_device import device_pair
from samis.metrics.truth import TruthFields


class ProtocolMetric(Metric):
    """All metrics of a protocol, or some: map and truth are counted once for all of them.

    Its states are sums and counts, so batches of any size and any number of processes give the same result to 1e-12,
    and memory does not grow with the number of images (rows, if kept, do).

    Args:
        metrics: names in ``samis.metrics.METRICS`` or of their numbers; None: all of the protocol.
        protocol: key of ``samis.metrics.PROTOCOLS``.
        threshold: absolute threshold of the ``inspection`` protocol, in [0, 1].
        keep_rows: also keep each image's values, in `rows` (this process's images only, in order of update).
        kwargs: torchmetrics' own.

    Raises:
        UserError: unknown names.

    Example:
        >>> metric = ProtocolMetric(["mae"])
        >>> metric.update(torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, 4, 4, dtype=torch.bool))
        >>> metric.compute()
        {'mae': 0.0}
    """

    full_state_update = False
    value_sums: Tensor
    value_counts: Tensor
    curve_sums: Tensor
    curve_counts: Tensor
    total_sums: Tensor

    def __init__(
        self,
        metrics: Sequence[str] | None = None,
        *,
        protocol: str = "pysod",
        threshold: float = 0.5,
        keep_rows: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.protocol = protocol
        self.threshold = threshold
        self.rows: list[dict[str, float]] | None = [] if keep_rows else None
        self.parts = find_metrics(metrics, protocol)
        self._value_names = [name for part in self.parts for name in part.values]
        self._curve_names = [name for part in self.parts for name in part.curves]
        self._total_lengths = {name: length for part in self.parts for name, length in part.totals.items()}
        shapes = {
            "value_sums": (len(self._value_names),),
            "value_counts": (len(self._value_names),),
            "curve_sums": (len(self._curve_names), 256),
            "curve_counts": (len(self._curve_names),),
            "total_sums": (sum(self._total_lengths.values()),),
        }
        for state, shape in shapes.items():
            self.add_state(state, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        maps: Tensor | np.ndarray | Sequence[Tensor | np.ndarray],
        truths: Tensor | np.ndarray | Sequence[Tensor | np.ndarray],
        truth_fields: Sequence[TruthFields] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            maps: B maps (H, W) or (1, H, W), uint8 or float in [0, 1] (stretched as floats); sizes may differ in a list.
            truths: B masks of the same sizes, bool or uint8.
            truth_fields: the truths' fields, if kept from an earlier round.

        Raises:
            UserError: lengths differ, or an image cannot be scored (`samis.metrics.Pair`, `TruthFields`).
        """
        if len(maps) != len(truths):
            raise UserError(
                f"got {len(maps)} maps and {len(truths)} truths; give as many of both", code="E-METRIC-COUNT"
            )
        for index, (image, truth) in enumerate(zip(maps, truths, strict=True)):
            fields = truth_fields[index] if truth_fields is not None else TruthFields(_to_numpy(truth))
            self.add(self._score(image, fields))

    def _score(self, image: Tensor | np.ndarray, fields: TruthFields) -> ImageScores:
        if isinstance(image, Tensor) and image.device.type != "cpu":
            pair = device_pair(image, fields, protocol=self.protocol, threshold=self.threshold)
        else:
            pair = make_pair(_to_numpy(image), fields, protocol=self.protocol, threshold=self.threshold)
        return score_pair(pair, self.parts)

    def add(self, scores: ImageScores) -> None:
        """Add one image that is scored already."""
        self._add(self._value_names, scores.values, self.value_sums, self.value_counts)
        self._add(self._curve_names, scores.curves, self.curve_sums, self.curve_counts)
        flat = [np.ravel(scores.totals[name]) for name in self._total_lengths if name in scores.totals]
        if flat:
            self.total_sums += torch.from_numpy(np.concatenate(flat)).to(self.total_sums.device)
        if self.rows is not None:
            self.rows.append({name: scores.values[name] for name in self._value_names if name in scores.values})

    @staticmethod
    def _add(names: list[str], scores: dict[str, Any], sums: Tensor, counts: Tensor) -> None:
        present = [name in scores for name in names]
        if any(present):
            zero = np.zeros(sums.shape[1:])
            sums += torch.from_numpy(np.array([scores.get(name, zero) for name in names], dtype=np.float64)).to(
                sums.device
            )
            counts += torch.tensor(present, dtype=counts.dtype, device=counts.device)

    def compute(self) -> dict[str, float]:
        """Return the set's numbers by name; a number that no image has (Dice of clean images alone) is left out."""
        values = _means(self._value_names, self.value_sums, self.value_counts)
        curves = _means(self._curve_names, self.curve_sums, self.curve_counts)
        ends = np.cumsum([0, *self._total_lengths.values()])
        sums = self.total_sums.cpu().numpy()
        totals = {name: sums[ends[i] : ends[i + 1]] for i, name in enumerate(self._total_lengths)}
        scores = SetScores({name: float(value) for name, value in values.items()}, curves, totals)
        return finish_all(scores, self.parts)

    def reset(self) -> None:
        """Remove everything added."""
        super().reset()
        if self.rows is not None:
            self.rows = []


def _means(names: list[str], sums: Tensor, counts: Tensor) -> dict[str, np.ndarray]:
    number = counts.cpu().numpy()
    total = sums.cpu().numpy()
    return {name: total[i] / number[i] for i, name in enumerate(names) if number[i] > 0}


def _to_numpy(array: Tensor | np.ndarray) -> np.ndarray:
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array.double() if array.dtype == torch.bfloat16 else array).numpy()
    values = np.asarray(array)
    return values[0] if values.ndim == 3 and values.shape[0] == 1 else values
