"""Time SAM's image encoder: segment_anything's and ours, eager and under torch.compile, the same weights; a Markdown table.

  python benchmarks/encoder.py            vit_b at 1024 on a CPU: forward of the whole encoder, both ways of a quarter
  python benchmarks/encoder.py --quick    a quarter of vit_b at 512
  python benchmarks/encoder.py --device cuda --architecture vit_h --batches 8 1 32 --seconds 300

A quarter is what vit_b repeats four times: two windowed blocks and a global one (stock needs more than 10 GB to go back
through all four at 1024). On CUDA the whole encoder runs both ways, by default in bfloat16 autocast, and torch.compile is
measured too (``--compile`` on a CPU). A case that does not fit the memory says so in its row; no case begins after
``--seconds``. TF32 is off. Results are compared for the first image: in float32 with stock, to ``TOLERANCE`` of the largest
value; in half precision no result may be further from stock's float32 than ``HALF_FACTOR`` times stock's own half.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from benchmarks.sides import finish, parse, read_peak, reset_peak, spread
from samis.sam.architectures import ARCHITECTURES, build_sam
from samis.sam.attention import use_fused_attention
from samis.sam.encoder_options import compile_encoder
from samis.training.memory import out_of_memory

TOLERANCE = {"cpu": 1e-5, "cuda": 1e-4}
HALF_FACTOR = 2.0
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
STOCK, STOCK_COMPILED, OURS, OURS_COMPILED = "stock", "stock, torch.compile", "ours", "ours, torch.compile"


@dataclass
class Row:
    """One side in one case: median seconds a call, peak bytes above the start, errors of output and gradient, or why not."""

    way: str
    batch: int
    side: str
    seconds: float = 0.0
    peak: int | None = None
    errors: list[float] = field(default_factory=list)
    why: str = ""


def encoders(architecture: str, frame_px: int, *, quarter: bool, device: str) -> tuple[nn.Module, nn.Module]:
    """Return a stock encoder and its fused twin; nothing of them learns, as in the tuning of a decoder."""
    encoder = build_sam(architecture, frame_px=frame_px).image_encoder.requires_grad_(False)
    if quarter:
        encoder.blocks = encoder.blocks[: ARCHITECTURES[architecture].global_attention[0] + 1]
    stock = spread(encoder, 0.02).to(device)
    ours = copy.deepcopy(stock)
    use_fused_attention(ours)
    return stock, ours


def run(encoder: Callable[[Tensor], Tensor], images: Tensor, *, backward: bool, dtype: torch.dtype) -> list[Tensor]:
    """Return the first image's output, and its gradient where asked; no image changes another's."""
    given = images.clone().requires_grad_(backward)
    half = dtype != torch.float32
    with torch.set_grad_enabled(backward), torch.autocast(images.device.type, dtype if half else None, enabled=half):
        out = encoder(given)
    if not backward:
        return [out[0].float()]
    torch.autograd.backward(out.float().square().mean((1, 2, 3)).sum())
    assert given.grad is not None
    return [out[0].detach().float(), given.grad[0]]


def apart(found: list[Tensor], wanted: list[Tensor]) -> list[float]:
    """Return the largest difference of each pair, as a share of the largest value."""
    return [float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=False)]


def prepared(side: str, stock: nn.Module, ours: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what runs on a side; compiled code of the side before is dropped, so that none reaches the compiler's limit."""
    if side in (STOCK, OURS):
        return stock if side == STOCK else ours
    torch.compiler.reset()
    if side == STOCK_COMPILED:
        return torch.compile(stock, dynamic=False)  # type: ignore[no-any-return]
    compiled = copy.deepcopy(ours)
    compile_encoder(compiled)
    return compiled


