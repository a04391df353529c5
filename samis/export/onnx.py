"""Writes a merged SAM as two ONNX files, an image encoder and a decoder with the inputs that tools for SAM use.

Code: segment_anything 1.0 (Meta, Apache-2.0) defines the decoder's inputs, outputs and steps, which are inherited here.
Differs from segment_anything's own ONNX decoder: it always returns mask 0, the one that was tuned (the stock one would
choose among the untuned masks after a single click); the image's size stays an input (in version 1.0 tracing freezes it);
``has_mask_input`` below 0, which some tools send for "no mask", counts as 0. With no point at all it uses the empty
prompt.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from segment_anything.utils.onnx import SamOnnxModel
from torch import Tensor

from samis.errors import UserError
from samis.export.merged import INSTALL, Probe, probabilities

OPSET = 17
TOLERANCE = 1e-3
"""Largest difference of a mask's probabilities; wider than for torch, since another engine does the sums."""


class OnnxDecoder(SamOnnxModel):
    """segment_anything's ONNX decoder, returning the tuned mask 0; see the module's docstring."""

    def __init__(self, sam: Sam) -> None:
        super().__init__(sam, return_single_mask=True)

    def select_masks(self, masks: Tensor, iou_preds: Tensor, num_points: int) -> tuple[Tensor, Tensor]:
        """Return mask 0 and its predicted IoU."""
        return masks[:, :1], iou_preds[:, :1]

    def _embed_masks(self, input_mask: Tensor, has_mask_input: Tensor) -> Tensor:
        embedded: Tensor = super()._embed_masks(input_mask, has_mask_input.clamp(0, 1))
        return embedded

    def mask_postprocessing(self, masks: Tensor, orig_im_size: Tensor) -> Tensor:
        """Enlarge (1, 1, h, w) to the frame, cut the padding, resize to the image; the size stays symbolic."""
        framed = F.interpolate(masks, (self.img_size, self.img_size), mode="bilinear", align_corners=False)
        shown = self.resize_longest_image_size(orig_im_size, self.img_size)
        cut = framed[..., : shown[0], : shown[1]]
        height, width = orig_im_size.to(torch.int64)
        return F.interpolate(cut, size=(height, width), mode="bilinear", align_corners=False)


def write_onnx(sam: Sam, folder: Path, *, probe: Probe) -> float:
    """Write ``encoder.onnx`` and ``decoder.onnx``; return the largest difference in onnxruntime.

    Encoder: ``x`` (1, 3, S, S) float32, normalised and padded as SAM's -> ``image_embeddings``. Decoder: the inputs of
    segment_anything's own, any number of points.

    Args:
        sam: the merged model.
        folder: where both files go.
        probe: with which the written model is compared.

    Raises:
        UserError: onnx or onnxruntime is missing, or the masks differ.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise UserError(f"onnx: the package {error.name} is missing; {INSTALL}", code="E-EXPORT-PACKAGE") from error
    side, width = sam.image_encoder.img_size, sam.prompt_encoder.embed_dim
    grid = sam.prompt_encoder.image_embedding_size[0]
    inputs = {
        "image_embeddings": torch.zeros(1, width, grid, grid),
        "point_coords": torch.full((1, 3, 2), side / 2),
        "point_labels": torch.tensor([[1.0, 0.0, -1.0]]),
        "mask_input": torch.zeros(1, 1, 4 * grid, 4 * grid),
        "has_mask_input": torch.zeros(1),
        "orig_im_size": torch.tensor([float(side), float(side) - 7]),
    }
    outputs = ["masks", "iou_predictions", "low_res_masks"]
    points = {"point_coords": {1: "num_points"}, "point_labels": {1: "num_points"}}
    free = {**points, "masks": {2: "height", 3: "width"}}
    trace(sam.image_encoder, {"x": probe.framed()}, ["image_embeddings"], folder / "encoder.onnx", {})
    trace(OnnxDecoder(sam), inputs, outputs, folder / "decoder.onnx", free)

    def session(name: str) -> Any:
        return onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])

    fixed = {name: tensor.numpy() for name, tensor in inputs.items()}
    low = _masks(session("encoder.onnx"), session("decoder.onnx"), fixed, outputs, probe)
    return probe.check(probabilities(low), "onnx", TOLERANCE)


def _masks(encoder: Any, decoder: Any, inputs: dict[str, np.ndarray], outputs: list[str], probe: Probe) -> np.ndarray:
    """Return the written model's logits of the probe's prompts: a box, a click, and no point.

    Args:
        encoder: session of the image encoder.
        decoder: session of the decoder.
        inputs: an array for each of the decoder's inputs.
        outputs: names of the decoder's outputs.
        probe: whose picture and prompts are used.

    Raises:
        UserError: masks of another size.
    """
    (embedding,) = encoder.run(None, {"x": probe.framed().numpy()})
    hw = probe.picture.shape[:2]
    corners = probe.box_xyxy.reshape(1, 2, 2)
    click = np.concatenate([probe.point_xy[None, None], np.zeros((1, 1, 2))], axis=1)
    prompts = [(corners, [[2, 3]]), (click, [[1, -1]]), (np.zeros((1, 0, 2)), np.zeros((1, 0)))]
    low = []
    for coordinates, labels in prompts:
        feed = inputs | {
            "image_embeddings": embedding,
            "point_coords": np.asarray(coordinates, np.float32),
            "point_labels": np.asarray(labels, np.float32),
            "orig_im_size": np.array(hw, np.float32),
        }
        masks, _, low_res = decoder.run(outputs, feed)
        if masks.shape != (1, 1, *hw):
            raise UserError(
                f"decoder.onnx: its masks have the shape {masks.shape} instead of {hw}; it was not kept. Please report this",
                code="E-EXPORT-SHAPE",
            )
        low.append(low_res[0, 0])
    return np.stack(low)


def trace(
    model: torch.nn.Module, inputs: dict[str, Tensor], outputs: list[str], path: Path, axes: dict[str, dict[int, str]]
) -> None:
    """Export by tracing; the decoder's output size depends on a value, which the newer exporter cannot express."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, tuple(inputs.values()), str(path), input_names=list(inputs), output_names=outputs,
            dynamic_axes=axes, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
