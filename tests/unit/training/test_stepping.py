"""A step that does not wait: weights cast once as autocast casts them, no number read, bad steps masked and named later."""

import copy
import math
from contextlib import nullcontext

import pytest
import test_trainer
import torch
from safetensors.torch import load_file
from torch import nn
from torch.profiler import ProfilerActivity, profile

from samis.config import OptimConfig, SegmenterConfig
from samis.core.contracts import Batch, Evaluation, Loss
from samis.errors import UserError
from samis.sam.architectures import build_sam
from samis.training import half_weights
from samis.training.half_weights import HalfWeights
from samis.training.step_results import first_non_finite


class Net(nn.Module):
    """A frozen and a trained convolution, a norm, linears, one of them used twice."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Conv2d(2, 8, 3, padding=1).requires_grad_(False)
        self.conv, self.norm = nn.Conv2d(8, 8, 1), nn.LayerNorm(8)
        self.twice, self.out = nn.Linear(8, 8), nn.Linear(8, 1, bias=False)

    def forward(self, x):
        x = self.norm(self.conv(self.frozen(x)).flatten(2).mT)
        return self.out(self.twice(self.twice(x))).float().square().mean()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_weights_give_autocasts_own_numbers(dtype):
    torch.manual_seed(0)
    ours = Net()
    plain, x = copy.deepcopy(ours), torch.randn(3, 2, 5, 5)
    half = HalfWeights(ours, dtype)
    for _ in range(2):
        with torch.autocast("cpu", dtype):
            expected = plain(x)
        expected.backward()
        with half.swapped():
            with torch.autocast("cpu", dtype):
                actual = ours(x)
            actual.backward()
        assert torch.equal(actual, expected)
        for (name, one), two in zip(ours.named_parameters(), plain.parameters(), strict=True):
            assert (one.grad is None) == (two.grad is None), name
            assert one.grad is None or torch.equal(one.grad, two.grad), name
        assert all(type(each) is nn.Parameter and each.dtype == torch.float32 for each in ours.parameters())
        with torch.no_grad():
            ours.frozen.weight += 1  # the kept copy is computed again
            plain.frozen.weight += 1


def test_frozen_convolutions_are_laid_out_once_on_a_gpu(monkeypatch):
    """On a CPU as if it were one: the copy is kept with channels last, its numbers are the same; trained ones stay as they are."""
    torch.manual_seed(0)
    net = Net()
    half = HalfWeights(net, torch.bfloat16)
    monkeypatch.setattr(
        half_weights, "_layout", lambda weight: torch.channels_last if weight.ndim == 4 else torch.preserve_format
    )
    for _ in range(2):
        with half.swapped():
            weight, trained = net.frozen.weight, net.conv.weight
            assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
            assert trained.is_contiguous()
    assert torch.equal(weight, net.frozen.weight.bfloat16())
    assert net.frozen.weight.is_contiguous(), "what is saved is laid out as ever"


@pytest.mark.parametrize("frozen", [False, True])
def test_a_constant_norm_is_folded_into_the_convolution_before_it(frozen, monkeypatch):
    """Exact algebra: folded in float32, the trunk gives the numbers that it gives with its norms, forward and gradient."""
    torch.manual_seed(0)
    trunk = build_sam(SegmenterConfig().architecture, frame_px=64).image_encoder.patch_embed
    for name, buffer in trunk.inner.named_buffers():
        spread = 0.2 * torch.randn_like(buffer)
        buffer.copy_(1 + spread.abs() if name.endswith(("weight", "var")) else spread)
    trunk.inner.requires_grad_(not frozen)
    images = torch.randn(2, 3, 64, 64)
    weight = torch.randn_like(trunk(images))
    norms, real = [], torch.nn.functional.batch_norm
    monkeypatch.setattr(
        torch.nn.functional, "batch_norm", lambda *given, **named: norms.append(1) or real(*given, **named)
    )
    half = HalfWeights(trunk, torch.float32)

    def seen(swapped):
        norms.clear()
        with swapped:
            tokens = trunk(images)
            (tokens * weight).mean().backward()
        grads = [each.grad.clone() for each in trunk.parameters() if each.requires_grad]
        trunk.zero_grad()
        return len(norms), [tokens.detach(), *grads]

    for _ in range(2):
        count, wanted = seen(nullcontext())
        none, actual = seen(half.swapped())
        assert count > 30 and none == 0
        assert len(actual) == (7 if frozen else 40)
        assert all((one - other).norm() < 1e-3 * other.norm() for one, other in zip(actual, wanted, strict=True))
        trunk.inner.bn1.running_var.mul_(1.5)  # what is kept is computed again


def test_half_weights_come_back_after_an_error():
    net = Net()
    held = dict(net.named_parameters())
    with pytest.raises(ZeroDivisionError), HalfWeights(net, torch.bfloat16).swapped():
        assert net.twice.weight.dtype == torch.bfloat16 and net.norm.weight.dtype == torch.float32
        raise ZeroDivisionError
    assert all(each is held[name] for name, each in net.named_parameters())


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_no_number_is_read_between_two_log_lines(tmp_path, precision):
    profiler = profile(activities=[ProfilerActivity.CPU])

    class Watched(test_trainer.Batches):
        def __iter__(self):
            for index, batch in enumerate(super().__iter__()):
                if index == 2:
                    profiler.start()
                if index == 7:
                    profiler.stop()
                yield batch

    test_trainer.trainer(tmp_path, loader=Watched(9), epochs=1, log_every=100, mixed_precision=precision).fit()
    read, steps = [], 0
    for event in profiler.events():
        above, parent = [], event.cpu_parent
        while parent is not None:
            above, parent = [*above, parent.name], parent.cpu_parent
        steps += event.name == "aten::_fused_adamw_"
        if event.name == "aten::_local_scalar_dense" and "aten::_fused_adamw_" not in above:
            read.append(above)
    assert steps == 5
    assert not read


def test_a_bad_step_leaves_weights_moments_and_count(tmp_path):
    class Bad(test_trainer.Line):
        calls = 0

        def forward(self, batch):
            loss = super().forward(batch)
            self.calls += 1
            return Loss(loss.total * (math.inf if self.calls > 4 else 1.0), {})

    run = test_trainer.trainer(tmp_path, learner=Bad(), epochs=1, on_nan="skip", nan_limit=9)
    run.fit()
    (state,) = run.optimizer.state_dict()["state"].values()
    assert state["step"] == 4
    four = test_trainer.trainer(tmp_path / "four", loader=test_trainer.Batches(4), epochs=1)
    four.total_steps = run.total_steps
    four.fit()
    assert torch.equal(run.learner.weight, four.learner.weight)
    assert torch.equal(state["exp_avg"], four.optimizer.state_dict()["state"][0]["exp_avg"])


def test_the_message_names_the_gradient_nearest_to_the_loss(tmp_path):
    class Poison(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * math.nan

    class Deep(test_trainer.Line):
        def __init__(self):
            super().__init__()
            self.first, self.middle, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)

        def forward(self, batch):
            x = Poison.apply(self.middle(self.first(batch.images[:, 0, 0])))
            return Loss(self.last(x).square().mean(), {})

        def parameter_groups(self):
            return [{"params": list(self.parameters()), "lr_scale": 1.0, "decay": False}]

    learner = Deep()
    before = copy.deepcopy(learner.state_dict())
    with pytest.raises(UserError) as caught:
        test_trainer.trainer(tmp_path, learner=learner, mixed_precision="bf16").fit()
    line = str(caught.value)
    assert line.startswith(
        "step 0: the gradient's norm is nan after images image_0_0; counted from the loss backwards, "
    )
    assert "the first such gradient is that of middle.bias; " in line
    assert "training.mixed_precision=no shows" in line and "mixed_precision=bf16" not in line
    assert all(torch.equal(each, before[name]) for name, each in learner.state_dict().items())
    assert first_non_finite(["a", "b"], torch.ones(2)) is None


class Uneven(test_trainer.Batches):
    """Nine images in micro-batches of eight and one."""

    def __len__(self):
        return 2

    def __iter__(self):
        images = torch.randn(9, 2, 1, 4, generator=torch.Generator().manual_seed(self.epoch))
        for part in (slice(0, 8), slice(8, 9)):
            chosen = images[part]
            yield Batch([f"image_{number}" for number in range(9)[part]], chosen, [])


def test_each_of_nine_images_counts_once(tmp_path):
    """Known fault: the lone image of the last micro-batch counted eightfold."""

    class Seen(test_trainer.Line):
        def forward(self, batch):
            error = ((batch.images[:, 0, 0] @ self.weight - batch.images[:, 1, 0, 0]) ** 2).mean()
            return Loss(error, {})

    learner, gradients = Seen(), []
    learner.weight.register_post_accumulate_grad_hook(lambda p: gradients.append(p.grad.clone()))
    optim = OptimConfig(lr=0.05, clip_norm=0.0)
    test_trainer.trainer(
        tmp_path, learner=learner, loader=Uneven(), epochs=1, batch_size=8, accumulation=2, optim=optim
    ).fit()
    images = torch.cat([batch.images for batch in Uneven()])
    weight = torch.zeros(4, requires_grad=True)
    ((images[:, 0, 0] @ weight - images[:, 1, 0, 0]) ** 2).mean().backward()
    torch.testing.assert_close(gradients[-1], weight.grad, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("largest", [0.1, 0.0])
def test_gradients_are_clipped_to_their_common_norm(tmp_path, largest):
    """The optimizer gets the gradient that torch's own clipping leaves; 0 never clips."""
    learner, raw, given = test_trainer.Line(), [], []
    learner.weight.register_post_accumulate_grad_hook(lambda p: raw.append(p.grad.clone()))
    run = test_trainer.trainer(tmp_path, learner=learner, epochs=1, optim=OptimConfig(lr=0.05, clip_norm=largest))
    run.optimizer.optimizer.register_step_pre_hook(lambda *_: given.append(learner.weight.grad.clone()))
    run.fit()
    assert len(raw) == len(given) == 6 and min(gradient.norm() for gradient in raw) > 0.2
    for before, after in zip(raw, given, strict=True):
        expected = torch.nn.Parameter(torch.zeros_like(before))
        expected.grad = before
        if largest:
            torch.nn.utils.clip_grad_norm_([expected], largest)
        torch.testing.assert_close(after, expected.grad)


