"""Samples in, maps out: the same framing, tiles and blending as in scoring, in bounded memory.

A photo of more tiles than fit into one batch is answered in parts, so that its size is bounded by the memory for one map,
not for all of its tiles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from samis.contracts import Placement, Sample, Segmenter
from samis.data.batching import FramedSample, collate
from samis.data.frame import Framing, coverage, frame_image
from samis.prompts import Prompter


class Predictor:
    """Makes maps of samples.

    Args:
        segmenter: who answers. framing: how photos enter the frame. prompter: what is asked.
        views_at_once: photos or tiles that go through the network together.
    """

    def __init__(self, segmenter: Segmenter, framing: Framing, prompter: Prompter, *, views_at_once: int = 8) -> None:
        self.segmenter, self.framing, self.prompter, self.views_at_once = segmenter, framing, prompter, views_at_once

    def maps(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        """Return one (H, W) float32 map in [0, 1] for each sample.

        Raises:
            UserError: a prompt that does not fit its sample.
        """
        found: list[np.ndarray] = []
        waiting: list[FramedSample] = []
        for sample in samples:
            placements = self.framing.placements((sample.image.shape[0], sample.image.shape[1]))
            if len(placements) > self.views_at_once:
                found += self._answer(waiting)
                waiting = []
                found.append(self._in_parts(sample, placements))
                continue
            one = self._framed(sample, placements)
            views = sum(len(other.placements) for other in waiting) + len(placements)
            if waiting and (views > self.views_at_once or _form(one) != _form(waiting[0])):
                found += self._answer(waiting)
                waiting = []
            waiting.append(one)
        return found + self._answer(waiting)

    def _framed(self, sample: Sample, placements: list[Placement]) -> FramedSample:
        prompt = self.prompter(sample, placements, np.random.default_rng(0))
        views = [frame_image(sample.image, placement) for placement in placements]
        return FramedSample(sample.id, sample.class_name, torch.stack(views), placements, prompt, None)

    def _answer(self, framed: Sequence[FramedSample]) -> list[np.ndarray]:
        if not framed:
            return []
        return [values.cpu().numpy() for values in self.segmenter.predict(collate(framed))]

    def _in_parts(self, sample: Sample, placements: list[Placement]) -> np.ndarray:
        """Answer a photo's tiles a few at a time; each part's blend counts with the weight of its tiles."""
        total = np.zeros(placements[0].file_hw, np.float32)
        weight = np.zeros_like(total)
        for start in range(0, len(placements), self.views_at_once):
            part = placements[start : start + self.views_at_once]
            covered = coverage(part).numpy()
            total += self._answer([self._framed(sample, part)])[0] * covered
            weight += covered
        blended: np.ndarray = (total / np.maximum(weight, 1e-12)).clip(0, 1)
        return blended


def _form(framed: FramedSample) -> tuple[bool, bool]:
    return framed.prompt.points_xy is None, framed.prompt.boxes_xyxy is None
