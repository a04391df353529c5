"""What every benchmark shares: two sides timed in turn in one process, peak memory, and the line for machines."""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Side = Callable[[], Any]
MARKS = Path("/proc/self/clear_refs")
"""Writing 5 to it makes Linux forget the high-water mark of the process's memory."""


@dataclass
class Measured:
    """One side: median seconds (of the processor on a CPU), peak bytes above the start or None, what it returned."""

    seconds: float
    peak: int | None
    result: Any


def parse(
    description: str | None, extend: Callable[[argparse.ArgumentParser], None] | None = None
) -> argparse.Namespace:
    """Read the options; ``--quick`` takes less than a minute on one core of a CPU."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes: under a minute on a CPU")
    parser.add_argument("--json", action="store_true", help="end with one line: name, ratio, peak_memory_ratio, equal")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: %(default)s)")
    if extend:
        extend(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    return options


def measure(
    stock: Side, ours: Side, *, rounds: int, device: str = "cpu", until: float = math.inf
) -> tuple[Measured, Measured]:
    """Run the sides in turn, so that a busy moment of the machine hits both.

    On a CPU the clock is the process's own processor time, which other work on the machine does not lengthen.

    Args:
        stock: the side to compare with.
        ours: our side.
        rounds: at most; at least one.
        device: ``cuda`` measures wall time.
        until: time of ``time.monotonic``; no round begins that would end after it if it took as long as the longest before.
    """
    clock = time.perf_counter if device == "cuda" else time.process_time
    times: tuple[list[float], list[float]] = ([], [])
    peaks: list[int | None] = [0, 0]
    results: list[Any] = [None, None]
    longest = 0.0
    for turn in range(rounds):
        began = time.monotonic()
        if turn and began + longest > until:
            break
        for number, side in enumerate((stock, ours)):
            results[number] = None
            before = reset_peak(device)
            start = clock()
            results[number] = side()
            if device == "cuda":
                torch.cuda.synchronize()
            times[number].append(clock() - start)
            peak = read_peak(device)
            known, so_far = peak is not None and before is not None, peaks[number]
            peaks[number] = max(so_far or 0, peak - before) if known else None  # type: ignore[operator]
        longest = max(longest, time.monotonic() - began)
    both = zip(times, peaks, results, strict=True)
    first, second = (Measured(statistics.median(own), peak, result) for own, peak, result in both)
    return first, second


def reset_peak(device: str) -> int | None:
    """Begin to watch for the peak memory, and return what is held now; None where the system does not tell.

    On CUDA torch's own count; on Linux the process's resident set, whose high-water mark the kernel lets one reset, after
    freed memory was given back.
    """
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())
    libc = ctypes.CDLL(ctypes.util.find_library("c"))
    if not MARKS.exists() or not hasattr(libc, "malloc_trim"):
        return None
    libc.malloc_trim(0)
    MARKS.write_text("5", encoding="ascii")
    return _resident("VmRSS")


def read_peak(device: str) -> int | None:
    """Return the peak memory since ``reset_peak``; None where the system does not tell."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return _resident("VmHWM") if MARKS.exists() else None


def report(
    name: str, stock: Measured, ours: Measured, *, equal: bool, unit: str = "s", per: int = 1, names: tuple[str, str]
) -> dict[str, Any]:
    """Print both sides and their ratios; return the line for machines as a dict."""
    ratio = stock.seconds / ours.seconds
    known = stock.peak is not None and ours.peak is not None and ours.peak > 0
    memory = stock.peak / ours.peak if known else None  # type: ignore[operator]
    print(f"{name}")
    for label, side in zip(names, (stock, ours), strict=True):
        peak = "unknown" if side.peak is None else f"{side.peak / 1e6:8.0f} MB"
        print(f"  {label:34s} {side.seconds / per:9.3f} {unit}   peak {peak}")
    shown = (
        "unknown" if memory is None else f"{memory:.2f} times less" if memory >= 1 else f"{1 / memory:.2f} times more"
    )
    print(f"  {ratio:.2f} times as fast, {shown} memory, results {'agree' if equal else 'DIFFER'}", flush=True)
    return {
        "name": name, "ratio": round(ratio, 3), "peak_memory_ratio": None if memory is None else round(memory, 3),
        "equal": equal,
    }  # fmt: skip


def finish(options: argparse.Namespace, line: dict[str, Any]) -> None:
    """Print the line for machines if requested; end with code 1 where results differ."""
    if options.json:
        print(json.dumps(line))
    raise SystemExit(0 if line["equal"] else 1)


def spread(module: torch.nn.Module, deviation: float = 0.05) -> torch.nn.Module:
    """Move every weight at random, so that nothing (such as SAM's relative positions) stays at zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * deviation)
    return module


def _resident(key: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(text.partition(f"{key}:")[2].split()[0])
