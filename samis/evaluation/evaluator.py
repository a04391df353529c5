"""The one evaluator: zero-shot SAM, tuned SAM, baselines and published maps are all scored here, alike.

It sees maps and truths at the file's own size, never a network. Maps become 8-bit first, as saving them would make them,
so that a folder of saved maps and the segmenter that wrote it score the same. On several processes each scores its share;
per-image rows are gathered with their ids, never means of means.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samis.core.contracts import Batch, Evaluation, Segmenter
from samis.core.progress import Progress
from samis.decision.image_rules import IMAGE_RULES, image_threshold
from samis.decision.verdicts import DIRECTIONS as VERDICT_DIRECTIONS
from samis.decision.verdicts import ImageDecision, summarise_verdicts
from samis.errors import NotFiniteError, UserError
from samis.evaluation.gathering import RankResult, gather_results, several_processes
from samis.evaluation.intervals import bootstrap
from samis.metrics import (
    FEW_LEVELS,
    SCORES_CLEAN,
    ImageScores,
    Judged,
    TruthCache,
    directions_of,
    inspect,
    judge,
    mean_curves,
    numbers_of,
    quantise,
    score_image,
    stack_scores,
    summarise_stack,
)

NamedMaps = dict[str, list[Tensor]]
"""Name of a segmenter or mask rule -> one map for each sample of a batch."""


ROUNDING = 1e-3
"""A map's values may leave [0, 1] by so much, as resizing in half precision lets them."""


