"""Kill a run again and again, let the same command go on, and compare with a run that was never cut, bit for bit.

  python tests/faults/kill_resume.py --kills 20                   # train/adapt.py, SIGKILL, one process
  python tests/faults/kill_resume.py --kills 20 --processes 2 --accumulation 2
  python tests/faults/kill_resume.py --kills 3 --signal TERM      # saves before it ends: no step is made twice
  python tests/faults/kill_resume.py --kills 20 --learner tiny    # the same loop on a learner of four numbers

Kills fall at random steps, and at random moments within a step or the writing that follows it.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from harness import STEP, Ranks, adapt, finish, tiny
from same_run import differences


def kill_and_resume(
    kills: int,
    *,
    processes: int = 1,
    accumulation: int = 1,
    number: int = signal.SIGKILL,
    seed: int = 0,
    learner: str = "adapt",
    epochs: int = 4,
    folder: Path,
) -> str:
    """Cut a run `kills` times; return what was done.

    Raises:
        AssertionError: the run ended otherwise than an uncut one, or a stopped one lost a step.
    """
    rng = random.Random(seed)
    # A run that hears the signal must save by itself; one that cannot has points to go back to, not at every step.
    every = 2 if number == signal.SIGKILL else 0
    settings = [
        f"training.accumulation={accumulation}",
        f"training.save_every_steps={every}",
        f"training.epochs={epochs}",
    ]
    run = {"adapt": adapt, "tiny": tiny}[learner]
    pace = {"adapt": 0.3, "tiny": 0.03}[learner]
    whole, cut = folder / "whole", folder / "cut"
    output = finish(run(whole, *settings), processes)
    total = int([match for match in map(STEP.search, output) if match][-1][3])
    targets = sorted(rng.choices(range(1, total), k=kills))
    done = 0
    for target in targets:
        ranks = Ranks(run(cut, *settings), processes)
        if not ranks.wait_for(lambda line, t=target: bool((m := STEP.search(line)) and int(m[2]) >= t)):
            codes = ranks.wait()
            assert not any(codes), f"exit codes {codes}:\n" + "\n".join(ranks.lines[-30:])
            break  # it came to its end before the kill
        time.sleep(rng.uniform(0, pace))
        ranks.kill(number)
        codes = ranks.wait()
        done += 1
        _check_end(codes, number, ranks.lines)
    finish(run(cut, *settings), processes)
    found = differences(whole, cut)
    assert not found, f"after {done} kills at steps {targets}: " + "; ".join(found[:10])
    again = finish(run(cut, *settings), processes)
    assert any("this run is finished" in line for line in again), again[-5:]
    assert not differences(whole, cut), "a finished run was not left alone"
    name = signal.Signals(number).name
    return f"{learner}: {done} times {name}, {processes} process(es), accumulation {accumulation}, {total} steps: equal"


def _check_end(codes: list[int], number: int, lines: list[str]) -> None:
    if number == signal.SIGKILL:
        assert set(codes) <= {-9, 0}, (codes, lines[-10:])
        return
    assert set(codes) <= {128 + number, 0}, (codes, lines[-10:])
    if codes[0]:
        assert any("the same command goes on from there" in line for line in lines), lines[-10:]
        last = [int(match[2]) for match in map(STEP.search, lines) if match][-1]
        saved = next(line for line in lines if "stopped and saved at step" in line)
        assert f"step {last} of" in saved, f"the last step was {last}, but {saved}"


def main(argv: list[str] | None = None) -> None:
    """Read the arguments, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--signal", choices=["KILL", "TERM", "INT"], default="KILL")
    parser.add_argument("--learner", choices=["adapt", "tiny"], default="adapt")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        told = kill_and_resume(
            a.kills,
            processes=a.processes,
            accumulation=a.accumulation,
            number=signal.Signals[f"SIG{a.signal}"],
            seed=a.seed,
            learner=a.learner,
            folder=Path(folder),
        )
    print(told)


if __name__ == "__main__":
    sys.exit(main())
