"""Learner for promptable pretraining: SAM's own task, on drawn scenes.

Paper: Kirillov et al., Segment Anything, ICCV 2023 (doi 10.1109/ICCV51070.2023.00371), appendix A: focal and dice loss in
the ratio 20 : 1, gradient through the best of three masks where the prompt is ambiguous, mean squared error for the
predicted IoU.
Differs: a small SAM trained from scratch on focal loss first predicts empty masks; class-balanced cross-entropy comes first
(``loss.bce`` with ``loss.balance``), focal loss takes over in the second stage. Mask 0 learns every prompt, the three
alternatives learn boxes and single points. The empty prompt, which SAM never trains, has the union of all objects as its target.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor, nn

from samis.config import LossConfig
from samis.core.contracts import Batch, Evaluation, Loss, Prompt
from samis.core.files import replacing
from samis.core.losses import MaskLoss
from samis.core.weight_files import read_tensors, write_tensors
from samis.sam.forward import SamOutput, decode, encode


class PromptablePretraining(nn.Module):
    """Train a SAM on four groups of prompts of each scene.

    Args:
        sam: trained completely, except for the mask-prompt branch, which is frozen since no prompt is a mask.
        loss: weights of the mask loss.
        iou_weight: weight of the predicted IoU's squared error.
    """

    def __init__(self, sam: Sam, loss: LossConfig, *, iou_weight: float = 1.0) -> None:
        super().__init__()
        self.sam = sam
        self.mask_loss = MaskLoss(loss)
        self.iou_weight = iou_weight
        sam.prompt_encoder.mask_downscaling.requires_grad_(False)

    def forward(self, batch: Batch) -> Loss:
        """Return the mean over the groups of the mean over prompts of mask loss and IoU error."""
        embeddings = encode(self.sam, batch.images)
        targets = batch.extras["targets"].float() / 255
        salient = batch.extras["salient"].float() / 255
        total = torch.zeros((), device=embeddings.device)
        parts: dict[str, Tensor] = {}
        used = 0
        for name, prompt, ambiguous in _prompt_groups(batch):
            if name == "empty":
                target = salient
            else:
                target = targets[:, used : used + prompt.prompts_per_view]
                used += prompt.prompts_per_view
            loss, iou_error, iou = self._group(decode(self.sam, embeddings, prompt), target, ambiguous)
            total = total + loss + self.iou_weight * iou_error
            parts |= {f"loss_{name}": loss.detach(), f"iou_{name}": iou}
            parts["iou_error"] = parts.get("iou_error", torch.zeros_like(iou)) + iou_error.detach() / 4
        return Loss(total / 4, parts)

    def _group(self, output: SamOutput, target: Tensor, ambiguous: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return mask loss, IoU error and the (detached) IoU of mask 0, each a mean over the group's prompts."""
        cells = target.shape[-1]
        logits = output.logits.flatten(0, 1)
        if logits.shape[-1] != cells:
            logits = F.interpolate(logits, (cells, cells), mode="bilinear", align_corners=False)
        truth = target.flatten(0, 1)[:, None]
        with torch.no_grad():
            actual = _iou((logits > 0).float(), (truth > 0.5).float())
        chosen = logits[:, :1]
        if ambiguous:
            with torch.no_grad():
                best = _iou(logits[:, 1:].sigmoid(), truth).argmax(1) + 1
            chosen = torch.cat([chosen, logits.gather(1, best[:, None, None, None].expand(-1, 1, cells, cells))])
            truth = torch.cat([truth, truth])
        loss = self.mask_loss(chosen, truth)[0].mean() * (2 if ambiguous else 1)
        iou_error = F.mse_loss(output.iou.flatten(0, 1), actual)
        return loss, iou_error, actual[:, 0].mean()

    def compiled_parts(self) -> list[tuple[Any, str]]:
        """Return what ``training.compile`` compiles: the encoder."""
        return [(self.sam.image_encoder, "forward")]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return two groups with one learning rate: matrices of linears and convolutions with weight decay, the rest without."""
        decayed: list[Tensor] = []
        kept: list[Tensor] = []
        for module in self.sam.modules():
            matrices = isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.requires_grad:
                    (decayed if matrices and name == "weight" else kept).append(parameter)
        return [{"params": decayed, "lr_scale": 1.0, "decay": True}, {"params": kept, "lr_scale": 1.0, "decay": False}]

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` (float32) into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.sam.state_dict().items()}
        with replacing(folder / "model.safetensors") as temporary:
            write_tensors(weights, temporary)

    def load(self, folder: Path) -> None:
        """Read ``model.safetensors`` back, strictly."""
        self.sam.load_state_dict(read_tensors(folder / "model.safetensors"))


def _prompt_groups(batch: Batch) -> list[tuple[str, Prompt, bool]]:
    """Return (name, prompt, ambiguous) for each group, in the order of the targets; the empty prompt last."""
    extras = batch.extras
    ones = torch.ones(extras["points_xy"].shape[:3], dtype=torch.int64, device=extras["points_xy"].device)
    return [
        ("box", Prompt("box", boxes_xyxy=extras["boxes_xyxy"]), True),
        ("point", Prompt("point", points_xy=extras["points_xy"], point_labels=ones), True),
        ("clicks", Prompt("point", points_xy=extras["clicks_xy"], point_labels=extras["clicks_labels"]), False),
        ("empty", Prompt("empty"), False),
    ]


class PromptValidation:
    """Score a pretraining learner on fixed batches: the mean IoU of each group of prompts.

    Args:
        batches: fixed batches with prompts, the same for every epoch.
        device: where the learner is.
    """

    def __init__(self, batches: list[Batch], *, device: torch.device | str = "cpu") -> None:
        self.batches, self.device = batches, device

    def __call__(self, learner: PromptablePretraining) -> Evaluation:
        """Return ``iou_box``, ``iou_point``, ``iou_clicks``, ``iou_empty`` (mask 0), their mean ``iou`` and ``iou_error``."""
        sums: dict[str, float] = {}
        with torch.inference_mode():
            for batch in self.batches:
                parts = learner.forward(batch.to(self.device)).parts
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0.0) + float(value) / len(self.batches)
        named = [sums[f"iou_{name}"] for name in ("box", "point", "clicks", "empty")]
        return Evaluation({"iou": sum(named) / len(named), **sums})


def _iou(masks: Tensor, truth: Tensor) -> Tensor:
    """Return (B, M) soft IoU of (B, M, c, c) masks with (B, 1, c, c) truth, both in [0, 1]."""
    overlap = (masks * truth).flatten(2).sum(2)
    union = masks.flatten(2).sum(2) + truth.flatten(2).sum(2) - overlap
    return overlap / union.clamp_min(1e-3)
