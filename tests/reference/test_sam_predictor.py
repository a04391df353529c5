"""Our street (frame, prompt, segmenter) gives the masks of segment_anything's own predictor and mask generator."""

import copy
from unittest import mock

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide

from samis.config import PromptConfig
from samis.core.contracts import Batch, Prompt, Sample
from samis.core.geometry import Framing, boxes_to_frame, frame_image, inside, points_to_frame
from samis.prompts import build_prompter
from samis.sam.architectures import ARCHITECTURES, Architecture, build_sam
from samis.sam.candidates import MaskGeneration, filter_masks
from samis.sam.forward import encode, image_tokens
from samis.sam.segmenter import SamSegmenter

SIDE = 128
SIZES = pytest.mark.parametrize("hw", [(128, 128), (77, 131), (301, 200), (40, 33)])


@pytest.fixture(scope="module")
def sam() -> Sam:
    small = Architecture(48, 4, 3, (1, 3), window=3, frame_px=SIDE, prompt_dim=32, decoder_mlp_dim=64, decoder_heads=4)
    torch.manual_seed(0)
    with mock.patch.dict(ARCHITECTURES, small=small):
        sam = build_sam("small")
    for parameter in sam.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    for mlp in sam.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight.data *= 30
    return sam


def picture(hw: tuple[int, int]) -> np.ndarray:
    """Return soft blobs, so that masks have shapes and not noise."""
    noise = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(hw[0])) * 255
    smooth = torch.nn.functional.interpolate(noise, hw, mode="bicubic", align_corners=False)[0]
    return smooth.clamp(0, 255).permute(1, 2, 0).to(torch.uint8).numpy()


@SIZES
def test_preprocessing_equals_stock(sam, hw):
    image = picture(hw)
    scaled = ResizeLongestSide(SIDE).apply_image(image)
    stock = sam.preprocess(torch.as_tensor(scaled).permute(2, 0, 1).float())
    ours = frame_image(image, Framing(SIDE).placements(hw)[0])
    torch.testing.assert_close(ours, stock, atol=1e-5, rtol=0)


def ask(sam: Sam, image: np.ndarray, prompt: Prompt, rule: str) -> np.ndarray:
    placements = Framing(SIDE).placements(image.shape[:2])
    batch = Batch(["a"], frame_image(image, placements[0])[None], placements, prompt)
    segmenter = SamSegmenter(sam, prompt=PromptConfig(kind=prompt.kind), mask_rule=rule)
    return (segmenter.predict(batch)[0] > 0.5).numpy()


@SIZES
@pytest.mark.parametrize("kind", ["empty", "box", "point", "points"])
def test_masks_equal_the_predictors(sam, hw, kind):
    image = picture(hw)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    placement = Framing(SIDE).placements(hw)[0]
    height, width = hw
    xy = np.float32([[width * 0.3, height * 0.4], [width * 0.8, height * 0.7]])
    box = np.float32([width * 0.2, height * 0.1, width * 0.7, height * 0.9])
    framed_xy = torch.from_numpy(points_to_frame(xy, placement))[None, None]
    framed_box = torch.from_numpy(boxes_to_frame(box[None], placement))[None]
    labels = torch.tensor([[[1, 0]]])
    ours, stock, multimask = {
        "empty": (Prompt("empty"), {}, False),
        "box": (Prompt("box", boxes_xyxy=framed_box), {"box": box}, True),
        "point": (Prompt("point", points_xy=framed_xy[:, :, :1], point_labels=labels[:, :, :1]),
                  {"point_coords": xy[:1], "point_labels": np.array([1])}, True),
        "points": (Prompt("point", points_xy=framed_xy, point_labels=labels),
                   {"point_coords": xy, "point_labels": np.array([1, 0])}, False),
    }[kind]  # fmt: skip
    masks, iou, _ = predictor.predict(**stock, multimask_output=multimask)
    best = masks[int(iou.argmax())]
    assert 0 < best.mean() < 1
    # A pixel on the threshold may fall either way by rounding.
    assert (ask(sam, image, ours, "top_iou") != best).mean() < 1e-4


def test_grid_points_equal_the_generators(sam):
    hw = (77, 131)
    prompter = build_prompter(PromptConfig(kind="grid", points_per_side=5))
    ours = prompter(Sample("a", picture(hw)), Framing(SIDE).placements(hw), np.random.default_rng(0))
    unit = SamAutomaticMaskGenerator(sam, points_per_side=5).point_grids[0]
    stock = ResizeLongestSide(SIDE).apply_coords(unit * np.array(hw)[::-1], hw)
    np.testing.assert_allclose(ours.points_xy[0, :, 0].numpy(), stock, rtol=1e-5)


def test_everything_keeps_the_masks_of_the_generator(sam):
    """One to one, on a grid four times coarser. A random network's boxes are all alike: none is thinned out (1.0)."""
    sam = copy.deepcopy(sam)
    for mlp in sam.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight.data *= 20  # surer masks, some of them stable
    image, hw = picture((128, 128)), (128, 128)
    placements = Framing(SIDE).placements(hw)
    limits = MaskGeneration(min_iou=0.1, min_stability=0.7, nms_iou=1.0)
    generator = SamAutomaticMaskGenerator(
        sam,
        points_per_side=6,
        pred_iou_thresh=limits.min_iou,
        stability_score_thresh=limits.min_stability,
        box_nms_thresh=limits.nms_iou,
    )
    stock = torch.from_numpy(np.stack([record["segmentation"] for record in generator.generate(image)]))
    config = PromptConfig(kind="grid", points_per_side=6)
    prompt = build_prompter(config)(Sample("a", image), placements, np.random.default_rng(0))
    segmenter = SamSegmenter(sam, prompt=config, mask_generation=limits)
    with torch.no_grad():
        seen = image_tokens(sam, encode(sam, frame_image(image, placements[0])[None]))
        kept = filter_masks(segmenter.decode_grid(seen, prompt), inside(placements)[:, 0, ::4, ::4], limits)
    logits = torch.nn.functional.interpolate(kept[0][0][None], hw, mode="bilinear", align_corners=False)[0]
    overlap = torch.einsum("khw,mhw->km", stock.float(), (logits > 0).float())
    iou = overlap / (stock.flatten(1).sum(1)[:, None] + (logits > 0).flatten(1).sum(1)[None] - overlap)
    assert 10 < len(stock) < 100
    assert (iou.amax(1) > 0.99).sum() >= len(stock) - 1  # a mask on the threshold may fall either way
    assert (iou.amax(0) > 0.99).sum() >= len(logits) - 1
