"""AdaptedSam: what every adapter returns, a SAM of which exactly the listed parameters are trained.

In every adapter the prompt encoder, the IoU head, the IoU token, the tokens and the hypernetworks of masks 1 to 3 stay
frozen: training on mask 0 alone gives them no useful gradient, and weight decay would ruin them. The predicted IoU is
therefore SAM's own, made for SAM's own masks. ``adapter.all_masks`` trains them too, with losses of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samis.adapters.targets import decays, fuse_qkv, keep_rows_1_to_3, owned_parameters
from samis.config import AdapterConfig, from_dict
from samis.core.targets import STOCK, AdapterTargets
from samis.core.weight_files import read_tensors, write_tensors
from samis.errors import UserError

RECORD = "samis_adapter.json"
"""File of an adapter folder that says which adapter it is and which base it belongs to."""
WEIGHTS = "adapter_model.safetensors"
"""File of an adapter folder that holds the trained parameters."""


class AdaptedSam(nn.Module):
    """A SAM with an adapter. This base class tunes nothing (``adapter.name: none``).

    Args:
        sam: the model; it is changed in place and keeps the names of its modules.
        config: which adapter.
        architecture: of the base, recorded in the adapter's folder and compared when it is loaded.
        weights_sha256: of the base, recorded and compared likewise.
        targets: of the model's family, segment_anything's by default.

    Attributes:
        sam: the module to run.
    """

    def __init__(
        self,
        sam: nn.Module,
        config: AdapterConfig,
        *,
        architecture: str | None = None,
        weights_sha256: str | None = None,
        targets: AdapterTargets = STOCK,
    ) -> None:
        super().__init__()
        self.config = config
        self.targets = targets
        self.base = {"architecture": architecture, "weights_sha256": weights_sha256}
        self.sam = sam.requires_grad_(False).eval()
        self._originals: dict[str, Tensor] = {}

    def is_new(self, name: str) -> bool:
        """Return whether the named parameter was added by the adapter, rather than pretrained."""
        return False

    def tune(self, names: list[str]) -> None:
        """Train the named pretrained parameters, and keep their values on the CPU for ``disabled``."""
        wanted = set(names)
        for name, parameter in self.sam.named_parameters():
            if name in wanted:
                parameter.requires_grad_(True)
                self._originals[name] = parameter.detach().to("cpu", copy=True)
                if name == f"{self.targets.mask_tokens}.weight" and not self.targets.tokens_whole:
                    keep_rows_1_to_3(parameter)

    def train(self, mode: bool = True) -> AdaptedSam:
        """Switch the adapter's own layers only; SAM stays in evaluation mode."""
        super().train(mode)
        self.sam.eval()
        return self

    def trained(self) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
        """Yield (name, owning module, parameter) of each parameter that is trained."""
        return (item for item in owned_parameters(self.sam) if item[2].requires_grad)

    def parameter_groups(self, pretrained_lr_scale: float = 1.0) -> list[dict[str, Any]]:
        """Return the optimizer's groups: new weights at the full lr, tuned pretrained ones at `pretrained_lr_scale` of it.

        Only matrices of linears and convolutions decay; norms, biases, tokens, positions and embeddings do not.
        """
        groups: dict[tuple[bool, bool], dict[str, Any]] = {}
        for name, owner, parameter in self.trained():
            new, decay = self.is_new(name), decays(owner, name)
            scale = 1.0 if new else pretrained_lr_scale
            group = groups.setdefault((new, decay), {"params": [], "lr_scale": scale, "decay": decay})
            group["params"].append(parameter)
        return list(groups.values())

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Switch the adapter off: inside, SAM answers as before tuning, bit for bit."""
        parameters = dict(self.sam.named_parameters())
        tuned = {name: parameters[name].detach().clone() for name in self._originals}
        with torch.no_grad():
            for name, original in self._originals.items():
                parameters[name].copy_(original)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in tuned.items():
                    parameters[name].copy_(value)

    def whole_weights(self, dtype: torch.dtype) -> AbstractContextManager[set[nn.Module]]:
        """Return a block in which some layers use weights that were made beforehand, in `dtype`, from those that are trained.

        It yields the modules whose own weights are not used inside. Here none.
        """
        return nullcontext(set())

    def full_precision(self) -> set[nn.Module]:
        """Return the modules whose weights stay in float32 in training under autocast, which casts what it needs. Here none."""
        return set()

    def merged(self) -> dict[str, Tensor]:
        """Return the weights of a stock Sam that answers as this one, on the CPU, for a strict load."""
        return fuse_qkv({name: tensor.detach().cpu().clone() for name, tensor in self.sam.state_dict().items()})

    def save(self, folder: Path) -> None:
        """Write the trained parameters and the record of what they belong to."""
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(
            {name: tensor.detach().cpu().contiguous() for name, tensor in self._weights().items()}, folder / WEIGHTS
        )
        record = {"adapter": asdict(self.config), "base": self.base}
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote back.

        Raises:
            UserError: the folder holds no adapter, one of another configuration, or one of another base.
        """
        config, base = read_record(folder)
        for key, value in asdict(config).items():
            own = asdict(self.config)[key]
            if value != own and key != "dropout":
                raise UserError(
                    f"{folder / RECORD}: expected adapter.{key}={own}, got {value}; use that run's config",
                    code="E-ADAPTER-OTHER-CONFIG",
                )
        for key, value in base.items():
            own = self.base.get(key)
            if value and own and value != own:
                raise UserError(
                    f"{folder / RECORD}: adapter belongs to {key} {value}, this SAM has {own}; load that one",
                    code="E-ADAPTER-OTHER-BASE",
                )
        path = folder / WEIGHTS
        try:
            weights = read_tensors(path)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{path}: expected the adapter's weights, but {error}; copy the folder again", code="E-ADAPTER-DAMAGED"
            ) from error
        expected = {name: tuple(tensor.shape) for name, tensor in self._weights().items()}
        if {name: tuple(tensor.shape) for name, tensor in weights.items()} != expected:
            odd = sorted(set(expected) ^ set(weights)) or ["a shape"]
            raise UserError(
                f"{path}: expected this adapter's weights, but {odd[0]} differs; check segmenter.architecture",
                code="E-ADAPTER-SHAPES",
            )
        self._set_weights(weights)

    def _weights(self) -> dict[str, Tensor]:
        return {name: parameter for name, _, parameter in self.trained()}

    def _set_weights(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, _, parameter in self.trained():
                parameter.copy_(weights[name])


def read_record(folder: Path) -> tuple[AdapterConfig, dict[str, Any]]:
    """Return the configuration and the base (architecture, weights_sha256) that an adapter folder records.

    Raises:
        UserError: the folder holds no record, or a damaged one.
    """
    path = Path(folder) / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return from_dict(AdapterConfig, record["adapter"], where=str(path)), dict(record["base"])
    except OSError as error:
        raise UserError(
            f"{path}: expected an adapter's record, but {error.strerror}; give a folder that a run saved",
            code="E-ADAPTER-NO-RECORD",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: expected an adapter's record, but it is damaged ({error}); copy the folder again",
            code="E-ADAPTER-DAMAGED",
        ) from error
