"""cuDNN's attention gave NaN gradients on Hopper GPUs: no network that is built here may use it, compiled or not."""

import ast
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from samis.baselines import build_baseline
from samis.config import SegmenterConfig
from samis.sam.weights import load_sam

ROOT = Path(__file__).resolve().parents[3]


def backends():
    cuda = torch.backends.cuda
    return {
        "cudnn": cuda.cudnn_sdp_enabled(), "flash": cuda.flash_sdp_enabled(),
        "efficient": cuda.mem_efficient_sdp_enabled(), "math": cuda.math_sdp_enabled(),
    }  # fmt: skip


@pytest.fixture
def seen(monkeypatch):
    """The backends that were enabled at each call of the fused attention; cuDNN is on before, as torch has it."""
    torch.backends.cuda.enable_cudnn_sdp(True)
    calls, plain = [], F.scaled_dot_product_attention

    def recorded(*given, **options):
        calls.append(backends())
        return plain(*given, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", recorded)
    yield calls
    torch.backends.cuda.enable_cudnn_sdp(False)


def small_sam():
    return load_sam(SegmenterConfig().architecture, weights="random", frame_px=64).image_encoder


@pytest.mark.parametrize("build", [small_sam])
def test_only_the_other_three_are_enabled_during_a_forward(build, seen):
    build()(torch.randn(1, 3, 64, 64))
    assert seen and all(call == {"cudnn": False, "flash": True, "efficient": True, "math": True} for call in seen)


def test_also_while_torch_compile_traces(seen):
    traced = []

    def backend(graph, inputs):
        names = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
        traced.append((backends(), sum("scaled_dot_product" in name or "recorded" in name for name in names)))
        return graph.forward

    encoder = small_sam()
    tokens = torch.randn(1, *encoder.pos_embed.shape[1:])
    torch.compile(encoder.blocks[0], backend=backend)(tokens).sum().backward()
    assert traced and not any(enabled["cudnn"] for enabled, _ in traced)
    assert not backends()["cudnn"]


def test_a_baseline_on_a_transformer_excludes_it_too(seen):
    build_baseline("unet", backbone="resnet10t")
    assert not backends()["cudnn"]


def test_every_room_that_attends_is_known():
    """A new file that calls torch's attention, or a module of torch that does, must exclude cuDNN and be listed here."""
    words = {"scaled_dot_product_attention", "MultiheadAttention", "TransformerEncoderLayer", "flex_attention"}
    result = set()
    for path in (ROOT / "samis").rglob("*.py"):
        names = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(ast.parse(path.read_text()))}
        if names & words:
            result.add(path.relative_to(ROOT / "samis").as_posix())
            assert "exclude_cudnn" in names, f"{path}: call samis.core.sdpa.exclude_cudnn where the network is built"
    assert result == {"sam/attention.py", "sam/two_way.py"}
