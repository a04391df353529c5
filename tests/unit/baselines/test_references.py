import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu

from samis.baselines.references import BoxReference, defect_side, otsu_threshold
from samis.core.contracts import Batch, Prompt
from samis.core.geometry import Framing, frame_image
from samis.errors import UserError


def batch_of(image, boxes):
    placements = Framing(16).placements(image.shape[:2])
    views = torch.stack([frame_image(image, placement) for placement in placements])
    prompt = Prompt("box", boxes_xyxy=torch.tensor([boxes], dtype=torch.float32), sees_truth=True)
    return Batch(["a"], views, placements, prompt)


def test_the_threshold_is_skimages():
    rng = np.random.default_rng(0)
    for _ in range(20):
        grey = np.concatenate([rng.normal(70, 15, 300), rng.normal(150, 20, 200)]).clip(0, 255).astype(np.uint8)
        assert otsu_threshold(grey) == threshold_otsu(grey)


def test_the_side_away_from_the_rim_is_the_defect():
    grey = np.full((5, 5), 90, np.uint8)
    grey[1:4, 1:4] = 20
    assert (defect_side(grey) == (grey == 20)).all()
    assert (defect_side(255 - grey) == (grey == 20)).all()
    assert defect_side(np.full((2, 2), 7, np.uint8)).all()


def test_filled_and_otsu_box_on_a_drawn_defect():
    image = np.full((16, 16, 3), 120, np.uint8)
    image[5:8, 4:10] = 10
    batch = batch_of(image, [[2.0, 3.0, 12.0, 10.0]])
    filled = BoxReference("filled_box").predict(batch)[0]
    assert filled.sum() == 10 * 7 and filled[3:10, 2:12].all()
    otsu = BoxReference("otsu_box").predict(batch)[0]
    assert otsu.sum() == 18 and otsu[5:8, 4:10].all()


def test_boxes_that_are_not_there_count_for_nothing():
    image = np.full((16, 16, 3), 120, np.uint8)
    batch = batch_of(image, [[0.0, 0.0, 4.0, 4.0], [8.0, 8.0, 12.0, 12.0]])
    batch.prompt.present = torch.tensor([[True, False]])
    assert BoxReference("filled_box").predict(batch)[0].sum() == 16


def test_without_boxes_it_says_what_to_set():
    batch = batch_of(np.zeros((16, 16, 3), np.uint8), [[0.0, 0.0, 1.0, 1.0]])
    batch.prompt = Prompt()
    with pytest.raises(UserError, match="E-NET-NO-BOXES"):
        BoxReference("otsu_box").predict(batch)
