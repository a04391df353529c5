"""FSDP2: a copy of the learner trains in shards, the learner itself stays whole and gets the shards' weights when they are needed.

Validation, weights on the disk and resume points therefore never see a shard: what is saved is whole, whoever saves it, and a run
may be resumed on another number of processes. (accelerate before PR #4206 wrote only rank 0's shard of an adapter, and
gathering a state dict with frozen parameters can hang, pytorch#169448: neither is called here.) The price is one whole float32
model on each GPU in addition to its shards; gradients, AdamW's state and activations are what FSDP2 divides.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from samis.errors import UserError


class Shards:
    """Copies between a whole learner and the module that is trained; without FSDP both are the same module.

    Args:
        learner: the whole one.
        accelerator: of the run.

    Attributes:
        active: whether this run is sharded.
        trains: the module to prepare and to train.
    """

    def __init__(self, learner: nn.Module, accelerator: Accelerator) -> None:
        self.active = accelerator.distributed_type == DistributedType.FSDP
        if self.active and not accelerator.is_fsdp2:
            raise UserError(
                "fsdp_config: expected fsdp_version: 2, got 1; use configs/accelerate/fsdp.yaml, or add that line",
                code="E-TRAIN-LAUNCH",
            )
        self.learner = learner
        self.trains: Any = copy.deepcopy(learner) if self.active else learner

    @torch.no_grad()
    def gather(self) -> None:
        """Give the learner the shards' trained weights; every process must call."""
        for whole, part in self._trained():
            whole.copy_(_whole(part))

    @torch.no_grad()
    def scatter(self) -> None:
        """Give the shards the learner's trained weights, as after a resume point was read."""
        for whole, part in self._trained():
            part.copy_(_like(whole, part))

    @torch.no_grad()
    def hook_gradients(self) -> None:
        """Let the hooks that the learner's parameters have on their gradients act on the shards' gradients."""
        for whole, part in self._trained():
            for hook in (whole._backward_hooks or {}).values():
                if part.grad is not None:
                    part.grad.copy_(_like(hook(_whole(part.grad)), part.grad))

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Return the optimizer's state with whole tensors on the CPU; every process must call."""
        state: dict[str, Any] = optimizer.state_dict()
        if not self.active:
            return state
        moments = {
            key: {name: _whole(value).cpu() if isinstance(value, Tensor) else value for name, value in one.items()}
            for key, one in state["state"].items()
        }
        return {**state, "state": moments}

    def optimizer_shards(self, optimizer: Any, state: dict[str, Any]) -> dict[str, Any]:
        """Return what ``optimizer_state`` returned, in shards as the optimizer's parameters are."""
        if not self.active:
            return state
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        moments = {
            key: {
                name: _like(value, parameters[key]) if isinstance(value, Tensor) and value.ndim else value
                for name, value in one.items()
            }
            for key, one in state["state"].items()
        }
        return {**state, "state": moments}

    def _trained(self) -> list[tuple[Tensor, Tensor]]:
        """Return (whole, sharded) of each trained parameter, the shards in their resting state."""
        if not self.active:
            return []
        for module in self.trains.modules():
            if hasattr(module, "reshard"):
                module.reshard()
        parts = dict(self.trains.named_parameters())
        return [(whole, parts[name]) for name, whole in self.learner.named_parameters() if whole.requires_grad]


def _whole(value: Any) -> Any:
    return value.full_tensor() if hasattr(value, "full_tensor") else value  # a DTensor's


def _like(whole: Any, part: Any) -> Tensor:
    """Return a whole tensor in shards as `part` is."""
    if not hasattr(part, "full_tensor"):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(part.device), part.device_mesh, part.placements)
