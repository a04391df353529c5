"""On the GPU, with TF32 off, everything equals stock segment_anything: encoder, decoder, masks; and a cache the encoder."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator

from samis.config import PromptConfig, SegmenterConfig
from samis.core.contracts import Prompt, Sample
from samis.core.geometry import Framing, frame_image, inside
from samis.data import load_dataset
from samis.data.pipeline.loading import FramedDataset, collate
from samis.prompts import build_prompter
from samis.sam import attention
from samis.sam.architectures import ARCHITECTURES, build_sam
from samis.sam.attention import use_fused_attention
from samis.sam.candidates import MaskGeneration, filter_masks
from samis.sam.embeddings import EmbeddingCache
from samis.sam.encoder_options import compile_encoder
from samis.sam.forward import answer, embed, encode, image_tokens
from samis.sam.segmenter import SamSegmenter
from samis.sam.weights import load_sam

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("exact")]

TOLERANCE = 1e-4
"""Of the largest value, float32 with TF32 off; kernels of a GPU add up in another order than stock's."""


def spread_sam(architecture, frame_px, device):
    torch.manual_seed(0)
    sam = build_sam(architecture, frame_px=frame_px)
    for parameter in sam.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    return sam.to(device)


def apart(one, other):
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("architecture", ["default", "vit_b"])
def test_encoder_forward_and_gradient(device, small, note, architecture):
    name, side = (SegmenterConfig().architecture, 256) if architecture == "default" else ("vit_b", 1024)
    stock = spread_sam(name, 64 if small else side, device).image_encoder
    if small:
        stock.blocks = stock.blocks[:3]
    ours = copy.deepcopy(stock)
    use_fused_attention(ours)
    images = torch.randn(1, 3, stock.img_size, stock.img_size, device=device)
    results = []
    for encoder in (ours, stock):
        given = images.clone().requires_grad_()
        out = encoder(given)
        out.square().mean().backward()
        results.append((out.detach(), given.grad, encoder.blocks[0].attn.rel_pos_h.grad))
    errors = [apart(mine, theirs) for mine, theirs in zip(*results, strict=True)]
    note(f"encoder {name} at {stock.img_size}: output, gradient, position's gradient apart {errors}")
    assert max(errors) < TOLERANCE


@pytest.mark.parametrize("architecture", ["vit_b", "vit_h"])
def test_positions_added_inside_the_kernel(device, small, note, architecture):
    """Global attention of 64 x 64 places in half precision: no further from stock's float32 than twice stock's own half."""
    if small:
        pytest.skip(
            "needs a GPU; on a CPU tests/unit/sam/test_position_kernel.py runs the kernel in Triton's interpreter"
        )
    stock = (
        spread_sam(architecture, 1024, device)
        .image_encoder.blocks[ARCHITECTURES[architecture].global_attention[0]]
        .attn
    )
    ours = copy.deepcopy(stock)
    use_fused_attention(ours)
    assert attention._kernel, "Triton is missing"
    x = torch.randn(2, 64, 64, stock.qkv.in_features, device=device)
    with torch.no_grad():
        wanted = stock(x)
        for dtype in (torch.bfloat16, torch.float16):
            with torch.autocast(device, dtype):
                mine, theirs = apart(ours(x).float(), wanted), apart(stock(x).float(), wanted)
            note(f"positions inside the kernel, {architecture}, {dtype}: {mine:.1e} from float32, stock {theirs:.1e}")
            assert mine <= 2 * theirs
    assert attention._kernel, "the kernel could not be built"


@pytest.mark.parametrize("kind", ["empty", "box", "point"])
def test_batched_decoder(device, kind):
    side, views = 256, 3
    sam = spread_sam(SegmenterConfig().architecture, side, device)
    draw = torch.Generator().manual_seed(1)
    raw = (torch.rand(views, 3, side, side, generator=draw) * 255).to(device)
    corners = torch.rand(views, 4, 2, 2, generator=draw) * side
    prompt = {
        "empty": Prompt("empty"),
        "box": Prompt("box", boxes_xyxy=torch.cat([corners.amin(2), corners.amax(2)], -1)),
        "point": Prompt("point", points_xy=corners, point_labels=torch.ones(views, 4, 2, dtype=torch.int64)),
    }[kind].to(device)
    with torch.no_grad():
        ours = answer(sam, sam.preprocess(raw), prompt)
    for view in range(views):
        record = {"image": raw[view], "original_size": (side, side)}
        if prompt.boxes_xyxy is not None:
            record["boxes"] = prompt.boxes_xyxy[view]
        if prompt.points_xy is not None and prompt.point_labels is not None:
            record |= {"point_coords": prompt.points_xy[view], "point_labels": prompt.point_labels[view]}
        (stock,) = sam([record], multimask_output=True)
        assert apart(ours.logits[view, :, 1:], stock["low_res_logits"]) < TOLERANCE
        assert apart(ours.iou[view, :, 1:], stock["iou_predictions"]) < TOLERANCE


