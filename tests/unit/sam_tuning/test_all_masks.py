"""``adapter.all_masks``: masks 1 to 3 and the predicted IoU are trained too; automatic mask generation finds objects then."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import samis.sam.architectures as architectures
from samis.adapters import apply_adapter
from samis.config import AdapterConfig, LossConfig, PromptConfig
from samis.core.contracts import Prompt, Sample
from samis.core.geometry import Framing
from samis.core.losses import MaskLoss
from samis.data.pipeline.batching import collate
from samis.data.pipeline.framed_dataset import FramedDataset
from samis.errors import UserError
from samis.prompts import build_prompter
from samis.sam.all_masks import all_masks_loss
from samis.sam.architectures import Architecture, build_sam
from samis.sam.forward import SamOutput, answer
from samis.sam.tuning import SamTuning

SIDE = 64
UNFREEZE = AdapterConfig(name="unfreeze", preset="full", all_masks=True)
CASES = {
    "unfreeze": UNFREEZE,
    "lora": AdapterConfig(encoder=["qkv"], decoder=["full"], all_masks=True),
    "peft": AdapterConfig(name="peft", method="lokr", encoder=["mlp"], decoder=["full"], all_masks=True),
    "bottleneck": AdapterConfig(name="bottleneck", encoder=["mlp"], decoder=["full"], all_masks=True),
}


@pytest.fixture(autouse=True, scope="module")
def _small():
    patch = pytest.MonkeyPatch()
    small = Architecture(
        48, 2, 3, (1,), window=3, frame_px=SIDE, prompt_dim=32, decoder_mlp_dim=64, decoder_heads=2, iou_hidden_dim=32
    )  # fmt: skip
    patch.setitem(architectures.ARCHITECTURES, "small", small)
    yield
    patch.undo()


def fresh():
    torch.manual_seed(0)
    return build_sam("small")


class Squares:
    """One image with two bright squares on a dark surface."""

    name, split = "squares", "train"

    def __len__(self):
        return 1

    def __getitem__(self, index):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[6:26, 8:28] = mask[36:60, 34:58] = True
        noise = np.random.default_rng(0).integers(0, 30, (SIDE, SIDE, 1))
        return Sample("a", np.repeat(mask[:, :, None] * 200 + noise, 3, 2).astype(np.uint8), mask, "scratch")


def batch_of(**prompt):
    prompter = build_prompter(PromptConfig(**prompt), training=True, objects=True)
    return collate([FramedDataset(Squares(), Framing(SIDE), prompter, training=True)[0]])


def learner(config=UNFREEZE):
    return SamTuning(
        apply_adapter(fresh(), config), LossConfig(), segmenter=lambda sam: None, all_masks=config.all_masks
    )


@pytest.mark.parametrize("case", CASES)
def test_the_promises_hold_with_the_whole_decoder_and_not_without(case, tmp_path):
    tuning, views = learner(CASES[case]), batch_of(kind="point")
    with torch.no_grad():
        before = answer(fresh(), views.images, views.prompt)
    optimizer = torch.optim.Adam([p for group in tuning.parameter_groups() for p in group["params"]], 1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        tuning(views).total.backward()
        optimizer.step()
    sam = tuning.adapted.sam
    trained = {name.replace(".modules_to_save.default", "") for name, _, _ in tuning.adapted.trained()}
    decoder = {name for name, _ in fresh().named_parameters() if name.startswith("mask_decoder.")}
    assert decoder <= trained and not any(name.startswith("prompt_encoder.") for name in trained)
    assert all(parameter.grad is not None for _, _, parameter in tuning.adapted.trained())
    tokens = next(p for name, p in sam.named_parameters() if ".mask_tokens." in name and p.requires_grad)
    assert (tokens.grad.abs().sum(1) > 0).sum() >= 2  # that of mask 0, and those of the best ones
    with torch.no_grad():
        tuned = answer(sam, views.images, views.prompt)
        with tuning.adapted.disabled():
            off = answer(sam, views.images, views.prompt)
    assert torch.equal(off.logits, before.logits) and torch.equal(off.iou, before.iou)
    assert not torch.allclose(tuned.iou, before.iou, atol=1e-4)
    tuning.save(tmp_path)
    again = learner(CASES[case])
    again.load(tmp_path)
    with torch.no_grad():
        assert torch.equal(answer(again.adapted.sam, views.images, views.prompt).iou, tuned.iou)
    if case != "bottleneck":
        stock = fresh()
        stock.load_state_dict(tuning.adapted.merged())
        with torch.no_grad():
            assert torch.allclose(answer(stock, views.images, views.prompt).iou, tuned.iou, atol=1e-5)


def test_the_loss_by_hand():
    """Two prompts of a view, 4 x 4 cells: the better of masks 1 to 3 counts, and the squared errors of four predicted IoUs."""
    generator = torch.Generator().manual_seed(0)
    output = SamOutput(torch.randn(1, 2, 4, 4, 4, generator=generator), torch.rand(1, 2, 4, generator=generator))
    objects = torch.zeros(1, 2, 8, 8, dtype=torch.uint8)
    objects[0, 0, :4, :4], objects[0, 1, 4:, 2:] = 1, 1
    prompt = Prompt("point", present=torch.tensor([[True, True]]), objects=objects)
    truth, shown = objects.amax(1, keepdim=True).float(), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    alternatives, error = all_masks_loss(output, prompt, truth, shown, MaskLoss(LossConfig()))
    small = objects[0, :, ::2, ::2].float()  # every cell is all inside or all outside
    best, errors = [], []
    for number in range(2):
        masks = [output.logits[:, number, k][:, None] for k in range(4)]
        best.append(
            min(
                MaskLoss(LossConfig())(m, small[number][None, None], torch.ones(1, 1, 4, 4) > 0)[0].item()
                for m in masks[1:]
            )
        )
        for k, mask in enumerate(masks):
            inside, wanted = mask[0, 0] > 0, small[number] > 0
            actual = (inside & wanted).sum() / (inside | wanted).sum()
            errors.append((output.iou[0, number, k] - actual).item() ** 2)
    assert alternatives.item() == pytest.approx(np.mean(best), abs=1e-6)
    assert error.item() == pytest.approx(np.mean(errors), abs=1e-6)
    # A prompt that is not present counts for nothing.
    alone = replace(prompt, present=torch.tensor([[True, False]]))
    assert all_masks_loss(output, alone, truth, shown, MaskLoss(LossConfig()))[0].item() == pytest.approx(
        best[0], abs=1e-6
    )


def test_points_bring_their_own_objects_also_in_a_mixed_batch():
    prompt = batch_of(kind="point").prompt
    assert prompt.objects.shape == (1, 2, SIDE, SIDE) and prompt.objects.dtype == torch.uint8
    for number in range(2):
        x, y = prompt.points_xy[0, number, 0].long().tolist()
        assert prompt.objects[0, number, y, x] == 1
    assert prompt.objects.sum((0, 2, 3)).tolist() == [400, 576]
    ((views, own),) = batch_of(mix={"box": 1.0}).prompt.by_kind()
    assert views == [0] and torch.equal(own.objects, prompt.objects)
    assert build_prompter(PromptConfig(kind="box"), training=True).objects is False


def test_mixed_views_have_the_losses_of_each_kind_alone():
    tuning = learner()
    kinds = ("empty", "point", "box")
    samples = []
    for kind in kinds:
        prompter = build_prompter(PromptConfig(kind=kind), training=True, objects=True)
        samples.append(FramedDataset(Squares(), Framing(SIDE), prompter, training=True)[0])
    alone = [tuning(collate([sample])).total for sample in samples]
    mixed = [
        replace(s, prompt=replace(s.prompt, kind="mixed", view_kinds=(kind,)))
        for s, kind in zip(samples, kinds, strict=True)
    ]
    together = tuning(collate(mixed))
    assert torch.allclose(together.total, torch.stack(alone).mean(), atol=1e-5)
    assert {"masks_1_to_3", "predicted_iou"} <= set(together.parts)


def found_objects(sam, views):
    """Return for each square the largest IoU of masks 1 to 3 that SAM itself rates above a half, over a grid of points."""
    steps = torch.arange(4, SIDE, 8).float()
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(1, -1, 1, 2)
    with torch.no_grad():
        output = answer(
            sam,
            views.images,
            Prompt("grid", points_xy=grid, point_labels=torch.ones(grid.shape[:3], dtype=torch.int64)),
        )
    kept = output.logits[0, :, 1:][output.iou[0, :, 1:] > 0.5] > 0
    objects = views.prompt.objects[0, :, ::4, ::4] > 0
    best = []
    for each in objects:
        overlap, union = (kept & each).sum((1, 2)), (kept | each).sum((1, 2))
        best.append(float((overlap / union.clamp_min(1)).max()) if len(kept) else 0.0)
    return best


def test_automatic_mask_generation_finds_the_objects_after_tuning_and_not_without():
    views = batch_of(kind="point")
    best = {}
    for every in (True, False):
        tuning = learner(replace(UNFREEZE, all_masks=every))
        optimizer = torch.optim.Adam([p for group in tuning.parameter_groups() for p in group["params"]], 3e-3)
        for _ in range(150):
            optimizer.zero_grad()
            tuning(views).total.backward()
            optimizer.step()
        best[every] = found_objects(tuning.adapted.sam, views)
    assert min(best[True]) > 0.8
    assert max(best[False]) < 0.5


@pytest.mark.parametrize(
    "config",
    [
        AdapterConfig(all_masks=True),
        AdapterConfig(name="unfreeze", preset="norm", all_masks=True),
        AdapterConfig(name="none", decoder=["full"], all_masks=True),
    ],
)
def test_a_decoder_that_is_not_trained_whole_is_refused(config):
    with pytest.raises(UserError, match="E-ADAPTER-CONFLICT"):
        apply_adapter(fresh(), config)
