"""Time training on several processes against one: on CPUs by gloo at one thread each, on GPUs by NCCL.

  python benchmarks/scaling.py             CPU: 1 and 2 processes; with GPUs: 1, 2, 4, 8 as far as there are
  python benchmarks/scaling.py --quick     fewer steps

Each process keeps the same batch, so n processes at full efficiency see n times the images of one a second. Process
groups are launched in turn, as train/README.md launches them. After the steps all ranks must hold the same weights.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.sides import parse


def extend(parser: argparse.ArgumentParser) -> None:
    """Add the script's own options."""
    parser.add_argument("--architecture", default="samis_lite")
    parser.add_argument("--batch", type=int, default=2, help="images a process (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="timed steps (default: 20, with --quick 3)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)


def work(options: argparse.Namespace) -> None:
    """Train the steps as one of the processes; the first prints images a second and whether all ranks agree."""
    from accelerate import Accelerator

    from samis.adapters import apply_adapter
    from samis.config import AdapterConfig, LossConfig
    from samis.core.geometry import Framing
    from samis.data import load_dataset
    from samis.data.pipeline.loading import build_loader
    from samis.sam.tuning import SamTuning
    from samis.sam.weights import load_sam

    accelerator = Accelerator(mixed_precision="bf16" if options.device == "cuda" else "no", cpu=options.device == "cpu")
    rank, world = accelerator.process_index, accelerator.num_processes
    sam = load_sam(options.architecture, weights="random")
    side = sam.image_encoder.img_size
    adapted = apply_adapter(sam, AdapterConfig(encoder=["qkv"]))
    learner = SamTuning(adapted, LossConfig(), segmenter=lambda tuned: tuned).to(accelerator.device).train()
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    model, optimizer = accelerator.prepare(learner, torch.optim.AdamW(trained, lr=1e-3))
    dataset = load_dataset("procedural", split="train", surface="steel", count=options.batch * world)
    loader = build_loader(dataset, Framing(side), batch_size=options.batch, training=True, rank=rank, world=world)
    batch = next(iter(loader)).to(accelerator.device)
    for step in range(options.steps + 1):
        if step == 1:  # the first warms up
            accelerator.wait_for_everyone()
            start = time.perf_counter()
        with accelerator.autocast():
            loss = model(batch)
        accelerator.backward(loss.total)
        optimizer.step()
        optimizer.zero_grad()
    accelerator.wait_for_everyone()
    if options.device == "cuda":
        torch.cuda.synchronize()
    took = time.perf_counter() - start
    mine = torch.cat([parameter.detach().flatten() for parameter in trained])
    everyone = accelerator.gather(mine[None])
    if accelerator.is_main_process:
        peak = torch.cuda.max_memory_allocated() if options.device == "cuda" else _resident_peak()
        rate = options.steps * options.batch * world / took
        print(json.dumps({"rate": rate, "equal": bool((everyone == everyone[:1]).all()), "peak": peak}))
    accelerator.end_training()


def launch(processes: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run a group of processes and return what its first one printed."""
    with socket.socket() as results:
        results.bind(("127.0.0.1", 0))
        port = results.getsockname()[1]
    command = [
        sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}", f"--master_port={port}", __file__,
        "--worker", f"--steps={options.steps}", f"--batch={options.batch}", f"--architecture={options.architecture}",
        f"--device={options.device}", f"--threads={options.threads}",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{processes} processes failed:\n{done.stderr[-3000:]}")
    line = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    found_line: dict[str, Any] = json.loads(line)
    return found_line


def main() -> None:
    """Launch the groups in turn, and report."""
    options = parse(__doc__, extend)
    options.steps = options.steps or (3 if options.quick else 20)
    if options.worker:
        return work(options)
    most = torch.cuda.device_count() if options.device == "cuda" else 2
    sizes = [size for size in (1, 2, 4, 8) if size <= max(1, most)]
    results: dict[int, list[dict[str, Any]]] = {size: [] for size in sizes}
    for _ in range(1 if options.quick else 3):
        for size in sizes:
            results[size].append(launch(size, options))
    rates = {size: statistics.median(line["rate"] for line in lines) for size, lines in results.items()}
    print(
        f"scaling: {options.architecture}, LoRA on encoder and decoder, {options.device}, {options.threads} threads each"
    )
    for size, rate in rates.items():
        print(f"  {size} processes {rate:9.2f} images/s, efficiency {rate / rates[1] / size:.2f}")
    equal = all(line["equal"] for lines in results.values() for line in lines)
    largest = sizes[-1]
    line = {
        "name": f"scaling: {largest} processes against 1, {options.device}", "ratio": round(rates[largest] / rates[1], 3),
        "peak_memory_ratio": round(results[1][0]["peak"] / results[largest][0]["peak"], 3), "equal": equal,
    }  # fmt: skip
    if options.json:
        print(json.dumps(line))
    raise SystemExit(0 if equal else 1)


def _resident_peak() -> int:
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
