"""Search over config keys on the validation split: a grid, or some of its points at random.

python train/sweep.py configs/adapt/steel_lora.yaml adapter.rank=4,8,16 optim.lr=1e-3,2e-3
python train/sweep.py configs/adapt/steel_lora.yaml adapter.rank=4,8,16 optim.lr=1e-3,2e-3,4e-3 --random 4 training.epochs=4

A key with several values is searched, one with a single value is set in every trial; commas inside brackets do not
separate. Each trial is a run folder below checkpoints/runs/<experiment>_sweep; finished trials are not run again, a cut one
goes on. Ends in a table, sweep.json beside the trials, and the command of the winner. The test split is never looked at.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import run
from samis.config import ConfigError, Experiment, load_config
from samis.evaluation.score_row import write_atomic
from samis.jobs import sweep

SHOWN = ("s_measure", "weighted_f", "iou", "mae")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="YAML file of the experiment, see configs/")
    parser.add_argument("keys", nargs="+", metavar="key=value[,value...]", help="what to search and what to set")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="draw N points of the grid (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder of the trials (default: checkpoints/runs/<experiment>_sweep)")
    parser.add_argument("--dry-run", action="store_true", help="list the trials and stop")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON document at the end")
    return parser.parse_intermixed_args()


def main() -> None:
    """Plan, run what is not finished, rank."""
    asked = arguments()
    axes, fixed = sweep.parse_axes(asked.keys)
    config: Experiment = load_config(asked.config, fixed)
    out = asked.out or Path(f"checkpoints/runs/{config.experiment}_sweep")
    trials = sweep.plan(axes, out, draws=asked.random, seed=asked.seed)
    for trial in trials:  # every mistake comes before the first hour
        load_config(asked.config, [*fixed, *trial.overrides])
    for number, trial in enumerate(trials, 1):
        state = "finished" if trial.finished else "to run"
        print(f"trial {number} of {len(trials)}: {' '.join(trial.overrides)} ({state})", file=sys.stderr, flush=True)
        if not asked.dry_run and not trial.finished:
            run_trial(asked.config, config, fixed, trial)
    if asked.dry_run:
        return
    results = [result for trial in trials if (result := sweep.read_result(trial))]
    best_first = sweep.ranked(results, config.keep_best)
    write_atomic(out / "sweep.json", json.dumps(sweep.record(best_first), indent=1) + "\n")
    words = [script(config), asked.config, *fixed, *best_first[0].trial.overrides]
    if asked.json:
        print(json.dumps({"winner": words, "trials": sweep.record(best_first)}))
        return
    print(sweep.table(best_first, [config.keep_best, *(m for m in SHOWN if m != config.keep_best)]))
    print(f"best on validation by {config.keep_best}; train it with:\n  python {' '.join(quoted(w) for w in words)}")


def run_trial(path: str, config: Experiment, fixed: list[str], trial: sweep.Trial) -> None:
    """Train one trial in a process of its own, so that it leaves nothing in this one's memory."""
    names = [f"experiment={config.experiment}", f"training.out={trial.folder}"]
    command = [sys.executable, script(config), path, *fixed, *trial.overrides, *names]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise ConfigError(
            f"trial {' '.join(trial.overrides)}: expected it to train, but it ended with exit code {code} (its message is "
            "above); mend it and run the same command again, finished trials are kept"
        )


def script(config: Experiment) -> str:
    """Return the script that trains this kind of segmenter."""
    name = "adapt.py" if config.segmenter.name == "sam" else "baseline.py"
    folder = Path(__file__).resolve().parent
    try:
        return (folder / name).relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(folder / name)


def quoted(word: str) -> str:
    """Return a word as a shell would need it."""
    return f"'{word}'" if any(sign in word for sign in "[]{} ,*") else word


if __name__ == "__main__":
    run(main)
