"""The ``samis`` command. This module only knows the names of the verbs, so that ``samis --help`` imports nothing else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import samis
from samis.cli.failures import fail, run

__all__ = ["VERBS", "call", "main", "run", "script"]

VERBS = {
    "demo": "the main job in small, on drawn pictures: zero-shot, tune, score, compare",
    "train": "tune SAM on defects with an adapter",
    "baseline": "train a specialised network on the same data",
    "sweep": "search over config keys on the validation split",
    "how-long": "estimate the time of trainings on this machine",
    "score": "score zero-shot SAM, a run or saved maps on a split",
    "compare": "make the report: tables, figures, how much of the gap is closed",
    "calibrate": "calibrate a run on labelled images, so that predict can keep a promise",
    "predict": "find defects on new photos",
    "rank": "order unlabelled photos by how much their labels would teach a run",
    "export": "write a tuned SAM for other tools: peft, ONNX, transformers",
    "check": "check a data set before training",
    "doctor": "check this machine: versions, GPU, disk, weights, data",
    "metrics": "score folders of saved maps against masks",
    "cost": "add parameters, multiply-adds and latency to score rows",
    "pretrain": "pretrain the embedded SAM on drawn scenes (needs the checkout)",
    "ship": "turn a run into a tuned adapter that has a name",
    "completion": "print the shell's completion script",
}
"""Verb -> what it does; verb ``how-long`` is module ``samis.cli.verbs.how_long``."""

OVERVIEW = """usage: samis VERB ... [--help]

How far is the Segment Anything Model from the best defect networks, and how much of that does an adapter close?

{verbs}

examples:
  samis demo                                               some minutes on a CPU, needs no data
  samis predict steel photos/                              a tuned adapter that comes along, on your photos
  samis train steel_lora data.root=... training.minutes=10

`samis VERB --help` has the options, the config's keys and examples. On several GPUs: accelerate launch -m samis train CONFIG
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``samis VERB ...``; a mistake of the user's is one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    run(lambda: _main(words))


def _main(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, VERBS)) + 2
        print(OVERVIEW.format(verbs="\n".join(f"  {name:{width}s}{text}" for name, text in VERBS.items())), end="")
        return
    if words[0] in ("-V", "--version"):
        print(f"samis {samis.__version__}")
        return
    verb = words[0].replace("_", "-")
    if verb not in VERBS:
        from samis.errors import did_you_mean

        fail(f"{words[0]}: unknown command{did_you_mean(verb, VERBS)}; samis --help lists them", code="E-CONFIG-OPTION")
    call(verb, words[1:], prog=f"samis {verb}")


def script(verb: str) -> None:
    """Run a verb from a launch script, with the process's arguments."""
    run(lambda: call(verb, sys.argv[1:]))


def call(verb: str, words: Sequence[str], *, prog: str | None = None) -> None:
    """Parse a verb's arguments and do its job; exits with the job's code if it is not 0.

    Args:
        verb: key of ``VERBS``.
        words: what follows it on the command line.
        prog: what usage lines call the program; None takes the process's name.

    Raises:
        SystemExit: the code is not 0.
        UserError: a mistake in the arguments, or as the job raises.
    """
    from samis.cli.parser import build

    parser = build(verb, prog=prog)
    code = import_module(f"samis.cli.verbs.{verb.replace('-', '_')}").run(parser.read(words))
    if code:
        sys.exit(code)