def test_ema_is_validated_and_kept(tmp_path):
    seen, validated, decay = [], [], 0.9

    def validate(learner):
        validated.append(learner.weight.detach().clone())
        return Evaluation({"error": -float(len(validated))})

    learner = test_trainer.Line()
    learner.register_forward_pre_hook(lambda *_: seen.append(learner.weight.detach().clone()))
    run = test_trainer.trainer(tmp_path, learner=learner, validate=validate, epochs=2, ema=decay)
    run.fit()
    average = torch.zeros(4)
    for number, weight in enumerate([*seen[1:], learner.weight.detach()], 1):
        share = min(decay, (1 + number) / (10 + number))
        average = share * average + (1 - share) * weight
    torch.testing.assert_close(validated[-1], average)
    torch.testing.assert_close(load_file(tmp_path / "best" / "model.safetensors")["weight"], average)
    assert not torch.equal(learner.weight.detach(), average), (
        "the run itself goes on from the weights, not their average"
    )


def test_ema_resumes_exactly(tmp_path):
    whole = test_trainer.trainer(tmp_path / "whole", ema=0.95)
    whole.fit()
    with pytest.raises(KeyboardInterrupt):
        test_trainer.trainer(tmp_path / "cut", ema=0.95, save_every_steps=1, loader=Cut()).fit()
    second = test_trainer.trainer(tmp_path / "cut", ema=0.95)
    second.fit()
    for name in ("best", "last"):
        one, two = (load_file(tmp_path / run / name / "model.safetensors")["weight"] for run in ("whole", "cut"))
        assert torch.equal(one, two)


class Cut(test_trainer.Batches):
    def __iter__(self):
        for index, batch in enumerate(super().__iter__()):
            if self.epoch == 1 and index == 4:
                raise KeyboardInterrupt
            yield batch


@pytest.mark.parametrize("decay", [-0.1, 1.0, math.nan])
def test_other_decays_are_refused(tmp_path, decay):
    with pytest.raises(UserError, match=r"training\.ema.*E-TRAIN-RANGE"):
        test_trainer.trainer(tmp_path, ema=decay)
