"""Resume a run on another number of processes, or with other batches: it goes on where it stood, and reports what changes.

python tests/faults/other_world.py
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path

import torch
from harness import STEP, Ranks, finish, tiny


def other_processes(folder: Path) -> str:
    """Stop a run of two processes in its second epoch and end it on one, and the other way round.

    Raises:
        AssertionError: an epoch's images were not taken up where they were left, or nothing was reported.
    """
    for before, after in ((2, 1), (1, 2)):
        run = folder / f"from_{before}"
        cut_epoch = _stop(run, before)
        saved = torch.load(run / "resume" / "state.pt", weights_only=True)["position"]
        output = finish(tiny(run), after)
        assert any(f"it ran on {before} process(es), now on {after}" in line for line in output), output[:6]
        assert any("a step averages over" in line for line in output), output[:6]
        assert any("not bit for bit" in line for line in output), output[:6]
        steps = [(int(m[1]), int(m[2])) for m in map(STEP.search, output) if m]
        epoch_steps = 12 // (2 * after)
        assert {total for _, total in steps} == {3 * epoch_steps} and steps[-1][0] == 3 * epoch_steps
        images_seen = saved["batches"] * 2 * before
        assert saved["epoch"] == cut_epoch
        assert steps[0][0] == cut_epoch * epoch_steps + images_seen // (2 * after) + 1, (saved, steps[0])
        epochs = [json.loads(line)["epoch"] for line in (run / "validation.jsonl").read_text().splitlines()]
        assert epochs == [1, 2, 3]
    return "a run of 2 processes ends on 1, and one of 1 on 2; each reports what changes"


def _stop(run: Path, world: int) -> int:
    """Let the run come into its second epoch, then stop it; return the epoch that it is in."""
    ranks, epoch_steps = Ranks(tiny(run), world), 12 // (2 * world)
    assert ranks.wait_for(lambda line: bool((m := STEP.search(line)) and int(m[1]) > epoch_steps))
    ranks.kill(signal.SIGTERM)
    codes = ranks.wait()
    assert codes == [143] * world, (codes, ranks.lines)
    return int(torch.load(run / "resume" / "state.pt", weights_only=True)["position"]["epoch"])


def main() -> None:
    """Resume both ways."""
    with tempfile.TemporaryDirectory() as folder:
        print(other_processes(Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
