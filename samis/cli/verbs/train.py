"""Tune SAM on defects with an adapter.

The run folder is checkpoints/runs/<experiment>, or training.out. A run that was cut goes on by the same command. On several GPUs:
accelerate launch -m samis train CONFIG, or in a checkout with a launch file:
accelerate launch --config_file configs/accelerate/multi_gpu.yaml train/adapt.py CONFIG
"""

from __future__ import annotations

import argparse

from samis.cli.parser import Parser, config_arguments, read_config
from samis.errors import ConfigError

EXAMPLES = (
    "samis train steel_lora data.root=... training.minutes=10",
    "samis train configs/own.yaml data.root=my_photos adapter.rank=16",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    config_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train.

    Raises:
        ConfigError: the config is of another network.
    """
    config = read_config(arguments)
    if config.segmenter.name != "sam":
        raise ConfigError(
            f"{arguments.config}: segmenter.name: expected sam here, got {config.segmenter.name}; use samis baseline "
            "(train/baseline.py)",
            code="E-CONFIG-NETWORK",
        )
    from samis.jobs.train import train  # heavy imports come after the cheap checks

    train(config, dry_run=arguments.dry_run)
