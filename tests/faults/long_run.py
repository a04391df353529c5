"""Many steps and many scored images: memory and open files must not grow with them.

  python tests/faults/long_run.py                      # 2,000 steps, 5,000 images
  python tests/faults/long_run.py --steps 200 --images 300
  python tests/faults/long_run.py --leak               # keeps what should be let go, to see that it would be reported

The loop and the evaluator are the real ones; the learner is four numbers with a heavy batch, the segmenter draws its maps.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tiny
import torch
from harness import Ranks

from samis.core.contracts import Batch
from samis.core.geometry import place
from samis.evaluation.evaluator import Evaluator
from samis.metrics import score_image

BALLAST = 50_000
"""Numbers (of 4 bytes) that each batch carries besides."""
HW = (200, 200)


class Gauge:
    """Samples this process's memory (bytes) and open files."""

    def __init__(self) -> None:
        self.process, self.numbers = psutil.Process(), list[tuple[int, int, int]]()

    def read(self, count: int) -> None:
        """Note the state after `count` steps or images."""
        self.numbers.append((count, self.process.memory_info().rss, self.process.num_fds()))

    def slope(self) -> float:
        """Return the growth of memory, bytes a step, by least squares over the second two thirds."""
        counts, memory, _ = np.array(self.numbers[len(self.numbers) // 3 :], dtype=float).T
        return float(np.polyfit(counts, memory, 1)[0])

    def check(self, *, limit: float, what: str) -> str:
        """Fail if memory grew by more than `limit` bytes a step, or open files at all, after the first third."""
        files = [number[2] for number in self.numbers[len(self.numbers) // 3 :]]
        assert len(files) >= 8, "too few readings"
        slope = self.slope()
        assert slope <= limit, f"{slope:.0f} bytes a {what}, at most {limit:.0f} allowed"
        assert max(files) - files[0] <= 1, f"open files grew from {files[0]} to {max(files)}"
        line = f"{self.numbers[-1][0]} {what}s: {slope:+.0f} bytes a {what} (a kept batch or image would be"
        return f"{line} {4 * BALLAST if what == 'step' else HW[0] * HW[1]}), {files[-1]} open files"


def steps(folder: Path, count: int, *, leak: bool = False) -> str:
    """Train for `count` steps in epochs of 50, each with a validation and a resume point.

    Raises:
        AssertionError: something grew.
    """
    gauge, kept, seen = Gauge(), list[Batch](), [0]

    def heavy(epoch: int, index: int, batch: Batch) -> Batch:
        seen[0] += 1
        if seen[0] % max(1, count // 40) == 0:
            gauge.read(seen[0])
        batch = replace(batch, extras={"ballast": torch.ones(BALLAST)})
        if leak:
            kept.append(batch)
        return batch

    epochs = count // 50
    tiny.train(folder, images=100, spoil=heavy, epochs=epochs, patience=0, save_every_steps=25, log_every=10)
    assert seen[0] == 50 * epochs
    return gauge.check(limit=BALLAST / 20, what="step")


def images(count: int, *, leak: bool = False) -> str:
    """Score `count` images with every metric of the default protocol.

    What stays of an image is its line in the result: its numbers, and its curves of 256 values.

    Raises:
        AssertionError: something grew.
    """
    gauge, kept = Gauge(), list[Any]()

    class Drawn:
        def __iter__(self) -> Iterator[Batch]:
            for number in range(count):
                if number % max(1, count // 40) == 0:
                    gauge.read(number)
                truth = np.zeros(HW, bool)
                truth[20 : 40 + number % 100, 30:90] = True
                placement = place(HW, (0, 0, HW[1], HW[0]), 16)
                batch = Batch(
                    [f"image_{number}"], torch.zeros(1, 3, 4, 4), [placement], class_names=["a"], truths=[truth]
                )
                if leak:
                    kept.append(truth)
                yield batch

    class Noisy:
        def predict(self, batch: Batch) -> list[torch.Tensor]:
            truth = torch.from_numpy(batch.truths[0]).float()
            return [0.7 * truth + 0.3 * torch.rand(HW, generator=torch.Generator().manual_seed(1))]

        def describe(self) -> dict[str, Any]:
            return {}

    evaluation = Evaluator(Drawn(), [f"image_{n}" for n in range(count)], truth_cache=0)(Noisy())
    assert len(evaluation.images) == count
    line = score_image(np.zeros(HW, np.uint8), np.ones(HW, bool))
    kept_numbers = sum(curve.nbytes for curve in line.curves.values()) + 100 * len(line.values)
    return gauge.check(limit=kept_numbers + HW[0] * HW[1] / 2, what="image")


def leaks_are_found(folder: Path) -> str:
    """Keep every batch and every truth, and see that both are reported.

    Raises:
        AssertionError: they are not, so that the measurement above would prove nothing.
    """
    for work, arguments in ((steps, (folder, 200)), (images, (120,))):
        ranks = Ranks(lambda w=work, a=arguments: w(*a, leak=True))
        codes = ranks.wait()
        assert codes == [1] and any("allowed" in line for line in ranks.lines), ranks.lines[-5:]
    return "a loop that keeps its batches, and an evaluator that keeps its truths, are reported"


def in_a_process(work: Any, *arguments: Any, **options: Any) -> str:
    """Run one of the two in a fresh process, whose memory nothing else has touched; return its output."""
    ranks = Ranks(lambda: print(work(*arguments, **options)))
    codes = ranks.wait()
    assert codes == [0], "\n".join(ranks.lines[-5:])
    return ranks.lines[-1]


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--leak", action="store_true")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(in_a_process(steps, Path(folder), a.steps, leak=a.leak), flush=True)
    print(in_a_process(images, a.images, leak=a.leak))


if __name__ == "__main__":
    sys.exit(main())
