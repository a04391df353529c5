"""The cost of a prediction: parameters, multiply-adds and measured latency of a segmenter, for one image at a time.

Everything is per image as predicted: all tiles of a cut image, all prompts, and with test-time augmentation all mirrored copies
count. Images differ in tiles and prompts, so multiply-adds are the mean over the measured images. Reading, resizing into the frame
and scoring are not part of it.

Code: ``torch.utils.flop_counter`` counts matrix products and convolutions; a multiply-add is two of its operations. Attention is
counted in its plain form, so that the number does not depend on the device's kernel.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from samis.core.contracts import Batch, Segmenter

IMAGES = 20
"""Images that are timed, at most."""
FEWEST = 3
"""Images that are timed however long they take, where there are so many."""
SECONDS = 10.0
"""After so many seconds no further image is timed."""
WARM_UPS = 2
"""Predictions of the first image that are neither timed nor counted: in them kernels are chosen, memory is reserved, and constants
such as SAM's positions are computed once."""


def measure(
    segmenter: Segmenter, batches: Iterable[Batch], *, device: torch.device | str, latency: bool = True
) -> dict[str, Any]:
    """Measure what a segmenter costs.

    Args:
        segmenter: whose ``predict`` is measured; must not read cached embeddings.
        batches: of one image each, at least one.
        device: where it computes.
        latency: whether to time it as well as to count.

    Returns:
        What a segmenter states of itself by ``stated_cost()``, as saved maps do; else
        ``parameters`` and ``multiply_adds`` (mean over images), ``views`` (mean number of framed views an image), ``frame_px``;
        with latency also ``p50_ms`` and ``p95_ms`` over ``timed_images`` single images, and ``device`` by name. Nothing without
        batches.
    """
    if hasattr(segmenter, "stated_cost"):
        stated: dict[str, Any] = segmenter.stated_cost()
        return stated
    single = [batch.to(device) for batch, _ in zip(batches, range(IMAGES), strict=False)]
    if not single:
        return {}
    for _ in range(WARM_UPS):
        segmenter.predict(single[0])
    times = _time_each(segmenter, single, torch.device(device)) if latency else []
    cost: dict[str, Any] = {
        "parameters": count_parameters(segmenter),
        "multiply_adds": round(float(np.mean(_count_each(segmenter, single)))),
        "views": float(np.mean([len(batch.placements) for batch in single])),
        "frame_px": single[0].placements[0].frame_px,
    }
    if latency:
        p50, p95 = np.percentile(times, [50, 95])
        cost |= {"p50_ms": float(p50), "p95_ms": float(p95), "timed_images": len(times), "device": device_name(device)}
    return cost


def count_parameters(segmenter: Segmenter) -> int:
    """Return how many parameters a segmenter's modules compute with, each once; 0 if it has none."""
    inner = getattr(segmenter, "inner", None)
    if inner is not None:
        return count_parameters(inner)
    modules = [value for value in vars(segmenter).values() if isinstance(value, nn.Module)]
    named = [pair for module in modules for pair in module.named_parameters()]
    # peft keeps the original of a module that it trains whole, and does not compute with it
    return sum({id(p): p.numel() for name, p in named if "original_module" not in name.split(".")}.values())


def count_multiply_adds(segmenter: Segmenter, batch: Batch) -> int:
    """Return the multiply-adds of one ``predict``."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        # compiled code runs past the counter
        torch.compiler.set_stance("force_eager")
        try:
            segmenter.predict(batch)
        finally:
            torch.compiler.set_stance("default")
    return counter.get_total_flops() // 2


def device_name(device: torch.device | str) -> str:
    """Return what a reader knows a device by: the GPU's name, or the processor's with the number of threads."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine() or "unknown processor"


def _count_each(segmenter: Segmenter, single: list[Batch]) -> list[int]:
    """Count each image, those of equal shapes once."""
    counted: dict[tuple[int, ...], int] = {}
    each = []
    for batch in single:
        points = batch.prompt.points_xy
        shape = (*batch.images.shape, batch.prompt.prompts_per_view, 0 if points is None else points.shape[2])
        if shape not in counted:
            counted[shape] = count_multiply_adds(segmenter, batch)
        each.append(counted[shape])
    return each


def _time_each(segmenter: Segmenter, single: list[Batch], device: torch.device) -> list[float]:
    """Return the milliseconds of each image's ``predict``, the device waited for before and after."""
    times: list[float] = []
    for batch in single:
        if len(times) >= FEWEST and sum(times) > 1000 * SECONDS:
            break
        _wait(device)
        start = time.perf_counter()
        segmenter.predict(batch)
        _wait(device)
        times.append(1000 * (time.perf_counter() - start))
    return times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
