"""Kill a run at every single moment at which its files change, one after the other, and let it go on each time.

  python tests/faults/crash_points.py

Moments are: before and after each rename, removal of a folder and sync, and in the middle of each file that torch, safetensors
or the loop itself writes. The run is the real loop on a learner of four numbers.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from harness import Ranks, finish, tiny
from same_run import differences

SETTINGS = ["training.epochs=2", "training.save_every_steps=4"]


def every_moment(folder: Path, *, stride: int = 1) -> str:
    """Kill at every `stride`-th moment; return what was done.

    Raises:
        AssertionError: after some moment, the run did not end as an uncut one.
    """
    whole = folder / "whole"
    finish(tiny(whole, *SETTINGS))
    moment, killed = 0, 0
    while True:
        cut = folder / f"cut_{moment}"
        work = tiny(cut, *SETTINGS)
        codes = Ranks(lambda n=moment, w=work: (_arm(n), w())).wait()
        assert codes in ([-9], [0]), codes
        if codes == [0]:
            assert killed > 10, f"only {killed} moments"
            return f"killed at {killed} moments of {moment}: each run ended as the uncut one"
        killed += 1
        _check_readable(cut, moment)
        finish(work)
        problems = differences(whole, cut)
        assert not problems, f"killed at moment {moment}: " + "; ".join(problems[:5])
        shutil.rmtree(cut)
        moment += stride


def _check_readable(run: Path, moment: int) -> None:
    """Whatever stands under its own name is whole, even before anything is repaired."""
    from safetensors.torch import load_file

    for path in run.glob("resume/state.pt"):
        torch.load(path, weights_only=True)
    for path in [*run.glob("best/*.safetensors"), *run.glob("last/*.safetensors")]:
        assert load_file(path), f"moment {moment}"


def _arm(moment: int) -> None:
    """Make this process kill itself at the given moment."""
    passed = 0

    def tick() -> None:
        nonlocal passed
        if passed == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            tick()
            result = call(*arguments, **options)
            tick()
            return result

        return wrapped

    def half(written: Any) -> None:
        """Pass the moment at which only half of a file has been written."""
        if passed == moment:
            path = written
            if not isinstance(written, str | Path):
                written.flush()
                path = written.name
            os.truncate(path, os.path.getsize(path) // 2)
        tick()

    def written(call: Callable[..., Any], place: int) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            result = call(*arguments, **options)
            half(arguments[place])
            return result

        return wrapped

    import tiny as learner

    os.replace, os.fsync, shutil.rmtree = around(os.replace), around(os.fsync), around(shutil.rmtree)
    torch.save, learner.save_file = written(torch.save, 1), written(learner.save_file, 1)
    Path.write_text = written(Path.write_text, 0)  # type: ignore[method-assign]


def main() -> None:
    """Kill at every moment."""
    with tempfile.TemporaryDirectory() as folder:
        print(every_moment(Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
