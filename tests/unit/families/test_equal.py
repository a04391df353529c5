"""Every family answers as its own library does: pixels, masks and predicted IoU, for every prompt; a batch equals a loop."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny_models import NAMES, OF_TRANSFORMERS, batch_of, build, sample
from torch import nn

from samis.config import PromptConfig
from samis.core.contracts import Prompt
from samis.core.geometry import Framing, frame_image
from samis.sam.candidates import MaskGeneration
from samis.sam.families import FAMILIES
from samis.sam.interface import family_of
from samis.sam.merge import MASK_RULES
from samis.sam.segmenter import SamSegmenter

SIDE = 64
PROMPTS = {
    "empty": Prompt(),
    "box": Prompt("box", boxes_xyxy=torch.tensor([[[3.0, 4, 30, 40], [10, 10, 50, 20]]] * 2)),
    "point": Prompt(
        "point",
        points_xy=torch.tensor([[[[9.0, 20]], [[30, 31]]]] * 2),
        point_labels=torch.ones(2, 2, 1, dtype=torch.long),
    ),
}


def images(model) -> torch.Tensor:
    side = family_of(model).side(model)
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def as_library(model, views, prompt, *, several):
    """Return masks (V, P, M, h, w) and IoU of the library's own forward; SAM-HQ's with the one fault of transformers undone."""
    inputs = {"input_boxes": prompt.boxes_xyxy, "input_points": prompt.points_xy, "input_labels": prompt.point_labels}
    handles = []
    if family_of(model).name == "sam_hq":
        # The library drops the image that its transformer returns; hand it to the layer that should read it.
        decoder, seen = model.mask_decoder, []
        handles = [
            decoder.transformer.register_forward_hook(lambda module, args, output: seen.append(output[1])),
            decoder.upscale_conv1.register_forward_pre_hook(
                lambda module, args: seen[-1].transpose(2, 3).reshape(args[0].shape)
            ),
        ]
    with torch.no_grad():
        output = model(pixel_values=views, multimask_output=several, **inputs)
    for handle in handles:
        handle.remove()
    return output.pred_masks, output.iou_scores


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_masks_are_the_librarys(name, kind):
    model, prompt = build(name), PROMPTS[kind]
    family = FAMILIES[name]
    with torch.no_grad():
        output = family.decode(model, family.prepare(model, family.encode(model, images(model))), prompt)
    masks, iou = as_library(model, images(model), prompt, several=True)
    order = output.iou[:, :, 1:].argsort(dim=2, descending=name == "sam_hq") if name == "sam_hq" else None
    ours, rated = output.logits[:, :, 1:], output.iou[:, :, 1:]
    if order is not None:  # the library sorts SAM-HQ's by predicted IoU
        ours, rated = ours.take_along_dim(order[..., None, None], 2), rated.take_along_dim(order, 2)
    assert masks.std() > 0.01
    torch.testing.assert_close(ours, masks, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rated, iou, atol=1e-5, rtol=1e-5)
    single, _ = as_library(model, images(model), prompt, several=False)
    torch.testing.assert_close(family.single(model, output), single[:, :, 0], atol=1e-5, rtol=1e-5)


def test_sam_2_falls_back_where_mask_0_is_unstable():
    model = build("sam2")
    family = FAMILIES["sam2"]
    with torch.no_grad():
        output = family.decode(model, family.prepare(model, family.encode(model, images(model))), PROMPTS["box"])
    output.logits[0, 0, 0] = 5.0  # sure everywhere
    chosen = family.single(model, output)
    assert torch.equal(chosen[0, 0], output.logits[0, 0, 0])
    assert not torch.equal(chosen[1, 1], output.logits[1, 1, 0])
    model.config.mask_decoder_config.dynamic_multimask_via_stability = False
    assert torch.equal(family.single(model, output), output.logits[:, :, 0])


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
@pytest.mark.parametrize("hw", [(40, 90), (70, 30), (64, 64)])
def test_pixels_are_the_processors(name, hw):
    transformers = pytest.importorskip("transformers")
    image = sample(hw).image
    framing = Framing(SIDE, preprocessing=FAMILIES[name].preprocessing)
    ours = frame_image(image, framing.placements(hw)[0])
    sizes = {"size": {"height": SIDE, "width": SIDE}}
    if name == "sam_hq":
        padded = {"pad_size": sizes["size"], "size": {"longest_edge": SIDE}}
        processor = transformers.SamImageProcessorPil(**padded)
    else:
        processor = getattr(transformers, "Sam2ImageProcessor" if name == "sam2" else "Sam3ImageProcessor")(**sizes)
    theirs = processor(Image.fromarray(image), return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["sam2", "sam3_tracker"])
def test_a_map_is_the_processors(name):
    """File -> frame -> masks -> file, against the library's processor, forward and post-processing."""
    transformers = pytest.importorskip("transformers")
    model, given = build(name), sample((40, 90))
    side = FAMILIES[name].side(model)
    if name == "sam2":
        images = transformers.Sam2ImageProcessor(size={"height": side, "width": side})
        processor = transformers.Sam2Processor(images, target_size=side)
    else:
        images = transformers.Sam3ImageProcessor(size={"height": side, "width": side})
        processor = transformers.Sam3TrackerProcessor(images, target_size=side)
    batch = batch_of(name, given, kind="box")
    boxes = [[[8.0, 5, 20, 15], [20, 30, 24, 36]]]
    inputs = processor(Image.fromarray(given.image), input_boxes=boxes, return_tensors="pt")
    torch.testing.assert_close(batch.prompt.boxes_xyxy, inputs["input_boxes"], atol=1e-4, rtol=1e-5)
    with torch.no_grad():
        output = model(**{key: inputs[key] for key in ("pixel_values", "input_boxes")}, multimask_output=False)
    masks = processor.post_process_masks(output.pred_masks, inputs["original_sizes"], binarize=False)[0]
    ours = SamSegmenter(model, prompt=PromptConfig(kind="box"), mask_rule="single").predict(batch)[0]
    union = F.interpolate(output.pred_masks[0].amax(0)[None], (40, 90), mode="bilinear")[0, 0]
    torch.testing.assert_close(ours, union.sigmoid(), atol=1e-5, rtol=1e-5)
    assert masks.shape[-2:] == ours.shape


