"""Time SAM's image encoder: segment_anything's and ours, eager and under torch.compile, the same weights; a Markdown table.

  python benchmarks/encoder.py            vit_b at 1024 on a CPU: forward of the whole encoder, both ways of a quarter
  python benchmarks/encoder.py --quick    a quarter of vit_b at 512
  python benchmarks/encoder.py --device cuda --architecture vit_h --batches 8 1 32 --seconds 300

A quarter is what vit_b repeats four times: two windowed blocks and a global one (stock needs more than 10 GB to go back
through all four at 1024). On CUDA the whole encoder runs both ways, by default in bfloat16 autocast, and torch.compile is
measured too (``--compile`` on a CPU), each case in a process of its own, which is ended when ``--seconds`` are over, be it
compiling. The first batch comes first, eager both ways, then compiled; the other batches follow in the same order. A case that
does not fit the memory, or the time, is marked in its row. The table comes also when the script is stopped (SIGTERM, Ctrl-C), of
what was measured until then. TF32 is off. Results are compared for the first image: in float32 with stock, to ``TOLERANCE`` of
the largest value; in half precision no result may be further from stock's float32 than ``HALF_FACTOR`` times stock's own half.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from benchmarks.encoder_table import (
    FAILED,
    OURS,
    OURS_COMPILED,
    STOCK,
    STOCK_COMPILED,
    TOLERANCE,
    Row,
    agrees,
    late,
    line_for_machines,
    table,
    tell,
)  # fmt: skip
from benchmarks.sides import finish, parse, read_peak, reset_peak, spread
from samis.sam.architectures import ARCHITECTURES, build_sam
from samis.sam.attention import use_fused_attention
from samis.sam.encoder_options import compile_encoder
from samis.training.memory import out_of_memory

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@lru_cache
def encoders(architecture: str, frame_px: int, *, quarter: bool, device: str) -> tuple[nn.Module, nn.Module]:
    """Return a stock encoder and its fused twin; nothing of them learns, as in the tuning of a decoder."""
    torch.manual_seed(0)  # the same weights in the process of a compiled case
    with torch.device(device):  # drawing vit_h's weights takes one thread of a CPU half a minute
        encoder = build_sam(architecture, frame_px=frame_px).image_encoder.requires_grad_(False)
    if quarter:
        encoder.blocks = encoder.blocks[: ARCHITECTURES[architecture].global_attention[0] + 1]
    stock = spread(encoder, 0.02)
    ours = copy.deepcopy(stock)
    use_fused_attention(ours)
    return stock, ours


def run(encoder: Callable[[Tensor], Tensor], images: Tensor, *, backward: bool, dtype: torch.dtype) -> list[Tensor]:
    """Return the first image's output, and its gradient where requested; no image changes another's."""
    given = images.clone().requires_grad_(backward)
    half = dtype != torch.float32
    with torch.set_grad_enabled(backward), torch.autocast(images.device.type, dtype if half else None, enabled=half):
        out = encoder(given)
    if not backward:
        return [out[0].float()]
    torch.autograd.backward(out.float().square().mean((1, 2, 3)).sum())
    assert given.grad is not None
    return [out[0].detach().float(), given.grad[0]]


def apart(ours: list[Tensor], theirs: list[Tensor]) -> list[float]:
    """Return the largest difference of each pair, as a share of the largest value."""
    return [float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=False)]


def prepared(side: str, stock: nn.Module, ours: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what runs on a side."""
    if side in (STOCK, OURS):
        return stock if side == STOCK else ours
    if side == STOCK_COMPILED:
        return torch.compile(stock, dynamic=False)  # type: ignore[no-any-return]
    compile_encoder(ours)
    return ours


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


class Case:
    """One way through one encoder: both encoders, images, and stock's float32 result for the first image."""

    def __init__(self, options: argparse.Namespace, *, backward: bool) -> None:
        """Build all on the device; `options` are the script's."""
        self.options, self.backward = options, backward
        quarter = options.device != "cuda" and (options.quick or backward)
        part, way = "a quarter of " if quarter else "", "both ways" if backward else "forward"
        self.name = f"{part}{options.architecture} at {options.frame}, {way}"
        self.stock, self.ours = encoders(options.architecture, options.frame, quarter=quarter, device=options.device)
        shape = max(options.batches), 3, options.frame, options.frame
        self.images = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
        self.reference = self.in_float32(self.stock)

    def in_float32(self, encoder: nn.Module) -> list[Tensor]:
        """Return an encoder's result for the first image."""
        return run(encoder, self.images[:1].to(self.options.device), backward=self.backward, dtype=torch.float32)

    def row(self, batch: int, side: str) -> Row:
        """Return a row that is still to be filled in."""
        return Row(self.backward, f"{self.name}, {self.options.dtype}", batch, side)

    def measure(self, row: Row) -> Row:
        """Fill the row in."""
        given, dtype = self.images[: row.batch].to(self.options.device), DTYPES[self.options.dtype]
        encoder = prepared(row.side, self.stock, self.ours)
        return measured(
            row, lambda: run(encoder, given, backward=self.backward, dtype=dtype), self.reference,
            rounds=self.options.rounds, device=self.options.device,
        )  # fmt: skip


