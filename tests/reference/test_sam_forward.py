"""The batched, differentiable forward equals segment_anything's per-image loop, whatever the prompt."""

from unittest import mock

import pytest
import torch
from segment_anything.modeling import Sam

from samis.core.contracts import Prompt
from samis.sam.architectures import ARCHITECTURES, Architecture, build_sam
from samis.sam.forward import answer, decode, decode_single, embed_prompts, encode

SIDE = 128


def small_sam() -> Sam:
    """Return a small Sam of vit_b's shape (windows, global blocks, plain patches) with spread random weights."""
    small = Architecture(48, 4, 3, (1, 3), window=3, frame_px=SIDE, prompt_dim=32, decoder_mlp_dim=64, decoder_heads=4)
    torch.manual_seed(0)
    with mock.patch.dict(ARCHITECTURES, small=small):
        sam = build_sam("small")
    for parameter in sam.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return sam


@pytest.fixture(scope="module")
def sam() -> Sam:
    return small_sam()


def prompt_of(kind: str, views: int) -> Prompt:
    draw = torch.Generator().manual_seed(views)
    points = torch.rand(views, 3, 2, 2, generator=draw) * SIDE
    labels = torch.randint(0, 2, (views, 3, 2), generator=draw)
    corners = torch.rand(views, 3, 2, 2, generator=draw) * SIDE
    boxes = torch.cat([corners.amin(2), corners.amax(2)], -1)
    return {
        "empty": Prompt("empty"),
        "box": Prompt("box", boxes_xyxy=boxes),
        "point": Prompt("point", points_xy=points[:, :, :1], point_labels=labels[:, :, :1]),
        "points": Prompt("point", points_xy=points, point_labels=labels),
        "both": Prompt("both", points_xy=points, point_labels=labels, boxes_xyxy=boxes),
    }[kind]


def stock_inputs(images: torch.Tensor, prompt: Prompt) -> list[dict]:
    records = []
    for view, image in enumerate(images):
        record = {"image": image, "original_size": (SIDE, SIDE)}
        if prompt.points_xy is not None:
            record |= {"point_coords": prompt.points_xy[view], "point_labels": prompt.point_labels[view]}
        if prompt.boxes_xyxy is not None:
            record |= {"boxes": prompt.boxes_xyxy[view]}
        records.append(record)
    return records


@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("kind", ["empty", "box", "point", "points", "both"])
def test_masks_and_iou_equal_stock(sam, kind, views):
    raw = torch.rand(views, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(7)) * 255
    prompt = prompt_of(kind, views)
    with torch.no_grad():
        output = answer(sam, sam.preprocess(raw), prompt)
    for multimask, ours in ((False, slice(0, 1)), (True, slice(1, 4))):
        for view, stock in enumerate(sam(stock_inputs(raw, prompt), multimask_output=multimask)):
            torch.testing.assert_close(output.logits[view, :, ours], stock["low_res_logits"], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(output.iou[view, :, ours], stock["iou_predictions"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["empty", "box", "point"])
def test_gradients_reach_every_room(sam, kind):
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    output = answer(sam, images, prompt_of(kind, 2))
    sam.zero_grad()
    (output.logits.square().mean() + output.iou.square().mean()).backward()
    silent = {name for name, parameter in sam.named_parameters() if parameter.grad is None or not parameter.grad.any()}
    used = {"empty": set(), "box": {"2", "3"}, "point": {"0", "1"}}[kind]
    named = {f"prompt_encoder.point_embeddings.{number}.weight" for number in used}
    assert not {name for name in silent if not name.startswith("prompt_encoder.")}
    assert not named & silent


def test_gradients_of_a_batch_are_those_of_its_images_alone(sam):
    images = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    prompt = prompt_of("box", 3)
    weight = sam.mask_decoder.mask_tokens.weight

    def gradient(rows: list[int]) -> torch.Tensor:
        sam.zero_grad()
        part = Prompt("box", boxes_xyxy=prompt.boxes_xyxy[rows])
        answer(sam, images[rows], part).logits.sigmoid().mean((1, 2, 3, 4)).sum().backward()
        return weight.grad.clone()

    torch.testing.assert_close(gradient([0, 1, 2]), sum(map(gradient, ([0], [1], [2]))), atol=1e-7, rtol=1e-4)


def test_a_prompt_for_other_views_is_refused(sam):
    embeddings = encode(sam, torch.zeros(2, 3, SIDE, SIDE))
    with pytest.raises(ValueError, match="expected 2 views x 3 prompts, got 9 in all"):
        decode(sam, embeddings, prompt_of("box", 3))


@pytest.mark.parametrize("kind", ["empty", "box", "points"])
def test_mask_0_alone_is_mask_0_of_all(sam, kind):
    prompt, embeddings = prompt_of(kind, 2), encode(sam, torch.randn(2, 3, SIDE, SIDE))
    torch.testing.assert_close(decode_single(sam, embeddings, prompt), decode(sam, embeddings, prompt).logits[:, :, 0])


@pytest.mark.parametrize("kind", ["point", "points", "both"])
def test_points_are_embedded_bit_for_bit_as_by_sam(sam, kind):
    """Also those that are none (label -1), without asking the device which they are."""
    prompt = prompt_of(kind, 2)
    prompt.point_labels[0, 0, 0] = -1
    points = prompt.points_xy.flatten(0, 1), prompt.point_labels.flatten(0, 1)
    boxes = None if prompt.boxes_xyxy is None else prompt.boxes_xyxy.flatten(0, 1)
    wanted = sam.prompt_encoder(points=points, boxes=boxes, masks=None)[0]
    assert torch.equal(embed_prompts(sam, prompt, 2), wanted)


def test_positions_follow_their_weights():
    sam, other = small_sam(), small_sam()
    images = torch.randn(1, 3, SIDE, SIDE)
    answer(sam, images, Prompt("empty"))
    for each in (sam, other):
        each.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.mul_(0.5)
    assert torch.equal(*(answer(each, images, Prompt("empty")).logits for each in (sam, other)))
