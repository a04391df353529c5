"""No prompt at all: SAM's empty prompt, which a tuned SAM is trained and used with."""

from __future__ import annotations

import numpy as np

from samis.config import PromptConfig
from samis.core.contracts import Placement, Prompt, Sample


class EmptyPrompter:
    """Give SAM no prompt; it predicts one mask of the most salient object."""

    kind = "empty"
    sees_truth = False

    def __init__(self, config: PromptConfig | None = None) -> None:
        del config  # nothing to choose

    def __call__(self, sample: Sample, placements: list[Placement], rng: np.random.Generator) -> Prompt:
        """Return the empty prompt, whatever the sample."""
        return Prompt(self.kind)
