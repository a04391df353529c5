"""Count what one training step of the default SAM asks of the machine: operators, copies, kernel launches, waits of the host.

  python benchmarks/step.py                  counts on a CPU: the same at each run, so that a test holds them
  python benchmarks/step.py --device cuda    besides: kernel launches, and the share of the step in which the GPU works
  python benchmarks/step.py --device cuda --compile default    the step with training.compile
  python benchmarks/step.py --tree FOLDER    the step of another checkout, with this script's counting

The step is the trainer's own (LoRA on encoder and decoder as in configs/adapt/steel_lora.yaml, batch 16, frames of 256 px, bf16
autocast, AdamW, clipping), between two log lines. The profiler counts; no clock decides anything. What would wait on CUDA is also
held without a GPU, by tensors without values on a device that is not there (tests/unit/sam_tuning/test_cuda_dispatch.py).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STEPS = 3
"""Steps that are counted, after as many that are not."""
BEFORE = {"operators": 3761, "computing": 2255, "copies": 906, "syncs": 7}
"""Per step of 31d036d (samis_tiny) on a CPU, torch 2.14: ``git worktree add F 31d036d; python benchmarks/step.py --tree F``."""
OVERRIDES = [
    "data.name=procedural", "data.options={surface: steel, count: 16}", "training.batch_size=16", "frame.frame_px=256",
    "training.mixed_precision=bf16", "training.epochs=1", "training.log_every=1000", "training.save_every_min=1e9",
    "training.gallery=0",
]  # fmt: skip
NO_WORK = {
    "view", "_unsafe_view", "reshape", "_reshape_alias", "transpose", "permute", "t", "unsqueeze", "squeeze", "expand", "slice",
    "select", "narrow", "as_strided", "detach", "alias", "unbind", "split", "chunk", "unfold", "flatten", "empty", "empty_like",
    "empty_strided", "new_empty_strided", "new_empty", "resize_", "result_type", "resolve_conj", "resolve_neg", "lift_fresh", "to",
    "view_as", "expand_as", "contiguous", "mT", "item", "_local_scalar_dense", "size", "stride", "is_same_size",
    "broadcast_tensors", "split_with_sizes", "matrix_H", "unflatten", "diagonal", "movedim", "swapaxes", "numpy_T", "set_",
    "as_strided_",
}  # fmt: skip
"""Operators that start no kernel: they give memory, or another view of it."""
CPU_ONLY = {
    "add", "add_", "mul", "mul_", "div", "div_", "sub", "rsub", "sum", "mean", "gt", "lt", "eq", "pow", "where", "addmm", "bmm",
    "mkldnn_convolution", "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward",
}  # fmt: skip
"""Operators that copy inside on a CPU (mixed types, biases, layouts), where a GPU's kernel does the same on the fly."""
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchCooperativeKernel", "cudaGraphLaunch")
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


class Same:
    """The same batch again and again, in memory; a profiler runs while the counted steps are made."""

    def __init__(self, batch: Any, profiler: Any) -> None:
        self.batch, self.profiler = batch, profiler

    def __len__(self) -> int:
        return 2 * STEPS + 1

    def set_epoch(self, epoch: int, *, skip: int = 0) -> None:
        """Every epoch is the same."""

    def __iter__(self) -> Iterator[Any]:
        for step in range(len(self)):
            if step == STEPS:
                self.profiler.start()
            if step == 2 * STEPS:
                self.profiler.stop()
            yield self.batch


