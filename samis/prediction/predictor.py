"""Samples in, maps out: the same framing, tiles and blending as in scoring, in bounded memory.

A photo of more tiles than fit into one batch is predicted in parts, so that its size is bounded by the memory for one map,
not for all of its tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from samis.core.contracts import Placement, Sample, Segmenter
from samis.core.geometry import Framing, coverage, frame_image
from samis.data.pipeline.batching import FramedSample, collate
from samis.errors import UserError
from samis.prompts import Prompter


class Predictor:
    """Makes maps of samples.

    Args:
        segmenter: what predicts.
        framing: how photos enter the frame.
        prompter: makes the prompts.
        views_at_once: photos or tiles that go through the network together.
    """

    def __init__(self, segmenter: Segmenter, framing: Framing, prompter: Prompter, *, views_at_once: int = 8) -> None:
        self.segmenter, self.framing, self.prompter, self.views_at_once = segmenter, framing, prompter, views_at_once

    def maps(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        """Return one (H, W) float32 map in [0, 1] for each sample.

        Args:
            samples: photos, each with its image.

        Raises:
            UserError: a prompt that does not fit its sample, or a map that is not finite.
        """
        maps: list[np.ndarray] = []
        waiting: list[FramedSample] = []
        for sample in samples:
            placements = self.framing.placements((sample.image.shape[0], sample.image.shape[1]))
            if len(placements) > self.views_at_once:
                maps += self._predict(waiting)
                waiting = []
                maps.append(self._in_parts(sample, placements))
                continue
            one = self._framed(sample, placements)
            views = sum(len(other.placements) for other in waiting) + len(placements)
            if waiting and (views > self.views_at_once or _form(one) != _form(waiting[0])):
                maps += self._predict(waiting)
                waiting = []
            waiting.append(one)
        return maps + self._predict(waiting)

    def _framed(self, sample: Sample, placements: list[Placement]) -> FramedSample:
        prompt = self.prompter(sample, placements, np.random.default_rng(0))
        views = [frame_image(sample.image, placement) for placement in placements]
        return FramedSample(sample.id, sample.class_name, torch.stack(views), placements, prompt, None)

    def _predict(self, framed: Sequence[FramedSample]) -> list[np.ndarray]:
        if not framed:
            return []
        maps = [values.cpu().numpy() for values in self.segmenter.predict(collate(framed))]
        for one, values in zip(framed, maps, strict=True):
            if not np.isfinite(values).all():  # it exceeds no threshold: the photo would be called free of defects
                raise UserError(
                    f"{one.id}: its map holds NaN or infinity; check the weights", code="E-PREDICT-NOT-FINITE"
                )
        return maps

    def _in_parts(self, sample: Sample, placements: list[Placement]) -> np.ndarray:
        """Predict a photo's tiles a few at a time; each part's blend counts with the weight of its tiles.

        Weights are kept only of the rows that tiles still to come may cover: only the map is held for the whole photo.
        """
        height, width = placements[0].file_hw
        total = np.zeros((height, width), np.float32)
        first, weight = 0, np.zeros((0, width), np.float32)  # of the rows from `first` on
        for start in range(0, len(placements), self.views_at_once):
            part = placements[start : start + self.views_at_once]
            # minus the pixel that `_in_window` adds
            done = max(first, min(p.crop_xyxy[1] for p in placements[start:]) - 1)
            _divide(total[first:done], weight[: done - first])
            first, weight = done, weight[done - first :]
            framed = self._framed(sample, part)
            (rows, columns), framed.placements = _in_window(part)
            missing = rows.stop - first - len(weight)
            if missing > 0:
                weight = np.concatenate([weight, np.zeros((missing, width), np.float32)])
            covered = coverage(framed.placements).numpy()
            total[rows, columns] += self._predict([framed])[0] * covered
            weight[rows.start - first : rows.stop - first, columns] += covered
        _divide(total[first:], weight)
        return total


def _divide(total: np.ndarray, weight: np.ndarray) -> None:
    """Turn sums of weighted values into values in [0, 1], in place; rows beyond those of `weight` are covered by no tile."""
    total = total[: len(weight)]
    np.divide(total, np.maximum(weight, 1e-12), out=total)
    np.clip(total, 0, 1, out=total)


def _in_window(placements: Sequence[Placement]) -> tuple[tuple[slice, slice], list[Placement]]:
    """Return the rows and columns that some tiles cover together, and the tiles as placed in that part of the file.

    Only that part is held while they are predicted, so that memory does not grow with the number of parts.
    """
    x0, y0 = (min(p.crop_xyxy[i] for p in placements) for i in (0, 1))
    x1, y1 = (max(p.crop_xyxy[i] for p in placements) for i in (2, 3))
    if len(placements) == 1:  # a tile is blended as a tile, which a view of a whole file is not: show one pixel more
        height, width = placements[0].file_hw
        x0, y0, x1, y1 = max(0, x0 - 1), max(0, y0 - 1), min(width, x1 + 1), min(height, y1 + 1)
    moved = [
        replace(p, file_hw=(y1 - y0, x1 - x0), crop_xyxy=(left - x0, top - y0, right - x0, bottom - y0))
        for p in placements
        for left, top, right, bottom in [p.crop_xyxy]
    ]
    return (slice(y0, y1), slice(x0, x1)), moved


def _form(framed: FramedSample) -> tuple[bool, bool]:
    return framed.prompt.points_xy is None, framed.prompt.boxes_xyxy is None
