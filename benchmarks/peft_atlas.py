"""Adapters on the embedded SAM, each with the same number of steps on the same batches: parameters, time a step, S.

    python benchmarks/peft_atlas.py --steps 150 --jobs 16                     # steel, tile and rail, on a GPU
    python benchmarks/peft_atlas.py --surfaces drawn_steel rail --jobs 2      # on a CPU
    python benchmarks/peft_atlas.py --page docs/peft-atlas.md --jobs 0        # the page alone, from the rows

Rows are lines of ``--rows``; a job whose row is there, with the same steps and frame, is not run again. Each method is first
trained with three learning rates on the first surface and seed; the one with the largest S on the validation split is used
everywhere. The test split decides nothing. Times are taken first, by one process, while others draw the batches.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.atlas_jobs import METHODS, SURFACES, run  # noqa: E402
from benchmarks.atlas_page import write_page  # noqa: E402

ROWS = ROOT / "benchmarks/results/peft_atlas.jsonl"
Job = dict[str, Any]
Row = dict[str, Any]


def key_of(job: Job) -> tuple[Any, ...]:
    """Return what makes a job and its row the same: the settings by which rows may be compared, too."""
    return tuple(
        job.get(name)
        for name in ("kind", "surface", "method", "seed", "lr", "steps", "frame_px", "batch_size", "images")
    )


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            print(f"{path}: a line that was cut off is left out", file=sys.stderr)
    return rows


class AtlasPlan:
    """Which jobs are left, in their order: zero-shot, learning rates, then the seeds one after the other.

    Args:
        options: of the command line.
        rows: what is known so far; ``add`` extends it.
    """

    def __init__(self, options: argparse.Namespace, rows: list[Row]) -> None:
        self.options = options
        self.common = {
            "steps": options.steps,
            "frame_px": options.frame,
            "batch_size": options.batch,
            "images": options.images,
        }
        self.rows = {key_of(row): row for row in rows}
        self.started: set[tuple[Any, ...]] = set()

    def add(self, row: Row) -> None:
        """Take a row that was just made."""
        self.rows[key_of(row)] = row

    def known(self) -> list[Row]:
        """Return the rows of these settings, surfaces, methods and seeds."""
        o = self.options
        listed = {"surface": o.surfaces, "method": [*o.methods, "zero_shot"], "seed": [*o.seeds, None]}
        return [
            row
            for row in self.rows.values()
            if all(row[name] == value for name, value in self.common.items())
            and all(row.get(name) in values for name, values in listed.items())
        ]

    def lr(self, method: str) -> float | None:
        """Return the learning rate that validated best; None as long as one of the three has no row."""
        jobs = self._rate_jobs(method)
        if any(key_of(job) not in self.rows for job in jobs):
            return None
        return float(
            max((self.rows[key_of(job)] for job in jobs), key=lambda row: row["validation"]["s_measure"])["lr"]
        )

    def _job(self, kind: str, **values: Any) -> Job:
        return {"kind": kind, **self.common, **values}

    def _rate_jobs(self, method: str) -> list[Job]:
        surface, seed = self.options.surfaces[0], self.options.seeds[0]
        return [self._job("training", surface=surface, method=method, seed=seed, lr=lr) for lr in METHODS[method].lrs]

    def ready(self) -> Iterator[Job]:
        """Yield every job that may start, done or not: a training whose learning rate is not chosen yet may not."""
        o = self.options
        for surface in o.surfaces:
            yield self._job("zero_shot", surface=surface, method="zero_shot")
        yield from (job for job in self._trainings() if job["lr"] is not None)

    def first(self) -> list[Job]:
        """Return what is done before: every method's time, by one process with the device to itself, while others draw batches."""
        o = self.options
        times = [self._job("time", surface=o.surfaces[0], method=method) for method in o.methods]
        times = [job for job in times if key_of(job) not in self.rows]
        drawn = {(job["surface"], job["seed"]) for job in self._trainings() if key_of(job) not in self.rows}
        first = [{"kind": "times", "jobs": times}] if times else []
        return first + [self._job("batches", surface=surface, seed=seed) for surface, seed in sorted(drawn)]

    def _trainings(self) -> Iterator[Job]:
        """Yield every training, with a learning rate to be chosen as None."""
        for method in self.options.methods:
            yield from self._rate_jobs(method)
        for seed in self.options.seeds:
            for surface in self.options.surfaces:
                for method in self.options.methods:
                    yield self._job("training", surface=surface, method=method, seed=seed, lr=self.lr(method))

    def next(self) -> Job | None:
        """Return a job that may start now, or None."""
        for job in self.ready():
            if key_of(job) not in self.rows and key_of(job) not in self.started:
                self.started.add(key_of(job))
                return job
        return None


