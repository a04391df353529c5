"""Starts training runs as forked processes, so that each costs no import, kills them, and compares what they leave behind.

The scripts beside this file import it; nothing here runs torch before the fork.
"""

from __future__ import annotations

import os
import re
import runpy
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "ACCELERATE_USE_CPU": "true",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}

import torch
import torch.utils.tensorboard
import yaml

import samis.jobs.train  # noqa: F401 - imported once here, so that no child has to
from samis import cli

STEP = re.compile(r"\bstep (\d+)/(\d+) loss ")


class Ranks:
    """One run on one or more forked processes.

    Args:
        work: what each process does.
        world: how many processes; more than one find each other over gloo.
    """

    def __init__(self, work: Callable[[], Any], world: int = 1) -> None:
        read, write = os.pipe()
        port = _free_port()
        self.pids = []
        sys.stdout.flush()
        for rank in range(world):
            pid = os.fork()
            if pid == 0:
                os.close(read)
                os.dup2(write, 1)
                os.dup2(write, 2)
                _child(work, rank, world, port)
            self.pids.append(pid)
        os.close(write)
        self.lines: list[str] = []
        self._output = os.fdopen(read, encoding="utf-8", errors="replace")

    def wait_for(self, matches: Callable[[str], bool]) -> bool:
        """Read output until a line is as wanted; return False if the run ends first."""
        for line in self._output:
            self.lines.append(line.rstrip("\n"))
            if matches(line):
                return True
        return False

    def kill(self, number: int, rank: int | None = None) -> None:
        """Send a signal to one rank, or to all."""
        for pid in self.pids if rank is None else [self.pids[rank]]:
            os.kill(pid, number)

    def wait(self) -> list[int]:
        """Return the exit codes, negative for a signal, once all ranks have ended."""
        self.wait_for(lambda line: False)
        self._output.close()
        return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.pids]


def tiny(folder: Path, *overrides: str, **options: Any) -> Callable[[], None]:
    """Return the work of the same loop on a learner of four numbers; only ``training.`` keys can be overridden."""

    def work() -> None:
        from tiny import Line, train

        settings = {
            key.removeprefix("training."): yaml.safe_load(value) for key, value in (o.split("=") for o in overrides)
        }
        cli.run(lambda: train(folder, learner=Line(pause=0.01), **settings, **options))

    return work


def adapt(folder: Path, *overrides: str) -> Callable[[], None]:
    """Return the work of ``train/adapt.py`` on drawn images into a run folder."""

    def work() -> None:
        out = [f"training.out={folder}", "training.keep_resume=true", f"cache.folder={folder}.embeddings"]
        sys.argv = ["train/adapt.py", "tests/faults/recipe.yaml", *out, *overrides]
        runpy.run_path(str(ROOT / "train" / "adapt.py"), run_name="__main__")

    return work


def finish(work: Callable[[], Any], world: int = 1) -> list[str]:
    """Run to the end and return the output; a failure includes it."""
    ranks = Ranks(work, world)
    codes = ranks.wait()
    if any(codes):
        raise AssertionError(f"exit codes {codes}:\n" + "\n".join(ranks.lines[-30:]))
    return ranks.lines


def _child(work: Callable[[], Any], rank: int, world: int, port: int) -> None:
    """Do the work as this rank and leave with the code that a script would leave with."""
    code = 0
    try:
        os.chdir(ROOT)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        if world > 1:
            os.environ |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world),
                "LOCAL_WORLD_SIZE": str(world),
            }
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        torch.set_num_threads(1)
        work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