def test_segment_everything_keeps_the_same_masks(device, small):
    limits, points, side = MaskGeneration(0.3, 0.5), 6 if small else 16, 256
    sam = load_sam(SegmenterConfig().architecture).to(device)
    drawn = load_dataset("procedural", split="test", surface="steel", count=2)
    config = PromptConfig(kind="grid", points_per_side=points)
    segmenter = SamSegmenter(sam, prompt=config, mask_generation=limits)
    generator = SamAutomaticMaskGenerator(
        sam, points_per_side=points, pred_iou_thresh=limits.min_iou, stability_score_thresh=limits.min_stability
    )
    placement = Framing(side).placements((side, side))[0]
    compared = 0
    for sample in (drawn[index] for index in range(2)):
        image = np.ascontiguousarray(np.tile(sample.image, (2, 2, 1))[:side, :side])
        with torch.inference_mode():
            seen = image_tokens(sam, encode(sam, frame_image(image, placement)[None].to(device)))
            prompt = build_prompter(config)(Sample("a", image), [placement], np.random.default_rng(0)).to(device)
            shown = inside([placement], device)[:, 0, ::4, ::4]
            ((logits, iou),) = filter_masks(segmenter.decode_grid(seen, prompt), shown, limits)
            large = torch.nn.functional.interpolate(logits[None], (side, side), mode="bilinear")[0] > 0
        records = generator.generate(image)
        assert abs(len(records) - len(large)) <= 0.01 * len(records), "a mask at a threshold may fall either way"
        theirs = {record["predicted_iou"]: record["segmentation"] for record in records}
        for mask, value in zip(large.cpu().numpy(), iou.tolist(), strict=True):
            same = theirs[min(theirs, key=lambda known: abs(known - value))]
            compared += (mask & same).sum() / (mask | same).sum() >= 0.99
    assert compared >= 1


def test_cached_embeddings_are_the_encoders_in_half_precision(device, tmp_path):
    sam = load_sam(SegmenterConfig().architecture).to(device).requires_grad_(False)
    framed = FramedDataset(load_dataset("procedural", split="train", surface="steel", count=4), Framing(256))
    given = collate([framed[index] for index in range(4)]).to(device)
    with torch.no_grad():
        wanted = embed(sam, given).half().float()
        first, second = (EmbeddingCache(tmp_path)(sam, given) for _ in range(2))
    assert first.device.type == second.device.type == device
    assert torch.equal(first, wanted) and torch.equal(second, wanted)


def test_a_compiled_encoder_gives_the_same_with_and_without_gradient(device, small, capsys, note):
    """vit_b at 1024, windows and a global block; nothing may fall back in silence."""
    encoder = spread_sam("vit_b", 64 if small else 1024, device).image_encoder.requires_grad_(False)
    encoder.blocks = encoder.blocks[: 1 if small else 3]
    use_fused_attention(encoder)
    compiled = copy.deepcopy(encoder)
    # A CPU's compiler takes minutes where other work runs; a trial traces only.
    compile_encoder(compiled, **({"compiler": partial(torch.compile, backend="aot_eager")} if small else {}))
    images = torch.randn(2, 3, encoder.img_size, encoder.img_size, device=device)
    errors = []
    for half, tolerance in ((False, TOLERANCE), (True, 3e-2)):
        with torch.autocast(device, torch.bfloat16, enabled=half), torch.no_grad():
            errors.append(apart(compiled(images).float(), encoder(images).float()))
        assert errors[-1] < tolerance
    grads = []
    for each in (compiled, encoder):
        given = images[:1].clone().requires_grad_()
        each(given).square().mean().backward()
        grads.append(given.grad)
    errors.append(apart(*grads))
    note(f"compiled encoder: float32, bf16, gradient apart {errors}")
    assert errors[-1] < TOLERANCE
    assert "going on without" not in capsys.readouterr().err
