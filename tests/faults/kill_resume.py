"""Kill a run again and again, let the same command go on, and compare with a run that was never cut, bit for bit.

  python tests/faults/kill_resume.py --kills 20                   # train/adapt.py, SIGKILL, one process
  python tests/faults/kill_resume.py --kills 20 --processes 2 --accumulation 2
  python tests/faults/kill_resume.py --kills 3 --signal TERM      # saves before it ends: no step is made twice
  python tests/faults/kill_resume.py --kills 20 --learner tiny    # the same loop on a learner of four numbers

Kills fall at random steps, and at random moments within a step or the writing that follows it.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import STEP, Ranks, adapt, finish, tiny
from same_run import differences

STEPS_A_KILL = 3
"""Steps that a run has, at the least, for each kill."""
MOST_RUNS = 5
"""Runs that may be cut until all kills are made."""


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
    """Cut a run exactly `kills` times; return what was done.

    The run has at least `STEPS_A_KILL` steps for each kill. If it ends before all are made, since the machine was slow to
    send one, the rest cut a second run.

    Raises:
        AssertionError: a run ended otherwise than an uncut one, or a stopped one lost a step.
    """
    # A run that hears the signal must save by itself; one that cannot has points to go back to, not at every step.
    every = 2 if number == signal.SIGKILL else 0
    fixed = [f"training.accumulation={accumulation}", f"training.save_every_steps={every}", "training.patience=0"]
    run, whole = {"adapt": adapt, "tiny": tiny}[learner], folder / "whole"
    total = _uncut(run(whole, *fixed, f"training.epochs={epochs}"), processes)
    if total < STEPS_A_KILL * kills:
        epochs, whole = math.ceil(epochs * STEPS_A_KILL * kills / total), folder / "whole_long"
        total = _uncut(run(whole, *fixed, f"training.epochs={epochs}"), processes)
    cut = Cut(run, [*fixed, f"training.epochs={epochs}"], processes, number, pace={"adapt": 0.3, "tiny": 0.03}[learner])
    done, rng = 0, random.Random(seed)
    for again in range(MOST_RUNS):
        place = folder / f"cut_{again}"
        targets = sorted(rng.sample(range(1, 1 + int(0.7 * total)), min(kills - done, int(0.7 * total))))
        done += cut.kill(place, targets, rng)
        finish(cut.work(place), processes)
        problems = differences(whole, place)
        assert not problems, f"after {done} kills at steps {targets}: " + "; ".join(problems[:10])
        if done == kills:
            break
    assert done == kills, f"{done} kills of {kills} in {MOST_RUNS} runs"
    lines = finish(cut.work(place), processes)
    assert any("this run is finished" in line for line in lines), lines[-5:]
    assert not differences(whole, place), "a finished run was not left alone"
    name = signal.Signals(number).name
    return f"{learner}: {done} times {name}, {processes} process(es), accumulation {accumulation}, {total} steps: equal"


@dataclass(frozen=True)
class Cut:
    """How a run is started and cut.

    Attributes:
        run: makes a run's work from its folder and settings. settings: of the run. processes: that share it.
        number: the signal. pace: seconds within which a kill follows the step it waits for.
    """

    run: Callable[..., Callable[[], None]]
    settings: list[str]
    processes: int
    number: int
    pace: float

    def work(self, place: Path) -> Callable[[], None]:
        """Return the work of the run in `place`."""
        return self.run(place, *self.settings)

    def kill(self, place: Path, targets: list[int], rng: random.Random) -> int:
        """Kill the run in `place` after each of the steps, let it go on; return how many kills met it alive."""
        done = 0
        for target in targets:
            ranks = Ranks(self.work(place), self.processes)
            if not ranks.wait_for(lambda line, t=target: bool((m := STEP.search(line)) and int(m[1]) >= t)):
                codes = ranks.wait()
                assert not any(codes), f"exit codes {codes}:\n" + "\n".join(ranks.lines[-30:])
                break  # an earlier kill came so late that the run had gone past all targets
            time.sleep(rng.uniform(0, self.pace))
            ranks.kill(self.number)
            codes = ranks.wait()
            _check_end(codes, self.number, ranks.lines)
            done += any(codes)
        return done


def _uncut(work: Callable[[], None], processes: int) -> int:
    """Run to the end without a cut; return the number of steps."""
    return int([match for match in map(STEP.search, finish(work, processes)) if match][-1][2])


def _check_end(codes: list[int], number: int, lines: list[str]) -> None:
    if number == signal.SIGKILL:
        assert set(codes) <= {-9, 0}, (codes, lines[-10:])
        return
    assert set(codes) <= {128 + number, 0}, (codes, lines[-10:])
    if codes[0]:
        assert any("the same command goes on from there" in line for line in lines), lines[-10:]
        last = [int(match[1]) for match in map(STEP.search, lines) if match][-1]
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
        summary = kill_and_resume(
            a.kills,
            processes=a.processes,
            accumulation=a.accumulation,
            number=signal.Signals[f"SIG{a.signal}"],
            seed=a.seed,
            learner=a.learner,
            folder=Path(folder),
        )
    print(summary)


if __name__ == "__main__":
    sys.exit(main())
