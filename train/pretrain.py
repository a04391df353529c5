"""Pretrain a small SAM on drawn scenes: python train/pretrain.py configs/pretrain_128.yaml

Two stages make the embedded SAM: configs/pretrain_128.yaml, then configs/pretrain.yaml, which starts from the first. A run
that was cut goes on by the same command.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.command import parse, run
from samis.config import Pretraining


def main() -> None:
    """Read the config, pretrain, say where the weights lie."""
    config, arguments = parse(__doc__, Pretraining)
    from samis.build_pretraining import pretrain  # heavy imports come after the cheap checks

    pretrain(config, dry_run=arguments.dry_run)


if __name__ == "__main__":
    run(main)
