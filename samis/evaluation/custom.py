"""A user's own object as a Segmenter, for ``samis.score``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from samis.core.contracts import Batch
from samis.errors import UserError
from samis.evaluation.score_row import KINDS


class CustomSegmenter:
    """Any object with ``predict(batch)`` as a Segmenter: arrays become tensors, what it does not describe gets a default.

    Args:
        inner: the object; ``describe()`` is optional.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @property
    def _name(self) -> str:
        return type(self.inner).__name__

    def predict(self, batch: Batch) -> list[torch.Tensor]:
        """Return the object's maps as tensors.

        Raises:
            UserError: it returned no list of maps of numbers.
        """
        maps = self.inner.predict(batch)
        if isinstance(maps, str | Mapping) or not isinstance(maps, Iterable):
            raise UserError(
                f"{self._name}.predict: expected a list of (H, W) maps, got {type(maps).__name__}", code="E-ROW-OBJECT"
            )
        return [self._tensor(values) for values in maps]

    def _tensor(self, values: Any) -> torch.Tensor:
        try:
            tensor = values if isinstance(values, torch.Tensor) else torch.as_tensor(np.asarray(values))
        except (TypeError, ValueError, RuntimeError):
            tensor = None
        if tensor is None or tensor.is_complex():
            kind = type(values).__name__ if tensor is None else tensor.dtype
            raise UserError(
                f"{self._name}.predict: expected (H, W) maps of numbers in [0, 1], got one of {kind}",
                code="E-ROW-OBJECT",
            )
        return tensor.float() if tensor.dtype in (torch.half, torch.bfloat16) else tensor

    def describe(self) -> dict[str, Any]:
        """Return what a row records of the object: its own description over the defaults.

        Raises:
            UserError: a value of the wrong type, or one that JSON does not have.
        """
        about = self.inner.describe() if hasattr(self.inner, "describe") else None
        if not isinstance(about, Mapping | None):
            raise UserError(f"{self._name}.describe: expected a dict, got {type(about).__name__}", code="E-ROW-OBJECT")
        about = {"kind": "baseline", "prompt": "none", "oracle": False, **(about or {})}
        about["prompt"] = about["prompt"] or "none"
        for key, kind in {"kind": str, "prompt": str, "oracle": bool}.items():
            if not isinstance(about[key], kind):
                raise UserError(
                    f"{self._name}.describe: expected {key} as {kind.__name__}, got {about[key]!r:.60}",
                    code="E-ROW-OBJECT",
                )
        if about["kind"] not in KINDS:
            raise UserError(
                f"{self._name}.describe: expected kind out of {', '.join(KINDS)}, got {about['kind']!r}",
                code="E-ROW-OBJECT",
            )
        for key, value in about.items():
            try:
                json.dumps(value)
            except (TypeError, ValueError):
                raise UserError(
                    f"{self._name}.describe: expected plain values that JSON has, got {type(value).__name__} for {key!r}",
                    code="E-ROW-OBJECT",
                ) from None
        return about
