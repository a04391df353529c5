"""Automatic mask generation keeps the very masks of segment_anything's generator, real small ones of a trained SAM among them."""

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator

from samis.config import PromptConfig
from samis.core.contracts import Sample
from samis.core.geometry import Framing, frame_image, inside
from samis.data import load_dataset
from samis.prompts import build_prompter
from samis.sam.candidates import MaskGeneration, filter_masks
from samis.sam.forward import encode, image_tokens
from samis.sam.segmenter import SamSegmenter
from samis.sam.weights import load_sam

POINTS = 10


@pytest.mark.parametrize("limits", [MaskGeneration(0.3, 0.5), MaskGeneration(0.2, 0.6, nms_iou=0.9)])
def test_the_same_masks_one_to_one(limits):
    torch.set_num_threads(1)
    sam, hw = load_sam("samis_lite"), (256, 256)
    drawn = load_dataset("procedural", split="test", surface="steel", count=2)
    images = [np.ascontiguousarray(np.tile(drawn[index].image, (2, 2, 1))[:256, :256]) for index in range(2)]
    placement = Framing(256).placements(hw)[0]
    config = PromptConfig(kind="grid", points_per_side=POINTS)
    prompter = build_prompter(config)
    segmenter = SamSegmenter(sam, prompt=config, mask_generation=limits)
    generator = SamAutomaticMaskGenerator(
        sam, points_per_side=POINTS, pred_iou_thresh=limits.min_iou, stability_score_thresh=limits.min_stability,
        box_nms_thresh=limits.nms_iou,
    )  # fmt: skip
    compared = 0
    for image in images:
        with torch.inference_mode():
            seen = image_tokens(sam, encode(sam, frame_image(image, placement)[None]))
            prompt = prompter(Sample("a", image), [placement], np.random.default_rng(0))
            shown = inside([placement])[:, 0, ::4, ::4]
            ((logits, iou),) = filter_masks(segmenter.decode_grid(seen, prompt), shown, limits)
            large = torch.nn.functional.interpolate(logits[None], hw, mode="bilinear", align_corners=False)[0] > 0
        records = generator.generate(image)
        assert len(records) == len(large)
        theirs = {round(record["predicted_iou"], 5): record["segmentation"] for record in records}
        for mask, value in zip(large.numpy(), iou.tolist(), strict=True):
            same = theirs[min(theirs, key=lambda known: abs(known - value))]
            assert (mask & same).sum() / (mask | same).sum() >= 0.99
            compared += 1
    assert compared >= 5