def profiled(device: str, tree: Path = ROOT, overrides: list[str] | None = None) -> Any:
    """Train a few steps; return the profiler that saw ``STEPS`` of them."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from samis.config import load_config
    from samis.core.contracts import Evaluation
    from samis.data.configured import load_split
    from samis.factory import build_batch_maker, build_learner
    from samis.training.trainer import Selection, Trainer

    config: Any = load_config(tree / "configs" / "adapt" / "steel_lora.yaml", [*OVERRIDES, *(overrides or [])])
    cuda = [ProfilerActivity.CUDA] if device == "cuda" else []
    profiler = profile(activities=[ProfilerActivity.CPU, *cuda])
    batch = next(iter(build_batch_maker(config, training=True)(load_split(config.data, "train"))))
    if device == "cuda":
        batch = batch.pin_memory()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            build_learner(config), Same(batch, profiler), lambda _: Evaluation({"none": 0.0}), selection=Selection("none"),
            optim=config.optim, training=config.training, folder=Path(folder),
        ).fit()  # fmt: skip
    if device == "cuda":
        torch.cuda.synchronize()
    return profiler


def counts(profiler: Any) -> dict[str, float]:
    """Return the counts of one step.

    operators: calls from Python or autograd into torch. computing: those, with what they call, that make new values; each is
    at least one kernel on a GPU. copies: casts, clones and moves (a multi-tensor copy counts once). syncs: numbers that
    the host waits for (on a CPU, those read one by one; AdamW's own count of steps, which only a CPU reads, left out).
    """
    number: Counter[str] = Counter()
    for event in profiler.events():
        name = event.name
        if name.startswith(LAUNCHES):
            number["launches"] += 1
        elif name in WAITS:
            number["waits"] += 1
        if not name.startswith("aten::"):
            continue
        above = ancestors(event)
        number["operators"] += not any(other.startswith("aten::") for other in above)
        if any(other.startswith(("aten::_foreach", "aten::_fused_adam")) for other in above):
            continue
        if any(other.removeprefix("aten::") in CPU_ONLY for other in above):
            continue
        short = name.removeprefix("aten::")
        number["computing"] += short not in NO_WORK and (short in CPU_ONLY or not working(event))
        number["copies"] += short in ("copy_", "_foreach_copy_")
        number["syncs"] += short in ("_local_scalar_dense", "nonzero")
    return {name: number[name] / STEPS for name in ("operators", "computing", "copies", "syncs", "launches", "waits")}


def ancestors(event: Any) -> list[str]:
    """Return the names of what an event was called by."""
    names = []
    while event.cpu_parent is not None:
        event = event.cpu_parent
        names.append(event.name)
    return names


def working(event: Any) -> list[str]:
    """Return the operators that compute for an event."""
    names = [each.name.removeprefix("aten::") for each in event.cpu_children if each.name.startswith("aten::")]
    return [name for name in names if name not in NO_WORK]


def busy(profiler: Any) -> float:
    """Return the share of the counted steps in which the GPU computes or copies."""
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if str(event.device_type).endswith("CUDA")
    )
    if not spans:
        return 0.0
    worked, until = 0.0, spans[0][0]
    for start, end in spans:
        worked += max(0.0, end - max(start, until))
        until = max(until, end)
    return worked / (until - spans[0][0])


def main() -> None:
    """Count and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--tree", type=Path, default=ROOT, help="checkout whose step is counted (default: this one)")
    parser.add_argument("--compile", help="training.compile of the step (default: no)")
    parser.add_argument("--quick", action="store_true", help="nothing: the counts take seconds")
    parser.add_argument("--json", action="store_true", help="end with one line for machines")
    options = parser.parse_args()
    sys.path.insert(0, str(options.tree.resolve()))
    import os

    os.environ["ACCELERATE_USE_CPU"] = str(options.device == "cpu").lower()
    overrides = [f"training.compile={options.compile}"] if options.compile else []
    profiler = profiled(options.device, options.tree, overrides)
    figures = counts(profiler)
    if options.device == "cuda":
        figures["gpu_busy"] = busy(profiler)
    print(
        f"one training step, batch 16, {options.device}"
        + (f", training.compile={options.compile}" if options.compile else "")
    )
    for name, value in figures.items():
        before = f"   31d036d on a CPU {BEFORE[name]:,}" if name in BEFORE else ""
        print(f"  {name:10s} {value:10,.2f}{before}")
    if options.json:
        ratio = BEFORE["copies"] / max(1.0, figures["copies"])
        line = {"name": "step", "ratio": ratio, "peak_memory_ratio": 1.0, "equal": True}
        print(json.dumps(line | figures))


if __name__ == "__main__":
    main()