def measured_apart(row: Row, options: argparse.Namespace, until: float) -> Row:
    """Fill a row in from a process of its own, which is ended at `until` of ``time.monotonic``."""
    command = [
        sys.executable, __file__, "--device", options.device, "--architecture", options.architecture, "--batches", str(row.batch),
        "--dtype", options.dtype, "--frame", str(options.frame), "--rounds", str(options.rounds), "--threads", str(options.threads),
        *(["--quick"] if options.quick else []), "--case", json.dumps([row.backward, row.side]),
    ]  # fmt: skip
    if options.device == "cuda":
        torch.cuda.empty_cache()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        try:
            output, _ = child.communicate(timeout=max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            row.why = "stopped, the time was over"
            return row
        finally:
            if child.poll() is None:  # its compilers are in its session too
                os.killpg(child.pid, signal.SIGKILL)
    if child.returncode:
        row.why = f"{FAILED} with code {child.returncode}"
        return row
    return Row(**json.loads(output.splitlines()[-1]))


@contextmanager
def stoppable(rows: list[Row]) -> Iterator[None]:
    """Print the table of the rows that there are if the script is stopped, and end as stopped scripts do (130, 143)."""

    def stop(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit:
        print(f"\n{table(rows)}\n\nstopped: the other cases were not measured", flush=True)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def compare(options: argparse.Namespace, rows: list[Row], until: float) -> bool:
    """Append a row for each batch, way and side, those wanted most first. Return whether float32 is as near as it must be."""
    equal = True
    cases = [Case(options, backward=backward) for backward in (False, True)]
    for case in cases:
        errors = apart(case.in_float32(case.ours), case.reference)
        tolerance = TOLERANCE[options.device]
        equal &= max(errors) <= tolerance
        print(
            f"{case.name}, float32, TF32 off: ours is {max(errors):.1e} from stock (tolerance {tolerance:.0e})",
            flush=True,
        )
    for batch in options.batches:
        for sides in ((STOCK, OURS), (STOCK_COMPILED, OURS_COMPILED) if options.compile else ()):
            for case in cases:
                for row in (case.row(batch, side) for side in sides):
                    if time.monotonic() >= until:
                        late(row)
                    else:
                        row = case.measure(row) if row.side in (STOCK, OURS) else measured_apart(row, options, until)
                    rows.append(tell(row))
    return equal


def extend(parser: argparse.ArgumentParser) -> None:
    """Add the script's own options."""
    parser.add_argument("--architecture", default="vit_b", choices=list(ARCHITECTURES))
    parser.add_argument("--batches", type=int, nargs="+", help="images at once, in turn (default: 8 1 32, on a CPU 1)")
    parser.add_argument("--dtype", choices=list(DTYPES), help="of autocast (default: bf16, on a CPU fp32)")
    parser.add_argument("--frame", type=int, help="side of the frame (default: 1024, with --quick 512)")
    parser.add_argument("--rounds", type=int, help="timed calls a case (default: 7, on a CPU 2)")
    parser.add_argument(
        "--seconds", type=float, default=600, help="begin no case after them, compile no longer (default: %(default)s)"
    )
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="measure torch.compile (default: on CUDA)"
    )
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)


def main() -> None:
    """Measure and print the table; end with code 1 where results differ."""
    start = time.monotonic()
    options = parse(__doc__, extend)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    cuda = options.device == "cuda"
    options.batches = options.batches or ([8, 1, 32] if cuda else [1])
    options.dtype, options.rounds = options.dtype or ("bf16" if cuda else "fp32"), options.rounds or (7 if cuda else 2)
    options.compile = cuda if options.compile is None else options.compile
    options.frame = options.frame or (512 if options.quick else 1024)
    if options.case:
        backward, side = options.case
        case = Case(options, backward=backward)
        print(json.dumps(asdict(case.measure(case.row(options.batches[0], side)))))
        return
    rows: list[Row] = []
    with stoppable(rows):
        equal = compare(options, rows, start + options.seconds)
    print(f"\n{table(rows)}\n")
    equal &= agrees(rows, DTYPES[options.dtype], options.device)
    print(f"results {'agree' if equal else 'DIFFER'}")
    finish(options, line_for_machines(rows, f"encoder: {options.architecture} at {options.frame}", equal=equal))


if __name__ == "__main__":
    main()
