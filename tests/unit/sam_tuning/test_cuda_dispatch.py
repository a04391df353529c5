"""What CUDA would run, without a GPU: tensors without values, on a device that is not there, are dispatched as on one.

Of the encoder only the attention's own code is run, since torch queries the device itself for a convolution's kernel.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from samis.adapters import apply_adapter
from samis.config import AdapterConfig, LossConfig, SegmenterConfig
from samis.core.contracts import Batch, Prompt
from samis.core.geometry import place
from samis.sam.architectures import build_sam
from samis.sam.extended import Cropped, Extended
from samis.sam.tuning import SamTuning
from samis.training.half_weights import HalfWeights

SIDE = 64
MOST_CASTS = 75
"""Casts of a forward pass of decoder and loss, at CUDA's borders between half and single precision."""
pytestmark = [
    pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="this torch is built without CUDA"),
    pytest.mark.skipif(
        tuple(map(int, torch.__version__.split(".")[:2])) < (2, 8),
        reason="older torch asks the driver about the device that is not there, and aborts",
    ),
]


class Seen(TorchDispatchMode):
    """Counts operators; a number that the host reads, or sends from ordinary memory, is a wait."""

    def __init__(self):
        super().__init__()
        self.casts, self.waits = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        out = func(*args, **(kwargs or {}))
        # ``fill_`` with a tensor of the host, which is what assigning a number to a slice is on CUDA, reads that tensor.
        sent = name in ("_to_copy", "copy_", "fill_") and isinstance(out, torch.Tensor) and out.device.type == "cuda"
        tensors = [each for each in args if isinstance(each, torch.Tensor)]
        if name in ("_local_scalar_dense", "nonzero") or (sent and any(each.device.type == "cpu" for each in tensors)):
            self.waits.append(name)
        self.casts += name == "_to_copy"
        return out


def on_cuda(module):
    for each in module.modules():
        for name, parameter in each._parameters.items():
            if parameter is not None:
                values = torch.empty(parameter.shape, device="cuda")
                each._parameters[name] = torch.nn.Parameter(values, parameter.requires_grad)
        for name, buffer in each._buffers.items():
            each._buffers[name] = (
                None if buffer is None else torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda")
            )


def prompt(kind):
    points, labels = torch.rand(2, 3, 2, 2), torch.ones(2, 3, 2, dtype=torch.int64)
    present = torch.tensor([[True, True, False], [False, False, False]])
    return {
        "empty": Prompt(),
        "point": Prompt("point", points_xy=points, point_labels=labels, present=present),
        "box": Prompt("box", boxes_xyxy=torch.rand(2, 3, 4), present=present),
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "point", "box"])
def test_decoder_and_loss_wait_for_nothing(kind):
    adapted = apply_adapter(
        build_sam(SegmenterConfig().architecture, frame_px=SIDE), AdapterConfig(name="unfreeze", preset="decoder")
    )
    tuning = SamTuning(adapted, LossConfig(), segmenter=lambda sam: sam)
    placements = [place((32, 48), (0, 0, 48, 32), SIDE), place((40, 40), (0, 0, 40, 40), SIDE, sample=1)]
    sizes = torch.tensor([each.scaled_hw for each in placements])
    given = Batch(
        ["a", "b"],
        torch.zeros(2, 3, SIDE, SIDE),
        placements,
        prompt(kind),
        torch.zeros(2, 1, SIDE, SIDE),
        scaled_hw=sizes,
    )
    with FakeTensorMode(allow_non_fake_inputs=True):
        on_cuda(tuning)
        tuning.embed = lambda sam, batch: torch.empty(2, 128, 4, 4, device="cuda", requires_grad=True)
        moved = given.to("cuda")
        torch.set_autocast_enabled("cuda", True)  # torch.autocast itself needs a device
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        try:
            with HalfWeights(tuning, torch.bfloat16).swapped(), Seen() as seen:
                loss = tuning(moved)
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.clear_autocast_cache()
    assert loss.total.device.type == "cuda" and loss.total.requires_grad
    assert not seen.waits
    assert seen.casts > 10 and (kind != "empty" or seen.casts <= MOST_CASTS), seen.casts


@pytest.mark.parametrize("spare", [0, 4])
def test_attention_with_positions_waits_for_nothing(spare):
    """Assigning a number to a slice is, on CUDA alone, a number that the host reads: eight a step, seen on an H200."""
    with FakeTensorMode():
        qkv = torch.empty(3, 2, 3, 64, 16, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        offsets = torch.empty(16, 30, device="cuda", dtype=torch.bfloat16)
        constant = torch.empty(2, 1, 1, 64, 16 + spare, device="cuda", dtype=torch.bfloat16)
        with Seen() as seen:
            q, _, _ = Extended.apply(qkv, offsets, constant, (8, 8))
            out = Cropped.apply(q, constant[1])
    assert out.device.type == "cuda" and out.requires_grad and out.shape[-1] == 16
    assert not seen.waits
