"""Trains and scores any baseline network: the same learner and segmenter for all of them.

A network is a module with an ``encoder`` (``samis.baselines.encoder.Encoder``) that turns (V, 3, S, S) images into
logits: one tensor, or a list whose first or a dict whose ``"logits"`` is the answer and the rest side outputs. It may
have a method ``loss(outputs, batch, mask_loss) -> (per view (V,), parts)``; otherwise its answer alone is trained.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from samis.config import LossConfig
from samis.core.contracts import Batch, Loss, Placement
from samis.core.files import file_sha256
from samis.core.geometry import shown_inside, to_file_size, to_frame
from samis.core.losses import MaskLoss, foreground_shares
from samis.core.weight_files import read_tensors, write_tensors
from samis.errors import UserError

WEIGHTS = "model.safetensors"
RECORD = "network.json"
"""File of a saved baseline that says which network on which backbone it is."""


def main_logits(outputs: Any) -> Tensor:
    """Return the answer among a network's outputs, (V, 1, h, w)."""
    if isinstance(outputs, dict):
        outputs = outputs["logits"]
    answer: Tensor = outputs[0] if isinstance(outputs, list | tuple) else outputs
    return answer


def channels_last(images: Tensor) -> Tensor:
    """Return (V, 3, S, S) images with the channels innermost in memory: convolutions are faster so, and the layout stays."""
    return images.contiguous(memory_format=torch.channels_last)


class BaselineSegmenter:
    """Scores a network: one map an image, at the file's size.

    Args:
        network: as the module's docstring defines it.
        name: key in ``BASELINES``. weights_sha256: of the file it was loaded from.
    """

    def __init__(self, network: nn.Module, *, name: str, weights_sha256: str | None = None) -> None:
        self.network = network
        self.name = name
        self.weights_sha256 = weights_sha256

    def predict(self, batch: Batch) -> list[Tensor]:
        """Return (H, W) float32 maps in [0, 1], in evaluation mode; the network's own mode is restored."""
        device = next(self.network.parameters()).device
        was_training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad():
                logits = main_logits(self.network(channels_last(batch.images.to(device))))
                return _file_maps(to_frame(logits.float(), batch.images.shape[-1]), batch.placements)
        finally:
            self.network.train(was_training)

    def describe(self) -> dict[str, Any]:
        """Return a score row's description of the network."""
        encoder: Any = self.network.encoder
        return {
            "kind": "baseline",
            "name": self.name,
            "backbone": encoder.backbone,
            "pretrained": encoder.pretrained,
            "backbone_weights": encoder.weights_source,
            "prompt": "none",
            "mask_rule": None,
            "oracle": False,
            "weights_sha256": self.weights_sha256,
        }


