"""Oracle points: the innermost pixel of each defect of the ground truth, every row scored with them is marked."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from samis.config import PromptConfig
from samis.core.contracts import Placement, Prompt, Sample
from samis.core.geometry import points_to_frame
from samis.prompts.box import check_per, cropped_truths, framed_objects, parts_of, stack_padded


class PointPrompter:
    """Prompt with one point on each connected defect, or with one for the image.

    Args:
        config: ``per`` (component or image) is used.

    Attributes:
        objects: whether prompts bring the framed truth of each point.

    Raises:
        UserError: an option out of its range.
    """

    kind = "point"
    sees_truth = True

    def __init__(self, config: PromptConfig) -> None:
        check_per(config.per)
        self.objects = False
        self.per = config.per

    def __call__(self, sample: Sample, placements: list[Placement], rng: np.random.Generator) -> Prompt:
        """Return a prompt with points (V, P, 1, 2) on the object; rows and views without a defect are not `present`.

        Raises:
            UserError: if the sample has no mask.
        """
        views, parts = [], []
        for truth, placement in zip(cropped_truths(sample, placements, self.kind), placements, strict=True):
            corner = np.asarray(placement.crop_xyxy[:2], dtype=np.float32)
            parts.append(parts_of(truth, self.per))
            points = [innermost_xy(part) + corner for part in parts[-1]]
            views.append(points_to_frame(np.reshape(points, (-1, 1, 2)), placement))
        points_xy, present = stack_padded(views)
        labels = torch.ones(points_xy.shape[:3], dtype=torch.int64)
        objects = framed_objects(parts, placements) if self.objects else None
        return Prompt(
            self.kind, points_xy=points_xy, point_labels=labels, present=present, sees_truth=True, objects=objects
        )


def innermost_xy(part: np.ndarray) -> np.ndarray:
    """Return the pixel (x, y) of a mask that is farthest from its outside; beyond the array is outside too.

    Args:
        part: (h, w) bool.

    >>> innermost_xy(np.ones((3, 5), dtype=bool)).tolist()
    [1.0, 1.0]
    """
    depth = cv2.distanceTransform(np.pad(part.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return np.asarray([x, y], dtype=np.float32)
