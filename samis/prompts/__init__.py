"""Prompts for SAM: grid, empty and whole need no ground truth; box and point are oracles, made from it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from samis.config import PromptConfig
from samis.core.contracts import Placement, Prompt, Sample
from samis.errors import UserError, did_you_mean
from samis.prompts.box import BoxPrompter
from samis.prompts.empty import EmptyPrompter
from samis.prompts.grid import GridPrompter
from samis.prompts.mixed import MixedPrompter
from samis.prompts.point import PointPrompter
from samis.prompts.whole import WholePrompter

__all__ = ["PROMPTERS", "Prompter", "build_prompter"]


class Prompter(Protocol):
    """Makes the prompt of one sample: V rows, one for each of its placements.

    ``kind`` is its key in ``PROMPTERS``; ``sees_truth`` marks an oracle, made from the ground truth. All random
    numbers come from `rng`.
    """

    kind: str
    sees_truth: bool

    def __call__(self, sample: Sample, placements: list[Placement], rng: np.random.Generator) -> Prompt:
        """Return a prompt with one row for each placement.

        Args:
            sample: the image, and for an oracle its mask.
            placements: of the sample's V views.
            rng: the generator.
        """
        ...


PROMPTERS: dict[str, type[Prompter]] = {
    "empty": EmptyPrompter,
    "grid": GridPrompter,
    "whole": WholePrompter,
    "box": BoxPrompter,
    "point": PointPrompter,
}
"""Prompters by kind; each is built from a ``PromptConfig``."""


def build_prompter(config: PromptConfig, *, training: bool = False, objects: bool = False) -> Prompter:
    """Construct the prompter that a config names.

    Args:
        config: the kind of prompt and its options.
        training: whether ``prompt.mix`` counts, in place of ``prompt.kind``.
        objects: whether boxes and points bring the framed truth of each (``Prompt.objects``).

    Raises:
        UserError: no such kind (the nearest one is proposed), or an option out of its range.

    >>> build_prompter(PromptConfig(kind="whole")).sees_truth
    False
    """
    if training and config.mix:
        return MixedPrompter(config, objects=objects)
    if config.kind not in PROMPTERS:
        raise UserError(
            f"prompt.kind: expected one of {', '.join(PROMPTERS)}, got '{config.kind}'{did_you_mean(config.kind, PROMPTERS)}",
            code="E-PROMPT-KIND",
        )
    prompter = PROMPTERS[config.kind](config)  # type: ignore[call-arg]
    if objects and isinstance(prompter, BoxPrompter | PointPrompter):
        prompter.objects = True
    return prompter
