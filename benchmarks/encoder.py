"""Time SAM's image encoder: segment_anything's attention against ours, forward and backward, the same weights.

  python benchmarks/encoder.py            vit_b at 1024: forward of the whole encoder, forward and backward of a quarter
  python benchmarks/encoder.py --quick    a quarter of vit_b at 512
  python benchmarks/encoder.py --device cuda --architecture vit_h

A quarter is what vit_b repeats four times: two windowed blocks and a global one (stock needs more than 10 GB to go back
through all four at 1024). On CUDA the whole encoder runs both ways, in bfloat16; equality is checked in float32.
"""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from benchmarks.sides import finish, measure, parse, report, spread
from samis.sam.architectures import ARCHITECTURES, build_sam
from samis.sam.attention import use_fused_attention

NAMES = ("segment_anything", "ours (fused)")


def pair(architecture: str, frame_px: int, *, quarter: bool, device: str) -> tuple[nn.Module, nn.Module]:
    """Return a stock encoder and its fused twin."""
    encoder = build_sam(architecture, frame_px=frame_px).image_encoder
    if quarter:
        first = ARCHITECTURES[architecture].global_attention[0]
        encoder.blocks = encoder.blocks[: first + 1]
    stock = spread(encoder, 0.02).to(device)
    ours = copy.deepcopy(stock)
    use_fused_attention(ours)
    return stock, ours


def sides(encoder: nn.Module, images: Tensor, *, backward: bool, device: str) -> Any:
    """Return a function that runs an encoder forward, or forward and backward."""

    def run() -> list[Tensor]:
        encoder.zero_grad()
        given = images.clone().requires_grad_(backward)
        with torch.set_grad_enabled(backward), torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
            out: Tensor = encoder(given)
            if not backward:
                return [out]
            torch.autograd.backward((out.float() ** 2).mean())
        assert given.grad is not None
        return [out.detach(), given.grad]

    return run


def same(stock: nn.Module, ours: nn.Module, images: Tensor, *, backward: bool) -> bool:
    """Return whether forward and gradient agree in float32, to 1e-5 of the largest value."""
    found = [sides(encoder, images, backward=backward, device="cpu")() for encoder in (stock, ours)]
    return all(float((a - b).abs().max() / a.abs().max()) < 1e-5 for a, b in zip(*found, strict=True))


def compare(
    options: argparse.Namespace, *, frame_px: int, quarter: bool, backward: bool, rounds: int
) -> dict[str, Any]:
    """Measure one case."""
    device = options.device
    stock, ours = pair(options.architecture, frame_px, quarter=quarter, device=device)
    images = torch.randn(options.batch, 3, frame_px, frame_px, device=device)
    measured = measure(
        *(sides(encoder, images, backward=backward, device=device) for encoder in (stock, ours)),
        rounds=rounds, device=device,
    )  # fmt: skip
    if device == "cpu":
        pairs = zip(*(side.result for side in measured), strict=True)
        equal = all(float((a - b).abs().max() / a.abs().max()) < 1e-5 for a, b in pairs)
    else:
        equal = same(stock, ours, images[:1], backward=backward)
    what = f"{'a quarter of ' if quarter else ''}{options.architecture} at {frame_px}"
    ways = "forward and backward" if backward else "forward"
    return report(f"encoder: {what}, {ways}, {device}", *measured, equal=equal, per=options.batch, names=NAMES)


def extend(parser: argparse.ArgumentParser) -> None:
    """Add the script's own options."""
    parser.add_argument("--architecture", default="vit_b", choices=list(ARCHITECTURES))
    parser.add_argument("--batch", type=int, default=1, help="images at once")


def main() -> None:
    """Measure and report; the line for machines is that of the case run both ways."""
    options = parse(__doc__, extend)
    cuda, frame_px = options.device == "cuda", 512 if options.quick else 1024
    rounds = 10 if cuda else 2
    quarter = not cuda
    forward = compare(options, frame_px=frame_px, quarter=options.quick and quarter, backward=False, rounds=rounds)
    both = compare(options, frame_px=frame_px, quarter=quarter, backward=True, rounds=rounds)
    finish(options, both | {"equal": both["equal"] and forward["equal"], "forward_ratio": forward["ratio"]})


if __name__ == "__main__":
    main()
