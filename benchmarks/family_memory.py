"""Measure what a tuning step of each of SAM's families needs at its own size: peak memory and time, with random weights.

  python benchmarks/family_memory.py                           every architecture, on the GPU if there is one
  python benchmarks/family_memory.py --only sam2_tiny vit_b    some of them
  python benchmarks/family_memory.py --rows rows.jsonl         a line of JSON for each, too

One step is forward, loss, backward and AdamW of LoRA on the encoder's query, key and value with the decoder's path to mask 0,
one image, at the frame that the family was trained at; bfloat16 autocast on CUDA, float32 on a CPU. Each is measured twice: with
all activations kept, and with those of the encoder's blocks computed again in the backward pass
(``segmenter.checkpoint_activations``). Memory is the peak of what torch allocated, weights included; time the median of five
steps after two.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from samis.adapters import apply_adapter
from samis.config import AdapterConfig, FrameConfig, LossConfig, SegmenterConfig
from samis.data import load_dataset
from samis.data.pipeline.loading import build_loader
from samis.sam.configured import configured_sam
from samis.sam.families import FAMILIES
from samis.sam.framing import build_framing
from samis.sam.interface import family_of
from samis.sam.tuning import SamTuning

STEPS, FIRST = 5, 2


def architectures() -> list[str]:
    """Return every architecture that has a size of its own; the bare name of a family stands for a folder of any size."""
    names = [name for family in FAMILIES.values() for name in family.names()]
    return [name for name in names if name not in FAMILIES or name == "mobile_sam" or name == "sam3_tracker"]


def measure(architecture: str, *, again: bool, device: str, frame_px: int) -> dict[str, Any]:
    """Make some steps and return their cost.

    Args:
        architecture: as ``segmenter.architecture``.
        again: compute the activations of the encoder's blocks again.
        device: cuda or cpu.
        frame_px: side of the frame, 0 for the family's own.
    """
    torch.manual_seed(0)
    framing = build_framing(FrameConfig(frame_px=frame_px), architecture, "random")
    chosen = SegmenterConfig(architecture=architecture, weights="random", checkpoint_activations=again)
    model, _ = configured_sam(chosen, FrameConfig(frame_px=frame_px))
    lora = AdapterConfig(encoder=["qkv"], decoder=["full"])
    adapted = apply_adapter(model, lora, architecture=architecture, targets=family_of(model).targets)
    learner = SamTuning(adapted, LossConfig(), segmenter=lambda tuned: tuned).to(device).train()
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    data = load_dataset("procedural", split="train", surface="steel", count=1)
    batch = next(iter(build_loader(data, framing, batch_size=1, training=True))).to(device)
    times = []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(FIRST + STEPS):
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16) if device == "cuda" else nullcontext():
            loss = learner(batch).total
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        value = float(loss.detach())  # waits for the device
        times.append(time.perf_counter() - start)
    assert value == value, f"{architecture}: the loss is not finite"
    return {
        "architecture": architecture, "frame_px": framing.frame_px, "again": again,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained": sum(parameter.numel() for parameter in trained),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 3) if device == "cuda" else None,
        "ms": round(1000 * statistics.median(times[FIRST:]), 1),
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU", "torch": torch.__version__,
    }  # fmt: skip


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=architectures(), choices=architectures(), metavar="ARCHITECTURE")
    parser.add_argument("--frame", type=int, default=0, help="side of the frame; 0 takes each one's own")
    parser.add_argument("--rows", type=Path, help="append a line of JSON for each measurement")
    return parser.parse_args()


def main() -> None:
    """Measure each architecture both ways; one that does not fit into memory says so."""
    options = parse()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{'architecture':16s} {'frame':>6s} {'million':>8s} {'kept':>16s} {'computed again':>18s}")
    for architecture in options.only:
        cells, row = [], None
        for again in (False, True):
            try:
                row = measure(architecture, again=again, device=device, frame_px=options.frame)
            except torch.OutOfMemoryError:
                cells.append("out of memory")
                continue
            finally:
                gc.collect()
                torch.cuda.empty_cache()
            if options.rows:
                with options.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            cells.append(f"{row['peak_gb'] or '–'} GB, {row['ms']:.0f} ms")
        size = f"{row['frame_px']:6d} {row['parameters'] / 1e6:8.1f}" if row else f"{'':15s}"
        print(f"{architecture:16s} {size} {cells[0]:>16s} {cells[1]:>18s}", flush=True)


if __name__ == "__main__":
    main()
