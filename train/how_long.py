"""Say how long trainings take on this machine, from one measured micro-batch of each: nothing is trained, nothing written.

python train/how_long.py train/adapt.py configs/adapt/steel_lora.yaml training.epochs=50
python train/how_long.py train/adapt.py configs/adapt/steel_lora.yaml -- train/baseline.py configs/baselines/unet.yaml
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import run
from samis.config import Experiment, load_config
from samis.errors import ConfigError, Parser

VALIDATING = 1.15
"""What validations and resume points add to the steps, as a factor; seen on steel on a CPU, a rough figure."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs=argparse.REMAINDER, help="training commands, with -- between them")
    return parser.parse_args()


def split(words: list[str]) -> list[tuple[str, list[str]]]:
    """Return (config, overrides) of each command.

    >>> split(["train/adapt.py", "a.yaml", "seed=1", "--", "train/baseline.py", "b.yaml", "--"])
    [('a.yaml', ['seed=1']), ('b.yaml', [])]
    """
    commands: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            commands.append([])
        else:
            commands[-1].append(word)
    found = [command for command in commands if command]
    for command in found:
        if len(command) < 2 or not command[0].endswith(".py"):
            raise ConfigError(
                f"{' '.join(command)!r}: expected SCRIPT CONFIG key=value ..., as train/adapt.py takes it"
            )
    return [(command[1], command[2:]) for command in found]


def seconds(config: Experiment) -> float:
    """Return the seconds that all steps of a training take, by the second of two micro-batches, forward and backward."""
    from samis.data.configured import load_training
    from samis.factory import build_batch_maker, build_learner
    from samis.training.precision import default_device

    device = default_device()
    learner = build_learner(config).to(device).train()
    batches = build_batch_maker(config, training=True)(load_training(config))
    took = 0.0
    for turn, batch in enumerate(batches):
        start = time.perf_counter()
        learner(batch.to(device)).total.backward()
        learner.zero_grad()
        took = time.perf_counter() - start
        if turn == 1:
            break
    return took * len(batches) * config.training.epochs


def told(total: float) -> str:
    """Return a duration in words.

    >>> told(45 * 60), told(3 * 3600)
    ('45 minutes', '3.0 hours')
    """
    return f"{max(1, round(total / 60))} minutes" if total < 2 * 3600 else f"{total / 3600:.1f} hours"


def main() -> None:
    """Measure each training that is not finished, print the sum."""
    asked = arguments()
    commands = split(asked.commands)
    if not commands:
        raise ConfigError("expected training commands, such as train/adapt.py configs/adapt/steel_lora.yaml, got none")
    configs = [load_config(path, overrides, schema=Experiment) for path, overrides in commands]  # before torch comes
    left = [
        config
        for config in configs
        if not (Path(config.training.out or f"checkpoints/runs/{config.experiment}") / "provenance.json").exists()
    ]
    total = 0.0
    for number, config in enumerate(left, 1):
        one = VALIDATING * seconds(config)
        total += one
        print(f"{number}/{len(left)} {config.experiment}: about {told(one)}", flush=True)
    if left:
        import torch

        where = "on the GPU" if torch.cuda.is_available() else "without a GPU"
        print(
            f"{len(left)} trainings {where}: about {told(total)} together, however many run at once; scoring comes on top"
        )


if __name__ == "__main__":
    run(main)