class Evaluator:
    """Scores segmenters on one data set, again and again.

    Args:
        batches: this process's batches, with truths; iterated again for each evaluation.
        ids: every id of the data set, in order; each must come back once, from some process.
        protocol: key in ``samis.metrics.PROTOCOLS``.
        names: metrics to compute; empty computes all.
        bootstrap: resamples for the 95 % intervals; 0 leaves them out.
        device: where batches are sent.
        on_map: called with (name, id, (H, W) uint8 map) for each map scored by this process, or None.
        stop: called between batches; a number other than 0 (a signal's) ends the evaluation on every process.
        threshold: map value above which a pixel is called defective, where a threshold is needed: clean images, how many
            defective ones are detected, and the ``inspection`` protocol.
        apart: ids of clean images scored in addition to a split; their empty maps are not counted.
        truth_cache: bytes of what is computed from truths to keep between evaluations; 0 where there is only one.
        alone: this process has all batches and joins nothing, though there may be others.
        progress: whether to show how far an evaluation is.
        image_rule: key in ``samis.decision.image_rules.IMAGE_RULES``, which gives each image its score.
        image_threshold: score above which an image is called defective; None follows from `threshold`.
    """

    def __init__(
        self,
        batches: Iterable[Batch],
        ids: Sequence[str],
        *,
        protocol: str = "pysod",
        names: Sequence[str] = (),
        bootstrap: int = 0,
        device: torch.device | str = "cpu",
        on_map: Callable[[str, str, np.ndarray], None] | None = None,
        stop: Callable[[], int] | None = None,
        threshold: float = 0.5,
        apart: Collection[str] = (),
        truth_cache: int = 1 << 30,
        alone: bool = False,
        progress: bool = False,
        image_rule: str = "max",
        image_threshold: float | None = None,
    ) -> None:
        self.batches, self.ids, self.protocol, self.names = batches, list(ids), protocol, list(names) or None
        self.bootstrap, self.device, self.on_map = bootstrap, device, on_map
        self.stop = stop or (lambda: 0)
        self.alone, self.progress = alone, progress
        self.threshold, self.apart = threshold, frozenset(apart)
        self.image_rule, self.chosen = image_rule, image_threshold
        self._truths = TruthCache(truth_cache)

    def __call__(self, segmenter: Segmenter) -> Evaluation:
        """Score one segmenter."""
        return self.many(lambda batch: {"": segmenter.predict(batch)})[""]

    def many(self, predict: Callable[[Batch], NamedMaps]) -> dict[str, Evaluation]:
        """Score several maps of each image from one pass, such as every mask rule.

        Raises:
            UserError: a map of another size than its truth, a sample without truth, or an image that no process scored.
            PeerError: another process failed.
            Interrupted: a process was stopped by a signal.
        """
        result = RankResult()
        try:
            for batch in self._shown():
                result.signal = self.stop()
                if result.signal:
                    break
                start = time.perf_counter()
                named = predict(batch.to(self.device))
                result.seconds += time.perf_counter() - start
                for name, maps in named.items():
                    if len(maps) != len(batch.ids):
                        raise UserError(
                            f"expected a map for each of the {len(batch.ids)} images of a batch, got {len(maps)}; return one "
                            f"for each, in order ({', '.join(batch.ids[:3])} ...)",
                            code="E-MAP-COUNT",
                        )
                    for number, values in enumerate(maps):
                        row = self._row(name, batch, number, values)
                        result.rows.setdefault(name, {})[row["id"]] = row
        except Exception as error:
            if self.alone or not several_processes():
                raise
            result.failure = error
        gathered, seconds = gather_results(result, alone=self.alone)
        return {name: self._evaluation(rows, seconds) for name, rows in gathered.items()}

    def _shown(self) -> Iterator[Batch]:
        """Yield the batches, and show how many of this process's images are done."""
        world = torch.distributed.get_world_size() if several_processes() and not self.alone else 1
        progress = Progress(math.ceil(len(self.ids) / world), unit="images", active=self.progress)
        try:
            for batch in self.batches:
                yield batch
                progress.advance(len(batch.ids))
        finally:
            progress.close()

    def _row(self, name: str, batch: Batch, number: int, values: Tensor) -> dict[str, Any]:
        sample_id, truth = batch.ids[number], batch.truths[number] if batch.truths else None
        if truth is None:
            raise UserError(
                f"{sample_id}: expected a mask to score against, found none; score only labelled images",
                code="E-DATA-NO-MASK",
            )
        array = values.detach().cpu().numpy()
        if not np.isfinite(array).all():  # clipping would make 1 of infinity
            raise NotFiniteError(
                f"{sample_id}: expected a map of finite numbers, got NaN or infinity; check the weights",
                code="E-MAP-NOT-FINITE",
            )
        if array.size and not -ROUNDING <= array.min() <= array.max() <= 1 + ROUNDING:
            raise UserError(
                f"{sample_id}: expected a map of values in [0, 1], got {array.min():.4g}..{array.max():.4g}; apply the sigmoid, "
                "or divide by 255",
                code="E-MAP-RANGE",
            )
        map_u8 = quantise(array.clip(0, 1), source=sample_id)
        if self.on_map:
            self.on_map(name, sample_id, map_u8)
        if map_u8.shape != truth.shape:
            raise UserError(
                f"{sample_id}: expected a map of {truth.shape}, the mask's size, got {map_u8.shape}", code="E-MAP-SIZE"
            )
        row: dict[str, Any] = {"id": sample_id, "class_name": batch.class_names[number], "empty_map": not map_u8.any()}
        low, high = int(map_u8.min()), int(map_u8.max())
        row["full_map"] = low == high > 0
        row["few_levels"] = 0 < high - low < FEW_LEVELS
        if truth.any():
            above = map_u8 > 127
            row["nothing"], row["everything"] = not above.any(), bool(above.all())
        if truth.any() or self.protocol in SCORES_CLEAN:
            fields = self._truths.get(sample_id, truth)
            row["scores"] = score_image(
                map_u8, truth, self.names, self.protocol, fields, threshold=max(self.threshold, 1 / 512)
            )  # that metric counts "at or above", which differs from "above" for byte 0 alone
        row["judged"] = judge(map_u8, truth, threshold=self.threshold)
        row["decision"] = self._decision(map_u8, defective=bool(truth.any()), class_name=row["class_name"])
        return row

    def _decision(self, map_u8: np.ndarray, *, defective: bool, class_name: str) -> ImageDecision:
        values = np.arange(256)[map_u8] / 255
        return ImageDecision(IMAGE_RULES[self.image_rule].score(values, values > self.threshold), defective, class_name)

    def _evaluation(self, by_id: dict[str, dict[str, Any]], seconds: float) -> Evaluation:
        missing = [sample_id for sample_id in self.ids if sample_id not in by_id]
        if missing:
            raise UserError(
                f"expected a map for each of {len(self.ids)} images, none came for {', '.join(missing[:5])}",
                code="E-MAP-COUNT",
            )
        rows = [by_id[sample_id] for sample_id in self.ids]
        scored = [row for row in rows if "scores" in row]
        empty = sum(row["empty_map"] for row in rows if row["id"] not in self.apart)
        full = sum(row["full_map"] for row in rows if row["id"] not in self.apart)
        evaluation = Evaluation({}, empty_maps=empty, full_maps=full, seconds=seconds)
        defective = [row for row in rows if "nothing" in row]
        evaluation.few_levels = sum(row["few_levels"] for row in defective)
        if defective:
            evaluation.flat_on_defects = all(row["empty_map"] or row["full_map"] for row in defective)
            evaluation.nothing = float(np.mean([row["nothing"] for row in defective]))
            evaluation.everything = float(np.mean([row["everything"] for row in defective]))
        if scored:
            scores: list[ImageScores] = [row["scores"] for row in scored]
            stack = stack_scores(scores)
            evaluation.metrics = self._requested(summarise_stack(stack))
            evaluation.curves = {name: [float(v) for v in curve] for name, curve in mean_curves(scores).items()}
            classes = np.array([row["class_name"] for row in scored])
            for class_name in sorted(set(classes.tolist())):
                index = np.flatnonzero(classes == class_name)
                evaluation.per_class[class_name] = {
                    "n_images": float(len(index)),
                    **self._requested(summarise_stack(stack, index)),
                }
            if self.bootstrap:
                evaluation.intervals = bootstrap(
                    lambda index: self._requested(summarise_stack(stack, index)), len(scored), self.bootstrap
                )
        evaluation.clean = inspect([row["judged"] for row in rows], threshold=self.threshold)
        evaluation.verdicts = summarise_verdicts(
            [row["decision"] for row in rows], rule=self.image_rule,
            threshold=image_threshold(self.image_rule, self.threshold, self.chosen),
            bootstrap=bootstrap, resamples=self.bootstrap,
        )  # fmt: skip
        evaluation.directions = directions_of([*evaluation.metrics, *(evaluation.clean or {})])
        evaluation.directions |= {key: sign for key, sign in VERDICT_DIRECTIONS.items() if key in evaluation.verdicts}
        evaluation.images = [_flat(row, detection=evaluation.clean is not None) for row in rows]
        return evaluation

    def _requested(self, numbers: dict[str, float]) -> dict[str, float]:
        """Leave out what is computed with a metric but was not requested."""
        wanted = numbers_of(self.names) if self.names else set(numbers)
        return {name: value for name, value in numbers.items() if name in wanted}


def _flat(row: dict[str, Any], *, detection: bool) -> dict[str, Any]:
    """Return an image's line: its metrics, and whether it was kept clean or, with `detection`, whether it was detected."""
    numbers = dict(row["scores"].values) if "scores" in row else {}
    judged: Judged = row["judged"]
    if judged.false_positive_area is not None:
        numbers["false_positive_area"] = judged.false_positive_area
        numbers["kept_clean"] = judged.false_positive_area == 0
    elif detection:
        numbers["found"] = bool(judged.detected)
    numbers["image_score"] = row["decision"].score
    return {"id": row["id"], "class_name": row["class_name"], **{name: float(value) for name, value in numbers.items()}}
