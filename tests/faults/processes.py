"""What several processes owe each other: equal gradients and metrics, one failure for all, one writer, differing augmentations.

python tests/faults/processes.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
from harness import Ranks, finish

from samis import cli
from samis.core.contracts import Batch, Evaluation
from samis.errors import UserError


def equal_gradients(folder: Path) -> str:
    """On 1, 2 and 3 processes every rank holds the same gradient, step by step, and it that of one process on all."""
    for world in (1, 2, 3):
        finish(lambda w=world: _record_gradients(folder, w), world)
    alone = torch.load(folder / "1_0.pt", weights_only=True)
    assert len(alone) == 4
    for world in (2, 3):
        ranks = [torch.load(folder / f"{world}_{rank}.pt", weights_only=True) for rank in range(world)]
        for rank in ranks:
            assert torch.equal(rank, ranks[0]), f"ranks of {world} differ"
        torch.testing.assert_close(ranks[0], alone, rtol=1e-5, atol=1e-6)
    return "gradients of 2 and 3 processes: equal on all ranks, and those of one process"


def _record_gradients(folder: Path, world: int) -> None:
    from accelerate import Accelerator
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    from samis.config import OptimConfig

    accelerator = Accelerator()
    learner, seen = tiny.Line(dropout=0.0), []
    watching = register_optimizer_step_pre_hook(lambda *_: seen.append(learner.weight.grad.clone()))
    tiny.train(
        folder / f"run_{world}", learner=learner, accelerator=accelerator, images=12, batch_size=6 // world, epochs=2,
        optim=OptimConfig(lr=0.05, clip_norm=0.0),
    )  # fmt: skip
    watching.remove()
    torch.save(torch.stack(seen), folder / f"{world}_{accelerator.process_index}.pt")


def equal_metrics(folder: Path) -> str:
    """Seven images scored on 1, 2 and 3 processes, whose shares are uneven, give the same numbers to 1e-12."""
    for world in (1, 2, 3):
        finish(lambda w=world: _score(folder, w), world)
    alone = torch.load(folder / "metrics_1_0.pt", weights_only=True)
    assert len(alone) > 10
    compared = 0
    for world in (2, 3):
        for rank in range(world):
            theirs = torch.load(folder / f"metrics_{world}_{rank}.pt", weights_only=True)
            assert theirs.keys() == alone.keys()
            for name, value in alone.items():
                compared += 1
                assert abs(theirs[name] - value) <= 1e-12, (name, world, rank, theirs[name], value)
    return f"{len(alone)} metrics on 1, 2 and 3 processes agree to 1e-12 ({compared} comparisons)"


def _score(folder: Path, world: int) -> None:
    from accelerate import Accelerator

    from samis.core.geometry import place
    from samis.evaluation.evaluator import Evaluator

    rank = Accelerator().process_index
    rng = np.random.default_rng(5)
    hw = (23, 31)
    truths = [rng.random(hw) > 0.7 for _ in range(7)]
    maps = [rng.random(hw).astype(np.float32) * 0.6 + 0.4 * truth for truth in truths]
    batches = [
        Batch(
            [f"image_{n}"], torch.zeros(1, 3, 4, 4), [place(hw, (0, 0, 31, 23), 16)], class_names=[f"kind {n % 2}"],
            truths=[truths[n]],
        )
        for n in range(7)[rank::world]
    ]  # fmt: skip

    class Given:
        def predict(self, batch: Batch) -> list[torch.Tensor]:
            return [torch.from_numpy(maps[int(i.split("_")[1])]) for i in batch.ids]

        def describe(self) -> dict[str, Any]:
            return {}

    evaluation = Evaluator(batches, [f"image_{n}" for n in range(7)])(Given())
    numbers = dict(evaluation.metrics)
    for kind, metrics in evaluation.per_class.items():
        numbers |= {f"{kind}/{name}": value for name, value in metrics.items()}
    torch.save({name: float(value) for name, value in numbers.items()}, folder / f"metrics_{world}_{rank}.pt")


def one_failure_ends_all(folder: Path) -> str:
    """A user's mistake met by one rank only ends both within seconds, with that rank's message once and exit code 2."""
    for name, fail in {"load": _fail_loading, "validate": _fail_validating, "lone": _die}.items():
        start = time.monotonic()
        ranks = Ranks(lambda n=name, f=fail: f(folder / n), 2)
        codes = ranks.wait()
        took = time.monotonic() - start
        output = "\n".join(ranks.lines)
        assert took < 60, f"{name}: {took:.0f} s"
        if name == "lone":
            assert codes[1] == 7 and codes[0] not in (0, 7), (codes, output)
            continue
        assert codes == [2, 2], (name, codes, output)
        assert output.count("image 7 is broken") == 1, output
        assert "Traceback" not in output, output
    return "a mistake met by one rank ends both with its message, in loading, in validation, and when one dies"


def _rank() -> int:
    return int(os.environ["RANK"])


def _fail_loading(folder: Path) -> None:
    def spoil(epoch: int, index: int, batch: Batch) -> Batch:
        if _rank() == 1 and (epoch, index) == (1, 1):
            raise UserError("image 7 is broken")
        return batch

    cli.run(lambda: tiny.train(folder, spoil=spoil) and None)


def _fail_validating(folder: Path) -> None:
    from samis.evaluation.evaluator import Evaluator

    class Broken:
        def __iter__(self) -> Any:
            if _rank() == 1:
                raise UserError("image 7 is broken")
            return iter([])

    evaluator = Evaluator(Broken(), [])  # type: ignore[arg-type]
    cli.run(lambda: tiny.train(folder, validate=lambda _: evaluator.many(lambda batch: {}) and Evaluation({})) and None)


def _die(folder: Path) -> None:
    """One rank dies without a word in the middle of a step, as by the system's out-of-memory killer."""

    class Mortal(tiny.Line):
        def forward(self, batch: Batch) -> Any:
            if _rank() == 1 and batch.ids[0].startswith("point_1"):
                os._exit(7)
            return super().forward(batch)

    cli.run(lambda: tiny.train(folder, learner=Mortal()) and None)


