"""Train a specialised network beside SAM, same data, loop and run folder: python train/baseline.py configs/baselines/unet.yaml

On several GPUs: accelerate launch --config_file configs/accelerate/multi_gpu.yaml train/baseline.py CONFIG. A run that was
cut goes on by the same command.
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
    if config.segmenter.name in ("sam", "run", "saved_maps"):
        raise ConfigError(
            f"{arguments.config}: segmenter.name: expected a network such as unet, got {config.segmenter.name}; "
            "tune SAM with train/adapt.py"
        )
    from samis.jobs.train import train  # heavy imports come after the cheap checks

    train(config, dry_run=arguments.dry_run)


if __name__ == "__main__":
    run(main)
