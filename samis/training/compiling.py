"""``training.compile``: torch.compile for the parts of a learner that cost most, in training steps of full batches alone.

Compiled are calls for the shapes that every full batch has. A shorter last batch, validation and scoring run as without: nothing
is compiled twice, and the numbers that choose the best epoch are those that the saved weights give. Parameters, their
names and what is saved stay as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from samis.config import TrainingConfig
from samis.errors import UserError

CHOICES = ("no", "default")
"""Values of ``training.compile``; default is torch's own name.

Its mode reduce-overhead, which records CUDA graphs, is left out: the half-precision copies of the weights are at other
addresses in each step, and a graph whose weights have moved is recorded again (on an H200: 350 waits a step, and the GPU
was busy in 0.7 % of the time)."""


class CompiledSteps:
    """Inside its ``with`` block a learner's ``compiled_parts`` run compiled.

    Args:
        learner: may have a method ``compiled_parts``, which returns pairs (owner, name of a method whose first argument is a
            tensor of as many rows as the batch has views).
        training: ``compile`` and ``batch_size``.
        sharded: whether FSDP owns the weights.

    Attributes:
        used: for the run's provenance: a value of ``CHOICES``, with the reason where compiling failed.

    Raises:
        UserError: an unknown value.
    """

    def __init__(self, learner: nn.Module, training: TrainingConfig, *, sharded: bool) -> None:
        self.used, self._active = training.compile, False
        if training.compile not in CHOICES:
            raise UserError(
                f"training.compile: expected one of {', '.join(CHOICES)}, got {training.compile!r}",
                code="E-TRAIN-CHOICE",
            )
        if training.compile == "no":
            return
        if sharded:
            self._disable("the weights are sharded (FSDP)")
            return
        parts = list(getattr(learner, "compiled_parts", list)())
        for owner, name in parts:
            setattr(owner, name, self._either(getattr(owner, name), training))
        if not parts:
            self._disable("this learner has no part that can be compiled")

    def __enter__(self) -> None:
        self._active = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._active = False

    def _either(self, plain: Callable[..., Any], training: TrainingConfig) -> Callable[..., Any]:
        """Return a function that calls the compiled or the plain form."""
        mode, failed = training.compile, self._failed
        made: list[Callable[..., Any]] = []

        def call(rows: Tensor, *rest: Any) -> Any:
            if not self._active or failed() or len(rows) != training.batch_size:
                return plain(rows, *rest)
            try:
                if not made:
                    made.append(torch.compile(plain, dynamic=False, mode=mode))
                return made[0](rows, *rest)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # compilers fail in many ways; a fault of the model's own fails below once more
                reason = (str(error).strip().splitlines() or [""])[0][:200]
                self._disable(f"{type(error).__name__}: {reason}")
                return plain(rows, *rest)

        return call

    def _failed(self) -> bool:
        return self.used.startswith("no")

    def _disable(self, reason: str) -> None:
        """Go on without the compiler, and print why."""
        self.used = f"no, since {reason}"
        print(f"training.compile: going on without torch.compile, since {reason}", file=sys.stderr, flush=True)
