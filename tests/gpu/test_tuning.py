"""Tuning on a GPU: no NaN in 400 steps of bf16, every precision trains and reloads, a resumed run is the whole run."""

import contextlib
import json

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from samis.config import Experiment, apply_overrides
from samis.core.contracts import Evaluation
from samis.data import load_dataset
from samis.errors import Interrupted
from samis.factory import build_batch_maker, build_learner
from samis.jobs.load import load_run
from samis.jobs.train import train
from samis.training.signals import StopRequest
from samis.training.trainer import Selection, Trainer

pytestmark = pytest.mark.gpu

LORA = [
    "adapter.encoder=[q, v, mlp]",
    "adapter.decoder=[attention, mlp]",
    "data.augment=light",
    "metrics.names=[s_measure]",
]


def drawn(count: int, *overrides: str) -> Experiment:
    return apply_overrides(
        Experiment(),
        [
            "data.name=procedural",
            f"data.options={{surface: steel, count: {count}}}",
            "data.check=false",
            *LORA,
            *overrides,
        ],
    )


class Attention(TorchDispatchMode):
    """Collects the names of the attention kernels that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "scaled_dot_product" in str(func):
            self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def test_400_steps_in_bf16_keep_every_gradient_finite(device, small, note):
    """lr 4e-3 at batch 16: with cuDNN's attention the gradient's norm was NaN after 113 to 263 steps (H200)."""
    steps, size, images = (3, 2, 4) if small else (400, 16, 256)
    config = drawn(images, f"training.batch_size={size}", "frame.frame_px=256", "training.workers=0")
    learner = build_learner(config).to(device).train()
    dataset = load_dataset("procedural", split="train", surface="steel", count=images)
    batches = [batch.to(device) for batch in build_batch_maker(config, training=True)(dataset)]
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=4e-3)
    with Attention() as attention, torch.autocast(device, torch.bfloat16):
        learner(batches[0]).total.backward()
    optimizer.zero_grad()
    assert attention.names and not any("cudnn" in name for name in attention.names)
    if device == "cuda":
        assert not any("math" in name for name in attention.names), "the (N, N) matrix must not be made"
    losses, norms = [], []
    for step in range(steps):
        with torch.autocast(device, torch.bfloat16):
            loss = learner(batches[step % len(batches)]).total
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(trained, 1.0))
        losses.append(loss.detach())
        optimizer.step()
        optimizer.zero_grad()
    bad = (~(torch.stack(norms).isfinite() & torch.stack(losses).isfinite())).nonzero().flatten().tolist()
    assert not bad, f"not finite at steps {bad[:5]}"
    first, last = (float(torch.stack(part).float().mean()) for part in (losses[:20], losses[-20:]))
    note(f"400 steps in bf16: loss {first:.3f} -> {last:.3f}, kernels {', '.join(sorted(attention.names))}")
    assert small or last < first, "nothing was learnt, so finite gradients prove nothing"


@pytest.mark.parametrize("precision", ["auto", "bf16", "fp16", "no"])
def test_every_precision_trains_and_reloads(device, small, tmp_path, precision):
    if small and precision == "fp16":
        pytest.skip("fp16 needs a GPU")
    out = tmp_path / "run"
    overrides = [f"training.out={out}", f"training.mixed_precision={precision}", "training.gallery=0"]
    size = ["training.epochs=1", "frame.frame_px=64"] if small else ["training.epochs=3"]
    run = load_run(train(drawn(4 if small else 16, "training.batch_size=4", *overrides, *size)))
    assert (run.folder / "best").is_dir()
    assert next(run.segmenter.sam.parameters()).device.type == device
    used = json.dumps(json.loads((run.folder / "provenance.json").read_text()))
    wanted = {"auto": "no" if small else "bf16"}.get(precision, precision)
    assert f'"mixed_precision": "{wanted}"' in used


def test_a_compiled_step_learns_what_the_plain_step_learns(device, small, tmp_path, note, capsys):
    """``training.compile=default`` over the trunk and two blocks, to keep the compiler's time short; a short last batch."""
    if small:
        pytest.skip("needs a GPU: a CPU's compiler takes minutes (tests/unit/training/test_compiling.py has the rest)")
    losses = {}
    for mode in ("no", "default"):
        config = drawn(
            10, "training.batch_size=4", "training.epochs=3", f"training.compile={mode}", "frame.frame_px=256"
        )
        learner = build_learner(config)
        learner.adapted.sam.image_encoder.blocks = learner.adapted.sam.image_encoder.blocks[:2]
        dataset = load_dataset("procedural", split="train", surface="steel", count=10)
        run = Trainer(
            learner, build_batch_maker(config, training=True)(dataset), lambda _: Evaluation({"none": 0.0}),
            selection=Selection("none"), optim=config.optim, training=config.training, folder=tmp_path / mode,
        )  # fmt: skip
        run.fit()
        assert run.compiled.used == mode
        batch = next(iter(build_batch_maker(config)(dataset))).to(device)
        learner.eval()
        with torch.no_grad():
            losses[mode] = float(learner(batch).total)
    assert "going on without" not in capsys.readouterr().err
    note(f"training.compile: loss {losses['default']:.4f}, without {losses['no']:.4f}")
    assert losses["default"] == pytest.approx(losses["no"], rel=0.03)


class StopsAt(StopRequest):
    """Asks for a stop at its fifth question, in the second epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        return 15 if self.calls == 5 else 0


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(device, small, tmp_path, monkeypatch, note):
    """Bit for bit where the GPU repeats itself; else no further apart than two uninterrupted runs are."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    def weights(name: str) -> dict[str, torch.Tensor]:
        overrides = [
            "training.epochs=3",
            "training.batch_size=4",
            "training.gallery=0",
            "training.mixed_precision=bf16",
        ]
        size = ["frame.frame_px=64"] if small else []
        config = drawn(8, f"training.out={tmp_path / name}", *overrides, *size)
        train(config)
        return {key: value.float().cpu() for key, value in load_run(tmp_path / name).learner.state_dict().items()}

    def distance(one: dict, other: dict) -> float:
        return max(float((one[key] - other[key]).abs().max()) for key in one)

    with _deterministic():
        whole, again = weights("whole"), weights("again")
        with monkeypatch.context() as patched:
            patched.setattr("samis.jobs.train.StopRequest", StopsAt)
            with pytest.raises(Interrupted):
                weights("cut")
        resumed = weights("cut")
    spread, resumed_distance = distance(whole, again), distance(whole, resumed)
    note(f"resume: {resumed_distance:.2e} from the uninterrupted run, two of which are {spread:.2e} apart")
    assert resumed_distance <= 2 * spread


@contextlib.contextmanager
def _deterministic():
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