@pytest.mark.parametrize("kind", ["empty", "grid", "box", "point"])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_equals_a_loop(name, kind):
    model, given = build(name), [sample((48, 80)), sample((30, 60), seed=1)]
    limits = MaskGeneration(min_iou=-100.0, min_stability=0.0, nms_iou=0.9)
    segmenter = SamSegmenter(model, prompt=PromptConfig(kind=kind, points_per_side=4), mask_generation=limits)
    together = segmenter.predict_all_rules(batch_of(name, *given, kind=kind))
    alone = [segmenter.predict_all_rules(batch_of(name, each, kind=kind)) for each in given]
    assert set(together) == set(segmenter.rules())
    assert set(MASK_RULES) <= set(together) or kind == "empty"
    for rule, maps in together.items():
        for number, each in enumerate(maps):
            assert tuple(each.shape) == given[number].image.shape[:2]
            torch.testing.assert_close(each, alone[number][rule][0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_chunks_of_prompts_change_nothing(name):
    model, given = build(name), sample()
    box = PromptConfig(kind="box")
    whole = SamSegmenter(model, prompt=box).predict(batch_of(name, given, kind="box"))[0]
    parts = SamSegmenter(model, prompt=box, prompt_chunk=1).predict(batch_of(name, given, kind="box"))[0]
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-5)
    assert whole.std() > 100 * 1e-5, "a map that is flat within the tolerance shows nothing"


@pytest.mark.parametrize("name", NAMES)
def test_a_grid_draws_only_what_may_be_kept(name):
    model = build(name)
    family, batch = family_of(model), batch_of(name, sample(), sample(seed=1), kind="grid")
    with torch.no_grad():
        seen = family.prepare(model, family.encode(model, batch.images))
        every = family.decode(model, seen, batch.prompt)
        limit = float(every.iou[:, :, 1:].amax(2).median())
        output, views = family.decode_sure(model, seen, batch.prompt, limit)
    sure = (every.iou[:, :, 1:] > limit).any(2)
    assert 0 < len(views) == int(sure.sum()) < sure.numel()
    assert views.tolist() == sure.nonzero()[:, 0].tolist()
    torch.testing.assert_close(output.logits[:, 0], every.logits[sure], atol=1e-5, rtol=1e-5)


def test_tiny_vit_is_timms():
    """The stages that timm's TinyViT has in common, by its own modules with the same weights."""
    tiny_vit = pytest.importorskip("timm.models.tiny_vit")
    encoder: nn.Module = build("mobile_sam").image_encoder
    stock = tiny_vit.TinyVit(
        embed_dims=(16, 24, 24, 32),
        depths=(1, 1, 1, 1),
        num_heads=(2, 2, 2, 2),
        window_sizes=(3, 3, 4, 3),
        drop_path_rate=0.0,
    ).eval()
    stock.stages[3].downsample.conv2.conv.stride = (1, 1)  # MobileSAM keeps the resolution there
    names = {}
    for name in stock.state_dict():
        own = name.replace("patch_embed.conv1", "patch_embed.seq.0").replace("patch_embed.conv2", "patch_embed.seq.2")
        own = own.replace(".conv.weight", ".c.weight").replace("stages.", "layers.")
        if ".downsample." in own:
            stage = int(own.split(".")[1])
            own = own.replace(f"layers.{stage}.", f"layers.{stage - 1}.")
        if not name.startswith("head."):
            names[name] = own
    assert len(names) > 80
    state = encoder.state_dict()
    stock.load_state_dict({name: state[own] for name, own in names.items()}, strict=False)
    views = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        theirs = encoder.neck(stock.stages(stock.patch_embed(views)))
        torch.testing.assert_close(encoder(views), theirs, atol=1e-5, rtol=1e-5)
