"""Train a specialised network, with the data, loop and run folder that SAM has.

On several GPUs: accelerate launch -m samis baseline CONFIG. A run that was cut goes on by the same command.
"""

from __future__ import annotations

import argparse

from samis.cli.parser import Parser, config_arguments, read_config
from samis.errors import ConfigError

EXAMPLES = (
    "samis baseline unet_lite0 data.root=... training.minutes=10",
    "samis baseline tsernet data.name=folder data.root=my_photos experiment=my_tsernet",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    config_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train.

    Raises:
        ConfigError: the config is of SAM, or of nothing that is trained.
    """
    config = read_config(arguments)
    if config.segmenter.name in ("sam", "run", "saved_maps"):
        raise ConfigError(
            f"{arguments.config}: segmenter.name: expected a network such as unet, got {config.segmenter.name}; "
            "tune SAM with samis train (train/adapt.py)",
            code="E-CONFIG-NETWORK",
        )
    from samis.jobs.train import train  # heavy imports come after the cheap checks

    train(config, dry_run=arguments.dry_run)
