"""One optimizer step, enqueued on the device without waiting for it: forward, backward, clipping, a guarded update.

Whether loss and gradient are finite is decided on the device. A loss that is not finite makes the step's gradients NaN on all
processes; a norm that is not finite is passed to the fused AdamW as ``found_inf``, with which it leaves weights, moments
and its count of steps as they were (the same switch that ``torch.amp.GradScaler`` uses).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor

from samis.core.contracts import Batch
from samis.training.half_weights import HalfWeights
from samis.training.state.step_plan import TrainerState
from samis.training.step_results import AsyncValues, StepResult

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Stepper:
    """Makes a run's optimizer steps.

    Args:
        learner: unwrapped.
        model: prepared, the module that is called.
        optimizer: prepared, over a fused AdamW.
        accelerator: of both.
        clip_norm: largest gradient norm; 0 never clips.
        halt: whether no later step may change a weight once one was not finite; else only that step changes none.
        before_clipping: called when a sharded step's gradients are complete.
    """

    def __init__(
        self,
        learner: Any,
        model: Any,
        optimizer: Any,
        accelerator: Accelerator,
        *,
        clip_norm: float,
        halt: bool,
        before_clipping: Callable[[], None] = lambda: None,
    ) -> None:
        self.model, self.optimizer, self.accelerator = model, optimizer, accelerator
        self.clip_norm, self.halt, self._before_clipping = clip_norm, halt, before_clipping
        self.named = [(name, each) for name, each in learner.named_parameters() if each.requires_grad]
        self.sharded = accelerator.distributed_type == DistributedType.FSDP
        # Shards are gathered and cast by FSDP itself.
        self.half = HalfWeights(learner, None if self.sharded else HALF.get(str(accelerator.mixed_precision)))
        self._nan_flag = torch.zeros((), device=accelerator.device)

    def step(
        self, group: list[Batch], images: int, state: TrainerState, *, collect: bool
    ) -> tuple[StepResult, dict[str, Tensor]]:
        """Enqueue one step over the micro-batches of this process.

        Args:
            group: micro-batches.
            images: of the step over all processes, so that each counts once in the gradient.
            state: before the step.
            collect: whether the loss's parts are returned.

        Returns:
            the step's result, and (with `collect`) name -> mean over this process's images, scalar tensors on the device.
        """
        nan_flag, losses, parts = self._nan_flag, list[Tensor](), dict[str, Tensor]()
        own = max(1, sum(batch.counted for batch in group))
        for number, batch in enumerate(group):
            share = self.accelerator.num_processes * batch.counted / images
            last = number == len(group) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model), self.half.swapped():
                with self.accelerator.autocast():
                    loss = self.model(batch.to(self.accelerator.device))
                total = loss.total.detach()
                nan_flag = nan_flag + (total - total)  # 0, or NaN from then on
                self.accelerator.backward(loss.total, gradient=(share + nan_flag).to(total.dtype))
            losses.append(total)
            for name, value in {"loss": total, **loss.all_parts()}.items() if collect else ():
                parts[name] = parts.get(name, 0.0) + value * (batch.counted / own)
        norm, norms, names = self._clip()
        self._update(nan_flag, norm)
        values = AsyncValues(torch.stack([norm, *losses]).float())
        ids = [batch.ids for batch in group]
        scaled = self.accelerator.scaler is not None
        return StepResult(state.step, state.epoch, state.batches, ids, values, names, norms, scaled), parts

    def _clip(self) -> tuple[Tensor, Tensor | None, list[str]]:
        """Clip the gradients; return their norm, and each parameter's norm and name where they are known."""
        if self.sharded:
            self._before_clipping()
            parameters = self.model.parameters()
            norm: Any = self.accelerator.clip_grad_norm_(parameters, self.clip_norm or float("inf"))
            return norm.full_tensor() if hasattr(norm, "full_tensor") else norm, None, []
        self.accelerator.unscale_gradients(self.optimizer)
        having = [(name, each.grad) for name, each in self.named if each.grad is not None]
        gradients = [gradient for _, gradient in having]
        norms = torch.stack(torch._foreach_norm(gradients))  # type: ignore[attr-defined]
        norm = torch.linalg.vector_norm(norms)
        if self.clip_norm:
            torch._foreach_div_(gradients, (norm / self.clip_norm).clamp_min(1.0))  # type: ignore[attr-defined]
        return norm, norms, [name for name, _ in having]

    def _update(self, nan_flag: Tensor, norm: Tensor) -> None:
        """Let the optimizer step, unless a loss or the norm is not finite."""
        if self.accelerator.scaler is None:
            nan_flag = nan_flag + (norm - norm)
        if self.halt:
            self._nan_flag = nan_flag
        if self.sharded:
            if not bool(nan_flag.isnan()):  # the fused kernel's switch is not made for shards
                self.optimizer.step()
        else:
            if self.accelerator.scaler is None:  # a scaler sets the switch itself
                self.optimizer.optimizer.found_inf = nan_flag.isnan().float()
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
