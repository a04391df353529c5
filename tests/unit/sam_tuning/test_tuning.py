"""SamTuning: the loss it returns, what learns from it, and the union of several answers."""

import pytest
import torch

import samis.sam.architectures as architectures
from samis.adapters import apply_adapter
from samis.config import AdapterConfig, LossConfig
from samis.core.contracts import Batch, Learner, Prompt
from samis.core.geometry import inside, place
from samis.core.losses import MaskLoss
from samis.sam.architectures import Architecture, build_sam
from samis.sam.forward import answer
from samis.sam.tuning import NOTHING, SamTuning, unite

SIDE = 64


@pytest.fixture(autouse=True, scope="module")
def _small():
    patch = pytest.MonkeyPatch()
    small = Architecture(
        48, 2, 3, (1,), window=3, frame_px=SIDE, prompt_dim=32, decoder_mlp_dim=64, decoder_heads=2, iou_hidden_dim=32
    )  # fmt: skip
    patch.setitem(architectures.ARCHITECTURES, "small", small)
    yield
    patch.undo()


def learner(**adapter):
    torch.manual_seed(0)
    adapted = apply_adapter(build_sam("small"), AdapterConfig(**adapter))
    return SamTuning(adapted, LossConfig(), segmenter=lambda sam: ("scored", sam), pretrained_lr_scale=0.1)


def batch(prompt=None):
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(2, 1, SIDE, SIDE)
    masks[0, :, 10:30, 8:40] = 1
    placements = [place((32, 48), (0, 0, 48, 32), SIDE), place((40, 40), (0, 0, 40, 40), SIDE, sample=1)]
    views = torch.randn(2, 3, SIDE, SIDE, generator=generator)
    return Batch(["a", "b"], views, placements, prompt or Prompt(), masks)


def test_loss_is_that_of_mask_0_inside():
    tuning, given = learner(), batch()
    loss = tuning(given)
    logits = answer(tuning.adapted.sam, given.images, Prompt()).logits[:, 0, :1]
    logits = torch.nn.functional.interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=False)
    shown = inside(given.placements)
    each, _ = MaskLoss(LossConfig())(logits, given.masks, shown)
    assert torch.allclose(loss.total, each.mean(), atol=1e-6)
    assert set(loss.all_parts()) == {"bce", "iou", "predicted_share", "truth_share"}
    # The first view is 43 rows high in its frame, the second fills it; the mask is 20 x 32.
    assert loss.all_parts()["truth_share"].item() == pytest.approx(640 / (43 * 64 + 64 * 64))
    predicted = ((logits > 0) & shown).sum() / shown.sum()
    assert loss.all_parts()["predicted_share"].item() == pytest.approx(predicted.item())
    assert isinstance(tuning, Learner)


def test_unite_takes_the_largest_of_the_present():
    answers = torch.tensor([[1.0, 5.0], [2.0, 3.0], [4.0, 9.0]])[:, :, None, None]
    present = torch.tensor([[True, False], [True, True], [False, False]])
    assert unite(answers, present).flatten().tolist() == [1.0, 3.0, NOTHING]
    assert unite(answers, None).flatten().tolist() == [5.0, 3.0, 9.0]


def test_several_prompts_and_absent_ones_train_finitely():
    boxes = torch.tensor([[[8.0, 8, 40, 32], [0, 0, 9, 9]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    present = torch.tensor([[True, True], [False, False]])
    tuning = learner()
    loss = tuning(batch(Prompt("box", boxes_xyxy=boxes, present=present, sees_truth=True)))
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert all(torch.isfinite(p.grad).all() for p in tuning.parameters() if p.requires_grad)


def test_a_frozen_encoder_keeps_no_graph():
    tuning = learner()
    seen = []
    tuning.adapted.sam.image_encoder.register_forward_hook(lambda *a: seen.append(a[2].requires_grad))
    tuning(batch())
    assert seen == [False]
    tuned = learner(encoder=["q", "v"])
    tuned.adapted.sam.image_encoder.register_forward_hook(lambda *a: seen.append(a[2].requires_grad))
    tuned(batch())
    assert seen == [False, True]


@pytest.mark.parametrize(
    "adapter", [{}, {"name": "bottleneck"}, {"name": "unfreeze"}, {"encoder": ["q"], "decoder": ["full"]}]
)
def test_loss_falls_and_frozen_weights_stay(adapter):
    tuning = learner(**adapter).train()
    frozen = {n: p.clone() for n, p in tuning.named_parameters() if not p.requires_grad}
    rows = {n: p.detach()[1:].clone() for n, p in tuning.named_parameters() if "mask_tokens" in n}
    groups = [{"params": g["params"], "weight_decay": 0.1 * g["decay"]} for g in tuning.parameter_groups()]
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    losses = []
    for _ in range(12):
        loss = tuning(batch())
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[-1] < losses[0] * 0.99
    now = dict(tuning.named_parameters())
    assert frozen and all(torch.equal(now[name], value) for name, value in frozen.items())
    assert all(torch.equal(now[name][1:], value) for name, value in rows.items())


def test_sam_stays_in_evaluation_mode():
    tuning = learner(dropout=0.1).train()
    assert tuning.training and not tuning.adapted.sam.training and not tuning.adapted.sam.image_encoder.training
    assert any(m.training for m in tuning.adapted.sam.modules() if isinstance(m, torch.nn.Dropout))


def test_a_resume_point_holds_only_what_learns():
    tuning = learner(encoder=["v"])
    with torch.no_grad():
        for parameter in tuning.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
    state = tuning.state_dict()
    assert set(state) == {name for name, p in tuning.named_parameters() if p.requires_grad}
    again = learner(encoder=["v"])
    again.load_state_dict(state)
    assert torch.equal(again(batch()).total, tuning(batch()).total)
    with pytest.raises(RuntimeError):
        again.load_state_dict({name: tensor for name, tensor in state.items() if "blocks.0" in name})


def test_save_load_and_segmenter(tmp_path):
    tuning = learner(name="unfreeze", preset="norm")
    tuning.parameter_groups()[0]["params"][0].data.add_(1)
    tuning.save(tmp_path)
    again = learner(name="unfreeze", preset="norm")
    again.load(tmp_path)
    assert torch.equal(again(batch()).total, tuning(batch()).total)
    assert again.segmenter() == ("scored", again.adapted.sam)
    assert {group["lr_scale"] for group in tuning.parameter_groups()} == {0.1}


def test_no_masks_is_an_error():
    given = batch()
    given.masks = None
    with pytest.raises(ValueError, match="masks"):
        learner()(given)
