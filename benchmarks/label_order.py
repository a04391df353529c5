"""Labels that a rule of `samis rank` saves: train on what it chooses and on random photos, compare S for the same labels.

    python benchmarks/label_order.py                                     # steel: 16 to 64 labels, 3 seeds, the embedded SAM
    python benchmarks/label_order.py --budgets 8 16 --seeds 2 --epochs 4 --test 40

Each seed starts from the same few random photos for every rule. The network trained on them ranks what is left of the training
set, its first photos are labelled, and it is trained again from the start. S is of the test split, whose photos no rule sees. A
rule and seed whose rows are in ``--out`` is not run again. Needs the steel data ($SAMIS_DATA).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from samis.config import Experiment, load_config  # noqa: E402
from samis.core.contracts import Dataset  # noqa: E402
from samis.data import load_dataset  # noqa: E402
from samis.data.base import subset  # noqa: E402
from samis.evaluation.evaluator import Evaluator  # noqa: E402
from samis.factory import build_batch_maker  # noqa: E402
from samis.jobs.load import load_run  # noqa: E402
from samis.jobs.rank import rank_photos  # noqa: E402
from samis.jobs.train import train  # noqa: E402
from samis.training.precision import default_device  # noqa: E402

RANDOM = "random"
Row = dict[str, Any]


def write_pairs(path: Path, training: Dataset, chosen: Sequence[int], validation: Dataset) -> None:
    """Write the CSV of pairs that a training reads: the chosen photos, and the validation split.

    Args:
        path: of the CSV.
        training: the pool.
        chosen: indices into it.
        validation: taken whole.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mask", "class", "split"])
        for dataset, numbers, split in ((training, chosen, "train"), (validation, range(len(validation)), "val")):
            for number in numbers:
                sample = dataset[number]
                writer.writerow([sample.image_path, sample.mask_path, sample.class_name, split])


def train_on(pairs: Path, folder: Path, *, epochs: int, frame_px: int, seed: int) -> Path:
    """Tune the embedded SAM on a CSV of pairs; return the run folder."""
    overrides = [
        "data.name=folder", f"data.root={pairs.parent}", f"data.options={{csv: {pairs}}}", "data.check=false", f"seed={seed}",
        f"frame.frame_px={frame_px}", f"training.epochs={epochs}", f"training.validate_every={epochs}", "training.batch_size=8",
        "training.gallery=0", "training.workers=0", f"training.out={folder}", f"experiment={folder.name}",
    ]  # fmt: skip
    config: Experiment = load_config(ROOT / "configs/adapt/steel_lora.yaml", overrides)
    return train(config)


def score(folder: Path, test: Dataset) -> float:
    """Return S of a run on labelled photos."""
    run = load_run(folder)
    evaluator = Evaluator(
        build_batch_maker(run.config)(test), test.ids, names=["s_measure"], device=default_device(), alone=True
    )
    return float(evaluator(run.segmenter).metrics["s_measure"])


def grow(
    rule: str, seed: int, options: argparse.Namespace, data: tuple[Dataset, Dataset, Dataset], place: Path
) -> list[Row]:
    """Label photos by a rule, budget after budget, and train on them; return a row for each budget."""
    pool, validation, test = data
    order = np.random.default_rng(seed).permutation(len(pool)).tolist()
    chosen, rows = order[: options.budgets[0]], []
    for budget in options.budgets:
        if len(chosen) < budget:
            left = [number for number in order if number not in set(chosen)]
            if rule != RANDOM:
                files = {str(pool[number].image_path): number for number in left}
                lines, _ = rank_photos(place / f"{rule}_{seed}_{len(chosen)}", list(files), rule=rule)
                left = [files[line["file"]] for line in lines]
            chosen = [*chosen, *left[: budget - len(chosen)]]
        pairs = place / f"{rule}_{seed}_{budget}.csv"
        write_pairs(pairs, pool, chosen, validation)
        folder = train_on(pairs, place / pairs.stem, epochs=options.epochs, frame_px=options.frame_px, seed=seed)
        rows.append({"rule": rule, "seed": seed, "labels": budget, "s_measure": score(folder, test)})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and its 95 % interval over seeds (Student's t); of one seed the interval is not known.

    >>> [round(value, 3) for value in interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def labels_for(curve: Sequence[tuple[int, float]], s: float) -> float:
    """Return how many labels a curve needs for an S, linearly between its points; infinity if it never gets there.

    Args:
        curve: (labels, S) by labels.
        s: the S to reach.

    >>> labels_for([(16, 0.7), (32, 0.8)], 0.75), labels_for([(16, 0.7)], 0.9)
    (24.0, inf)
    """
    if curve[0][1] >= s:
        return float(curve[0][0])
    for (before, low), (after, high) in itertools.pairwise(curve):
        if low < s <= high:
            return before + (after - before) * (s - low) / (high - low)
    return float("inf")


def summary(rows: Sequence[Row]) -> list[str]:
    """Return lines: S of each rule and budget with its interval, paired difference to random, and labels saved."""
    budgets = sorted({row["labels"] for row in rows})
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    of = {(row["rule"], row["labels"], row["seed"]): row["s_measure"] for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    lines, last = [], budgets[-1]
    for rule in rules:
        for labels in budgets:
            values = [of[rule, labels, seed] for seed in seeds if (rule, labels, seed) in of]
            mean, low, high = interval(values)
            text = f"{rule:12s} {labels:4d} labels: S {mean:.4f} [{low:.4f}, {high:.4f}]"
            both = [seed for seed in seeds if (rule, labels, seed) in of and (RANDOM, labels, seed) in of]
            if rule != RANDOM and both:
                gain, low, high = interval([of[rule, labels, seed] - of[RANDOM, labels, seed] for seed in both])
                text += f"; against random {gain:+.4f} [{low:+.4f}, {high:+.4f}]"
            lines.append(text)
        if rule != RANDOM:
            saved = []
            for seed in (seed for seed in seeds if (rule, last, seed) in of and (RANDOM, last, seed) in of):
                curve = [(labels, of[rule, labels, seed]) for labels in budgets if (rule, labels, seed) in of]
                needed = labels_for(curve, of[RANDOM, last, seed])
                saved.append(last - needed)
            known = [value for value in saved if np.isfinite(value)]
            mean, low, high = interval(known) if known else (float("nan"),) * 3
            lines.append(
                f"{rule:12s} labels saved for the S of {last} random ones: {mean:.1f} [{low:.1f}, {high:.1f}] where it is reached, "
                f"{len(known)} of {len(saved)} seeds"
            )
    return lines


def main() -> None:
    """Train, write rows, print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--rules", nargs="+", default=[RANDOM, "uncertainty", "diversity", "both"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--frame-px", type=int, default=256)
    parser.add_argument("--test", type=int, default=120, help="photos of the test split, spread over the classes")
    parser.add_argument("--out", type=Path, default=Path("reports/label_order.jsonl"))
    options = parser.parse_args()
    options.budgets = sorted(options.budgets)
    name = "sd_saliency_900"
    data = (
        load_dataset(name, split="train"),
        subset(load_dataset(name, split="val"), 30),
        subset(load_dataset(name, split="test"), options.test),
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.is_file() else []
    with tempfile.TemporaryDirectory() as place:
        for seed in range(options.seeds):
            for rule in options.rules:
                done = [row for row in rows if (row["rule"], row["seed"]) == (rule, seed)]
                if {row["labels"] for row in done} >= set(options.budgets):
                    continue
                made = grow(rule, seed, options, data, Path(place))
                with options.out.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(row) + "\n" for row in made)
                rows += made
    print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()