def measured(row: Row, side: Callable[[], list[Tensor]], reference: list[Tensor], *, rounds: int, device: str) -> Row:
    """Fill a row in: the first calls are not timed on CUDA. A CPU's clock is the process's own processor time."""
    cuda = device == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    times: list[float] = []
    try:
        for number in range(rounds + (2 if cuda else 0)):
            before = reset_peak(device)
            start = clock()
            result = side()
            if cuda:
                torch.cuda.synchronize()
            if number >= 2 or not cuda:
                times.append(clock() - start)
                peak = read_peak(device)
                row.peak = None if peak is None or before is None else max(row.peak or 0, peak - before)
        row.seconds, row.errors = statistics.median(times), apart(result, reference)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        row.why = "out of memory"
    return row


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table; ratios are to stock's eager row of the same case."""
    lines = [
        "| | batch | encoder | ms an image | times as fast | peak, MB | times less memory | error |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    base = {(row.way, row.batch): row for row in rows if row.side == STOCK and not row.why}
    for row in rows:
        if row.why:
            lines.append(f"| {row.way} | {row.batch} | {row.side} | {row.why} | | | | |")
            continue
        stock = base.get((row.way, row.batch))
        faster = f"{stock.seconds / row.seconds:.2f}" if stock else "–"
        less = f"{stock.peak / row.peak:.1f}" if stock and stock.peak and row.peak else "–"
        peak = "unknown" if row.peak is None else f"{row.peak / 1e6:.0f}"
        lines.append(
            f"| {row.way} | {row.batch} | {row.side} | {1e3 * row.seconds / row.batch:.2f} | {faster} | {peak} | {less} "
            f"| {max(row.errors):.1e} |"
        )
    return "\n".join(lines)


def agrees(rows: list[Row], dtype: torch.dtype, device: str) -> bool:
    """Return whether every measured result is what the module's docstring promises."""
    equal = True
    for row in rows:
        allowed = [TOLERANCE[device]] * 2
        if dtype != torch.float32:
            stock = [other.errors for other in rows if other.way == row.way and other.side == STOCK and other.errors]
            allowed = [HALF_FACTOR * max(error) for error in zip(*stock, strict=True)] if stock else [5e-2] * 2
        equal &= all(error <= limit for error, limit in zip(row.errors, allowed, strict=False))
    return equal


def compare(options: argparse.Namespace, *, frame_px: int, quarter: bool, backward: bool, until: float) -> list[Row]:
    """Measure every side and batch one way."""
    device, dtype = options.device, DTYPES[options.dtype]
    way = f"{'a quarter of ' if quarter else ''}{options.architecture} at {frame_px}, {'both ways' if backward else 'forward'}"
    stock, ours = encoders(options.architecture, frame_px, quarter=quarter, device=device)
    images = torch.randn(max(options.batches), 3, frame_px, frame_px, generator=torch.Generator().manual_seed(0))
    first = images[:1].to(device)
    reference = run(stock, first, backward=backward, dtype=torch.float32)
    errors = apart(run(ours, first, backward=backward, dtype=torch.float32), reference)
    print(
        f"{way}, float32, TF32 off: ours is {max(errors):.1e} from stock (tolerance {TOLERANCE[device]:.0e})",
        flush=True,
    )
    rows = [Row(f"{way}, fp32 check", 0, OURS, errors=errors)]
    names = [STOCK, OURS, *([OURS_COMPILED, STOCK_COMPILED] if options.compile else [])]
    for batch in options.batches:
        given = images[:batch].to(device)
        for name in names:
            row = Row(f"{way}, {options.dtype}", batch, name)
            if time.monotonic() > until:
                row.why = "not measured, the time was over"
            else:
                encoder = prepared(name, stock, ours)
                measured(
                    row, lambda e=encoder, g=given: run(e, g, backward=backward, dtype=dtype), reference,  # type: ignore[misc]
                    rounds=options.rounds, device=device,
                )  # fmt: skip
                print(f"  batch {batch}, {name}: {row.why or f'{row.seconds:.3f} s'}", flush=True)
            rows.append(row)
    return rows


def line_for_machines(rows: list[Row], name: str, *, equal: bool) -> dict[str, Any]:
    """Return ratio and memory of ours against stock, both ways at the first batch that has both."""
    line: dict[str, Any] = {"name": name, "ratio": None, "peak_memory_ratio": None, "equal": equal}
    for row in rows:
        stock = next((r for r in rows if (r.way, r.batch, r.side) == (row.way, row.batch, STOCK) and r.seconds), None)
        if row.seconds and row.side != STOCK and stock:
            key = f"{'both' if 'both ways' in row.way else 'forward'}_{row.batch}_{row.side}".replace(", torch.", "_")
            line[key] = round(stock.seconds / row.seconds, 3)
            if row.side == OURS and "both ways" in row.way and line["ratio"] is None:
                line["ratio"] = line[key]
                line["peak_memory_ratio"] = round(stock.peak / row.peak, 3) if stock.peak and row.peak else None
    return line


def extend(parser: argparse.ArgumentParser) -> None:
    """Add the script's own options."""
    parser.add_argument("--architecture", default="vit_b", choices=list(ARCHITECTURES))
    parser.add_argument("--batches", type=int, nargs="+", help="images at once, in turn (default: 8 1 32, on a CPU 1)")
    parser.add_argument("--dtype", choices=list(DTYPES), help="of autocast (default: bf16, on a CPU fp32)")
    parser.add_argument("--frame", type=int, help="side of the frame (default: 1024, with --quick 512)")
    parser.add_argument("--rounds", type=int, help="timed calls a case (default: 7, on a CPU 2)")
    parser.add_argument(
        "--seconds", type=float, default=600, help="begin no further case after them (default: %(default)s)"
    )
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="measure torch.compile (default: on CUDA)"
    )


def main() -> None:
    """Measure and print the table; end with code 1 where results differ."""
    start = time.monotonic()
    options = parse(__doc__, extend)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    cuda = options.device == "cuda"
    options.batches = options.batches or ([8, 1, 32] if cuda else [1])
    options.dtype, options.rounds = options.dtype or ("bf16" if cuda else "fp32"), options.rounds or (7 if cuda else 2)
    options.compile = cuda if options.compile is None else options.compile
    frame_px = options.frame or (512 if options.quick else 1024)
    rows: list[Row] = []
    for backward in (False, True):
        # Half of the time for each way.
        until = start + options.seconds * (1.0 if backward else 0.5)
        quarter = not cuda and (options.quick or backward)
        rows += compare(options, frame_px=frame_px, quarter=quarter, backward=backward, until=until)
    checks = [row for row in rows if not row.batch]
    rows = [row for row in rows if row.batch]
    print(f"\n{table(rows)}\n")
    equal = agrees(checks, torch.float32, options.device) and agrees(rows, DTYPES[options.dtype], options.device)
    print(f"results {'agree' if equal else 'DIFFER'}")
    finish(options, line_for_machines(rows, f"encoder: {options.architecture} at {frame_px}", equal=equal))


if __name__ == "__main__":
    main()