def one_nan_skips_all(folder: Path) -> str:
    """A NaN on one rank only: both skip the step and stay equal, or both stop with its images' names and exit code 2."""

    def spoil(epoch: int, index: int, batch: Batch) -> Batch:
        return tiny.poisoned(batch) if (epoch, index) == (1, 1) and _rank() == 1 else batch

    def skip() -> None:
        run = tiny.train(folder / "skip", spoil=spoil, on_nan="skip")
        torch.save(run.learner.weight.detach(), folder / f"skipped_{_rank()}.pt")

    output = finish(skip, 2)
    assert sum("the loss is nan on images point_1_5, point_1_7" in line for line in output) == 1, output
    one, two = (torch.load(folder / f"skipped_{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(one, two) and torch.isfinite(one).all()
    ranks = Ranks(lambda: cli.run(lambda: tiny.train(folder / "stop", spoil=spoil) and None), 2)
    codes = ranks.wait()
    errors = [line for line in ranks.lines if line.startswith("error:")]
    assert codes == [2, 2] and len(errors) == 1 and "point_1_5, point_1_7" in errors[0], (codes, ranks.lines)
    return "a NaN on one of two ranks: both skip and stay equal, or both stop and name its images"


def one_writer(folder: Path) -> str:
    """Of two processes only the first opens a file for writing."""
    finish(lambda: _record_writes(folder), 2)
    wrote = [(folder / f"writes_{rank}.txt").read_text().split() for rank in (0, 1)]
    assert len(wrote[0]) > 5
    assert wrote[1] == [], wrote[1]
    return f"the first of two processes opened {len(wrote[0])} files for writing, the second none"


def _record_writes(folder: Path) -> None:
    writes: list[str] = []
    run = folder / "run"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        text = str(arguments[0]) if arguments else ""
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            writes.append(text) if text.startswith(str(run)) else None
        elif event in ("os.rename", "os.mkdir", "os.remove", "shutil.rmtree") and text.startswith(str(run)):
            writes.append(text)

    sys.addaudithook(hook)
    tiny.train(run)
    (folder / f"writes_{_rank()}.txt").write_text("\n".join(writes))


def augmentations_differ(folder: Path) -> str:
    """Each image is changed in its own way in each epoch, the same way whatever the workers and ranks, and again by seed."""
    from samis.core.geometry import Framing
    from samis.data import load_dataset
    from samis.data.pipeline.augment import build_augment
    from samis.data.pipeline.loading import build_loader

    dataset = load_dataset("procedural", split="train", surface="steel", count=8)
    first = dataset[0]

    class Same:
        """The same image under eight names: what differs comes from the augmentation alone."""

        name, split, ids, class_names = "same", "train", [f"same_{i}" for i in range(8)], ["defect"]

        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> Any:
            from dataclasses import replace

            return replace(first, id=self.ids[index])

        def fingerprint(self) -> str:
            return ""

    def seen(*, workers: int = 0, world: int = 1, epoch: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
        images = {}
        for rank in range(world):
            loader = build_loader(
                Same(), Framing(64, 0, 0.0), batch_size=2, shuffle=True, augment=build_augment("default"), workers=workers,
                seed=seed, training=True, rank=rank, world=world,
            )  # fmt: skip
            loader.set_epoch(epoch)
            for batch in loader:
                images |= dict(zip(batch.ids, batch.images, strict=True))
        return images

    base = seen()
    assert len(base) == 8
    shown = list(base.values())
    assert all(not torch.equal(a, b) for i, a in enumerate(shown) for b in shown[:i]), "two images were changed alike"
    for again in (seen(), seen(workers=2), seen(world=2)):
        assert again.keys() == base.keys() and all(torch.equal(again[i], base[i]) for i in base)
    for other in (seen(epoch=1), seen(seed=1)):
        assert all(not torch.equal(other[i], base[i]) for i in base)
    return "augmentations: differ between images and epochs, repeat by seed, whatever workers and ranks"


CHECKS: list[Callable[[Path], str]] = [
    equal_gradients, equal_metrics, one_failure_ends_all, one_nan_skips_all, one_writer, augmentations_differ,
]  # fmt: skip


def main() -> None:
    """Run every check."""
    for check in CHECKS:
        with tempfile.TemporaryDirectory() as folder:
            print(check(Path(folder)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
