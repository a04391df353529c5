"""One box around the image area of each view: a prompt that needs no ground truth."""

from __future__ import annotations

import numpy as np
import torch

from samis.config import PromptConfig
from samis.core.contracts import Placement, Prompt, Sample
from samis.core.geometry import boxes_to_frame


class WholePrompter:
    """Prompt with the box around each view's image area, without padding."""

    kind = "whole"
    sees_truth = False

    def __init__(self, config: PromptConfig | None = None) -> None:
        del config  # nothing to choose

    def __call__(self, sample: Sample, placements: list[Placement], rng: np.random.Generator) -> Prompt:
        """Return a prompt with boxes (V, 1, 4)."""
        boxes = [boxes_to_frame(np.asarray([p.crop_xyxy]), p) for p in placements]
        return Prompt(self.kind, boxes_xyxy=torch.from_numpy(np.stack(boxes)))
