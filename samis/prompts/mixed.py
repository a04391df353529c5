"""Prompts of several kinds in one training, drawn for each image: a SAM tuned without prompts still follows boxes and points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from samis.config import PromptConfig
from samis.core.contracts import MIXED, Placement, Prompt, Sample
from samis.errors import UserError
from samis.prompts.box import BoxPrompter
from samis.prompts.empty import EmptyPrompter
from samis.prompts.point import PointPrompter
from samis.prompts.whole import WholePrompter

MIXABLE = {"empty": EmptyPrompter, "whole": WholePrompter, "box": BoxPrompter, "point": PointPrompter}
"""Kinds of prompts that may be mixed."""


class MixedPrompter:
    """Give each sample the prompt of one kind, drawn by the weights of ``prompt.mix``.

    Args:
        config: ``mix``, and the options of its kinds.
        objects: whether boxes and points bring the framed truth of each.

    Raises:
        UserError: a kind that cannot be mixed, a weight that is no number from 0 on, or no weight above 0.
    """

    kind = MIXED

    def __init__(self, config: PromptConfig, *, objects: bool = False) -> None:
        for kind, weight in config.mix.items():
            if (
                kind not in MIXABLE
                or isinstance(weight, bool)
                or not isinstance(weight, int | float)
                or not weight >= 0
            ):
                raise UserError(
                    f"prompt.mix: expected weights from 0 on of {', '.join(MIXABLE)}, got {kind}: {weight}; write "
                    "{empty: 0.7, box: 0.2, point: 0.1}",
                    code="E-PROMPT-MIX",
                )
        kinds = [kind for kind, weight in config.mix.items() if weight > 0]
        if not kinds:
            raise UserError(
                f"prompt.mix: expected a weight above 0, got {config.mix}; write {{empty: 0.7, box: 0.3}}",
                code="E-PROMPT-MIX",
            )
        self._prompters = [MIXABLE[kind](replace(config, kind=kind)) for kind in kinds]  # type: ignore[abstract]
        for prompter in self._prompters:
            if isinstance(prompter, BoxPrompter | PointPrompter):
                prompter.objects = objects
        total = sum(config.mix[kind] for kind in kinds)
        self._shares = [config.mix[kind] / total for kind in kinds]
        self.sees_truth = any(prompter.sees_truth for prompter in self._prompters)

    def __call__(self, sample: Sample, placements: list[Placement], rng: np.random.Generator) -> Prompt:
        """Return one kind's prompt for all views of the sample.

        Args:
            sample: the image and its mask.
            placements: of its views.
            rng: draws the kind, and what that kind draws.

        Raises:
            UserError: a kind needs a mask, and the sample has none.
        """
        prompter = self._prompters[int(rng.choice(len(self._prompters), p=self._shares))]
        prompt = prompter(sample, placements, rng)
        return replace(prompt, kind=MIXED, view_kinds=(prompter.kind,) * len(placements))
