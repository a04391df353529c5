"""The launch files for one machine and for several, each with two CPU processes: two of one machine, or one of each of two."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "train/adapt.py", "configs/adapt/steel_lora.yaml", "data.name=procedural", "data.options={surface: steel, count: 4}",
    "data.augment=light", "frame.frame_px=64", "adapter.rank=2", "training.epochs=1", "training.batch_size=1",
    "training.gallery=0", "metrics.names=[s_measure]", "cache.embeddings=never",
]  # fmt: skip


@pytest.mark.parametrize(("file", "machines"), [("multi_gpu.yaml", 1), ("multi_node.yaml", 2)])
def test_two_processes_make_one_run(tmp_path, file, machines):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    where = ["--num_processes", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
    started = []
    for rank in ("0", "1")[:machines]:
        launcher = ["-m", "accelerate.commands.launch", "--config_file", f"configs/accelerate/{file}"]
        line = [*launcher, "--machine_rank", rank]
        command = [sys.executable, *line, *where, "--mixed_precision", "no", *SMALL, f"training.out={tmp_path / 'run'}"]
        started.append(
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    try:
        printed = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()  # where one has failed, the other waits for it
    assert [process.returncode for process in started] == [0] * machines, "\n".join(text[-2000:] for text in printed)
    lines = [json.loads(line) for line in (tmp_path / "run" / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2], "four images, one a process, are two steps"
    assert (tmp_path / "run" / "provenance.json").exists()
