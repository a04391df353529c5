"""The drawn batch that the baselines' tests share."""

import numpy as np
import pytest
import torch

from samis.core.contracts import Batch
from samis.core.geometry import Framing, frame_image, frame_mask


def drawn(*, frame_px=64, tile_px=0, seed=0):
    """Two images of odd sizes, one long, each with padding in its frame; the first holds a defect, the second none."""
    rng = np.random.default_rng(seed)
    framing = Framing(frame_px, tile_px=tile_px)
    views, masks, placements = [], [], []
    for sample, (height, width) in enumerate([(37, 53), (21, 90)]):
        image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), dtype=bool)
        mask[5:15, 8:30] = sample == 0
        for placement in framing.placements((height, width), sample=sample):
            views.append(frame_image(image, placement))
            masks.append(frame_mask(mask, placement))
            placements.append(placement)
    return Batch(["a", "b"], torch.stack(views), placements, masks=torch.stack(masks))


@pytest.fixture
def draw_batch():
    return drawn