def work(plan: AtlasPlan, options: argparse.Namespace) -> int:
    """Run what is left by ``--jobs`` processes; return how many jobs failed."""
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    began, failures = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="atlas-") as scratch, options.rows.open("a", encoding="utf-8") as out:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
            before, running = plan.first(), dict[Future[list[Row]], Job]()
            while True:
                late = options.minutes and time.monotonic() - began > 60 * options.minutes
                while before and len(running) < options.jobs:
                    job = before.pop(0)
                    running[pool.submit(run, job, scratch)] = job
                alone = before or any(job["kind"] in ("times", "batches") for job in running.values())
                while len(running) < options.jobs and not late and not alone and (following := plan.next()):
                    running[pool.submit(run, following, scratch)] = following
                if not running:
                    return failures
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    try:
                        made = future.result()
                    except BrokenProcessPool:
                        raise SystemExit("a process was ended from outside; the same command goes on") from None
                    except Exception as error:
                        failures += 1
                        print(f"failed: {job}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                        continue
                    for row in made:
                        plan.add(row)
                        out.write(json.dumps(row) + "\n")
                        print(f"{time.monotonic() - began:6.0f} s  {line_of(row)}", flush=True)
                    out.flush()


def line_of(row: Row) -> str:
    """Return a row for the log."""
    text = f"{row['kind']:9s} {row['surface']:12s} {row['method']:11s}"
    if row["kind"] == "time":
        return f"{text} {row['ms']:.1f} ms a step alone on {row['device']}, {row['parameters']:,} parameters"
    if row["kind"] == "zero_shot":
        return f"{text} S {row['test']['s_measure']:.4f}"
    return (
        f"{text} seed {row['seed']} lr {row['lr']:g}: S {row['test']['s_measure']:.4f}, {row['step_ms']:.1f} ms a step with "
        f"others, {row['seconds']:.0f} s, off switch {'exact' if row['off_exact'] else 'NOT EXACT'}"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--surfaces", nargs="+", default=["steel", "tile", "rail"], choices=list(SURFACES), metavar="SURFACE"
    )
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--steps", type=int, default=150, help="optimizer steps of each training (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=8, help="images of a step (default: %(default)s)")
    parser.add_argument("--frame", type=int, default=256, help="side of SAM's frame (default: %(default)s)")
    parser.add_argument("--images", type=int, default=0, help="use only so many images of each split; 0 uses all")
    parser.add_argument("--jobs", type=int, default=1, help="processes; 0 runs nothing (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no job after so many minutes; 0 has no limit")
    parser.add_argument(
        "--rows", type=Path, default=ROWS, help="file of rows (default: benchmarks/results/peft_atlas.jsonl)"
    )
    parser.add_argument("--page", type=Path, help="write this page from the rows")
    return parser.parse_args(arguments)


def main() -> None:
    """Run what is left, then write the page."""
    options = parse()
    plan = AtlasPlan(options, read_rows(options.rows))
    failures = work(plan, options) if options.jobs else 0
    left = any(key_of(job) not in plan.rows for job in [*plan.ready(), *plan._trainings()])
    if options.page:
        write_page(plan.known(), options.page)
    if failures or left:
        raise SystemExit(f"{failures} jobs failed{', others were not begun' if left else ''}; the same command goes on")


if __name__ == "__main__":
    main()
