"""Search over config keys on the validation split: a grid, points at random, or points that Optuna chooses.

python train/sweep.py configs/adapt/steel_lora.yaml adapter.rank=4,8,16 optim.lr=1e-3,2e-3
python train/sweep.py configs/adapt/steel_lora.yaml adapter.rank=4,8,16 optim.lr=1e-4..1e-2 --tpe 20 training.epochs=4

A key with several values, or a range low..high, is searched; one with a single value is set in every trial; commas inside
brackets do not separate. Each trial is a run folder below checkpoints/runs/<experiment>_sweep with its log beside it. Trials
whose validations stay below the median of the others end early. The same command goes on with a study that was cut, and
tries failed trials again. Several machines, or several GPUs, share a study when each runs the same command: with the same
folder, or with --storage and a database. Ends in a table, sweep.json and sweep.html beside the trials, and the command of
the winner. The test split is never looked at.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import run
from samis.jobs.sweep import sweep

if __name__ == "__main__":
    run(lambda: sweep(__doc__, scripts=Path(__file__).resolve().parent))
