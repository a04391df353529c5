"""The kernel that adds positions inside equals stock attention; it runs here in Triton's interpreter, on a CPU."""

import copy
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention

from samis.sam import attention

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import copy, torch
from segment_anything.modeling.image_encoder import Attention
from samis.sam import attention
from samis.sam.position_kernel import attend_with_position
attention._kernel.append(attend_with_position)
used = []
def fits(*given):
    used.append(1)
    return True
attention._fits_kernel = fits
torch.manual_seed(0)
for hw, width in (((16, 16), 48), ((8, 16), 40)):
    stock = Attention(width, num_heads=2, use_rel_pos=True, input_size=hw)
    for parameter in stock.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    ours = copy.deepcopy(stock)
    attention.use_fused_attention(ours)
    x = torch.randn(2, *hw, width)
    with torch.no_grad():
        wanted, computed = stock(x), ours(x)
    print(float((computed - wanted).abs().max() / wanted.abs().max()))
assert len(used) == 2
"""


def test_it_equals_stock():
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs Triton, which comes with torch on Linux")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    errors = [float(line) for line in done.stdout.split()]
    assert len(errors) == 2 and max(errors) < 1e-5


def test_what_cannot_be_built_is_said_once_and_done_without(monkeypatch, capsys):
    def broken(*given):
        raise RuntimeError("no C compiler\nat all")

    torch.manual_seed(0)
    stock = Attention(48, num_heads=2, use_rel_pos=True, input_size=(8, 16))
    ours = copy.deepcopy(stock)
    attention.use_fused_attention(ours)
    monkeypatch.setattr(attention, "_kernel", [broken])
    monkeypatch.setattr(attention, "_fits_kernel", lambda *given: bool(attention._kernel))
    x = torch.randn(1, 8, 16, 48)
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(ours(x), stock(x), atol=1e-5, rtol=1e-5)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["attention: going on with torch's own kernels, since RuntimeError: no C compiler"]


def test_it_is_not_used_on_a_cpu_nor_where_something_learns(monkeypatch):
    monkeypatch.setattr(attention, "_kernel", [lambda *given: None])
    module = Attention(48, num_heads=2, use_rel_pos=True, input_size=(32, 32)).requires_grad_(False)
    qkv = torch.empty(3, 1, 2, 1024, 24, dtype=torch.bfloat16)
    assert not attention._fits_kernel(module, qkv, 32, 32)
    on_cuda = torch.empty(3, 1, 2, 1024, 24, dtype=torch.bfloat16, device="meta")
    monkeypatch.setattr(type(on_cuda), "is_cuda", True, raising=False)
    assert attention._fits_kernel(module, on_cuda, 32, 32)
    assert not attention._fits_kernel(module, on_cuda.float(), 32, 32)
    assert not attention._fits_kernel(module, on_cuda.clone().requires_grad_(), 32, 32)