class BaselineLearner(nn.Module):
    """Trains a network on the batch's masks.

    Args:
        network: as the module's docstring defines it.
        loss: weights of the mask loss.
        name: key in ``BASELINES``.
        pretrained_lr_scale: factor on the encoder's lr if it started from ImageNet weights.
    """

    def __init__(self, network: nn.Module, loss: LossConfig, *, name: str, pretrained_lr_scale: float = 1.0) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mask_loss = MaskLoss(loss)
        self.name = name
        self.pretrained_lr_scale = pretrained_lr_scale
        self._weights_sha256: str | None = None

    def forward(self, batch: Batch) -> Loss:
        """Return the mean loss over views; parts as ``SamTuning``'s."""
        if batch.masks is None:
            raise ValueError("batch: expected masks to train on, got none")
        self._weights_sha256 = None
        outputs = self.network(channels_last(batch.images))
        logits = to_frame(main_logits(outputs), batch.images.shape[-1])
        shown = shown_inside(batch, logits.device)
        own = getattr(self.network, "loss", None)
        each, parts = own(outputs, batch, self.mask_loss) if own else self.mask_loss(logits, batch.masks, shown)
        return Loss(each.mean(), parts, foreground_shares(logits.detach(), batch.masks, shown))

    def compiled_parts(self) -> list[tuple[Any, str]]:
        """Return what ``training.compile`` compiles: the network."""
        return [(self.network, "forward")]

    def segmenter(self) -> BaselineSegmenter:
        """Return what validation scores."""
        return BaselineSegmenter(self.network, name=self.name, weights_sha256=self._weights_sha256)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return groups by origin; matrices decay, norms and biases do not."""
        encoder: Any = self.network.encoder
        groups: dict[tuple[bool, bool], dict[str, Any]] = {}
        for name, parameter in self.network.named_parameters():
            old = bool(encoder.pretrained) and name.startswith("encoder.")
            decay = parameter.ndim >= 2
            scale = self.pretrained_lr_scale if old else 1.0
            group = groups.setdefault((old, decay), {"params": [], "lr_scale": scale, "decay": decay})
            group["params"].append(parameter)
        return list(groups.values())

    def recompute_statistics(self, batches: Iterable[Batch]) -> bool:
        """Set the running statistics of batch norm to the mean over batches; return whether the network has any.

        During training the running mean and variance lag about ten steps behind and still include what earlier
        weights gave; without this, a short run, or one on few images, is scored with statistics of other weights.

        Args:
            batches: of the training split; those of one view are left out, because batch norm over
                a pooled feature has no variance there.
        """
        several = [isinstance(module, _BatchNorm) and module.track_running_stats for module in self.network.modules()]
        device = next(self.network.parameters()).device
        views = (batch.images for batch in batches if len(batch.images) > 1)
        first = next(views, None)
        if not any(several) or first is None:
            return False
        update_bn(itertools.chain([first], views), self.network, device=device)
        self._weights_sha256 = None
        return True

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and ``network.json`` into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        write_tensors(weights, folder / WEIGHTS)
        encoder: Any = self.network.encoder
        record = {"name": self.name, "backbone": encoder.backbone, "pretrained": encoder.pretrained}
        record["backbone_weights"] = encoder.weights_source
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read ``model.safetensors`` back, strictly.

        Raises:
            UserError: the folder holds no network, or another one.
        """
        record = read_record(folder)
        encoder: Any = self.network.encoder
        for key, own in (("name", self.name), ("backbone", encoder.backbone)):
            if record.get(key) != own:
                raise UserError(
                    f"{folder / RECORD}: expected {key} {own}, got {record.get(key)}; use that run's own config",
                    code="E-NET-OTHER",
                )
        path = folder / WEIGHTS
        try:
            self.network.load_state_dict(read_tensors(path))
        except UserError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path}: expected the weights of {self.name}, but {reason}; copy the folder again",
                code="E-NET-DAMAGED",
            ) from error
        encoder.pretrained = bool(record.get("pretrained", False))
        encoder.weights_source = record.get("backbone_weights")
        self._weights_sha256 = file_sha256(path)


def _file_maps(logits: Tensor, placements: list[Placement]) -> list[Tensor]:
    """Return one map an image: whole images meet the sigmoid last, tiles before they are blended, as SAM's do."""
    views: dict[int, list[int]] = {}
    for view, placement in enumerate(placements):
        views.setdefault(placement.sample, []).append(view)
    maps: list[Tensor] = []
    for of_image in views.values():
        framed, placed = logits[of_image], [placements[view] for view in of_image]
        tiles = len(of_image) > 1
        (answer,) = to_file_size(framed.sigmoid() if tiles else framed, placed)
        maps.append(answer if tiles else answer.sigmoid())
    return maps


def read_record(folder: Path) -> dict[str, Any]:
    """Return name, backbone and pretrained of a saved baseline.

    Raises:
        UserError: the folder holds no record, or a damaged one.
    """
    path = Path(folder) / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record["name"], record["backbone"]
        return record
    except OSError as error:
        raise UserError(
            f"{path}: expected a network's record, but {error.strerror}; give a folder that a run saved",
            code="E-NET-NO-RECORD",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: expected a network's record, but it is damaged ({error}); copy the folder again",
            code="E-NET-DAMAGED",
        ) from error
