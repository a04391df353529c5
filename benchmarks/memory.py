"""Measure the peak memory of one tuning step, with all activations kept and with the encoder's computed again.

  python benchmarks/memory.py            vit_b at 512 and 1024
  python benchmarks/memory.py --quick    samis_lite
  python benchmarks/memory.py --device cuda --batch 2

One step is forward, loss, backward and AdamW, one image at a time unless stated otherwise; float32 on a CPU, bfloat16
autocast on CUDA. These are the figures of the table in train/README.md. Losses of the two ways must agree.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.sides import finish, measure, parse, report
from samis.adapters import apply_adapter
from samis.config import AdapterConfig, LossConfig
from samis.core.geometry import Framing
from samis.data import load_dataset
from samis.data.pipeline.loading import build_loader
from samis.sam.encoder_options import checkpoint_blocks
from samis.sam.interface import family_of
from samis.sam.tuning import SamTuning
from samis.sam.weights import load_sam

NAMES = ("activations kept", "activations computed again")


def step(architecture: str, frame_px: int, adapter: AdapterConfig, *, again: bool, options: argparse.Namespace) -> Any:
    """Return a function that makes one optimizer step and returns its loss."""
    torch.manual_seed(0)
    sam = load_sam(architecture, weights="random", frame_px=frame_px)
    if again:
        checkpoint_blocks(family_of(sam).blocks(sam))
    adapted = apply_adapter(sam, adapter)
    learner = SamTuning(adapted, LossConfig(), segmenter=lambda tuned: tuned).to(options.device).train()
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    start = [parameter.detach().clone() for parameter in trained]
    data = load_dataset("procedural", split="train", surface="steel", count=options.batch)
    batch = next(iter(build_loader(data, Framing(frame_px), batch_size=options.batch, training=True))).to(
        options.device
    )
    cuda = options.device == "cuda"

    def run() -> float:
        with torch.no_grad():
            for parameter, value in zip(trained, start, strict=True):
                parameter.copy_(value)
        optimizer = torch.optim.AdamW(trained, lr=1e-3)
        with torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext():
            loss = learner(batch)
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.total.detach())

    return run


def compare(architecture: str, frame_px: int, options: argparse.Namespace, *, kept: bool = True) -> dict[str, Any]:
    """Measure LoRA on the encoder both ways; where `kept` is False, keeping all is left out, for want of memory."""
    lora = AdapterConfig(encoder=["q", "v"], decoder=["full"])
    again = step(architecture, frame_px, lora, again=True, options=options)
    first = step(architecture, frame_px, lora, again=False, options=options) if kept else again
    measured = measure(first, again, rounds=1, device=options.device)
    equal = abs(measured[0].result - measured[1].result) < 1e-4 * abs(measured[0].result)
    name = f"memory: {architecture} at {frame_px}, LoRA on encoder and decoder, batch {options.batch}, {options.device}"
    return report(name, *measured, equal=equal, names=NAMES if kept else (NAMES[1], f"{NAMES[1]}, once more"))


def decoder(architecture: str, frame_px: int, options: argparse.Namespace) -> None:
    """Print the peak of tuning the decoder alone."""
    side = step(architecture, frame_px, AdapterConfig(encoder=[]), again=False, options=options)
    one, _ = measure(side, lambda: None, rounds=1, device=options.device)
    print(f"memory: {architecture} at {frame_px}, LoRA on the decoder alone: peak {(one.peak or 0) / 1e6:.0f} MB")


def extend(parser: argparse.ArgumentParser) -> None:
    """Add the script's own options."""
    parser.add_argument("--batch", type=int, default=1, help="images at once (default: %(default)s)")


def main() -> None:
    """Measure and report."""
    options = parse(__doc__, extend)
    if options.quick:
        finish(options, compare("samis_lite", 256, options))
    lines = []
    for architecture, frame_px in (("samis_lite", 256), ("vit_b", 512), ("vit_b", 1024)):
        decoder(architecture, frame_px, options)
        # Keeping everything of vit_b at 1024 takes several GB, which not every CPU machine has to spare.
        lines.append(compare(architecture, frame_px, options, kept=options.device == "cuda" or frame_px < 1024))
    finish(options, lines[1] | {"equal": all(line["equal"] for line in lines)})


if __name__ == "__main__":
    main()
