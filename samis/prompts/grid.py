"""Automatic mask generation: one point prompt for each cell of a grid over the image.

Paper: Kirillov et al., Segment Anything, ICCV 2023 (doi 10.1109/ICCV51070.2023.00371), appendix B (32 x 32 points).
Code: points equal those of segment_anything's automatic mask generator (half a cell from the image's edge).
"""

from __future__ import annotations

import numpy as np
import torch

from samis.config import PromptConfig
from samis.core.contracts import Placement, Prompt, Sample
from samis.core.geometry import points_to_frame
from samis.errors import UserError


class GridPrompter:
    """Prompt at the centre of each cell of a square grid over each view's image area (never over padding).

    Args:
        config: ``points_per_side`` is used.

    Raises:
        UserError: if ``points_per_side`` is below 1.
    """

    kind = "grid"
    sees_truth = False

    def __init__(self, config: PromptConfig) -> None:
        if config.points_per_side < 1:
            raise UserError(
                f"prompt.points_per_side: expected at least 1, got {config.points_per_side}", code="E-PROMPT-OPTION"
            )
        steps = (np.arange(config.points_per_side) + 0.5) / config.points_per_side
        x, y = np.meshgrid(steps, steps)
        self._unit_xy = np.stack([x.ravel(), y.ravel()], axis=1)

    def __call__(self, sample: Sample, placements: list[Placement], rng: np.random.Generator) -> Prompt:
        """Return a prompt with points (V, n * n, 1, 2), row by row, each on the object."""
        views = []
        for placement in placements:
            x0, y0, x1, y1 = placement.crop_xyxy
            file_xy = self._unit_xy * (x1 - x0, y1 - y0) + (x0, y0)
            views.append(points_to_frame(file_xy, placement)[:, None])
        points = torch.from_numpy(np.stack(views))
        return Prompt(self.kind, points_xy=points, point_labels=torch.ones(points.shape[:3], dtype=torch.int64))
