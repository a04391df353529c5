"""Tune SAM on defects with an adapter: python train/adapt.py configs/adapt/steel_lora.yaml adapter.rank=16

On several GPUs: accelerate launch --config_file configs/accelerate/multi_gpu.yaml train/adapt.py CONFIG. A run that was cut
goes on by the same command. The run folder is checkpoints/runs/<experiment>, or training.out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import parse, run
from samis.config import Experiment
from samis.errors import ConfigError


def main() -> None:
    """Read the config, train, say where the run lies."""
    config, arguments = parse(__doc__, Experiment)
    if config.segmenter.name != "sam":
        raise ConfigError(
            f"{arguments.config}: segmenter.name: expected sam here, got {config.segmenter.name}; use train/baseline.py"
        )
    from samis.jobs.train import train  # heavy imports come after the cheap checks

    train(config, dry_run=arguments.dry_run)


if __name__ == "__main__":
    run(main)
