"""Exports of transformers' families: their own folder, peft's, and two ONNX files; each read back and compared.

Code: transformers (Hugging Face, Apache-2.0) reads the folder. SAM-HQ's folder is read back by this project, since transformers
up to 5.24 computes its masks from the wrong tensor (``samis.sam.families.sam_hq``).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.core.contracts import Prompt
from samis.core.geometry import frame_image, place
from samis.core.preprocessing import PREPROCESSING
from samis.errors import UserError
from samis.export.merged import INSTALL, Probe, probabilities
from samis.export.onnx import TOLERANCE, trace
from samis.sam.families.transformers_models import TransformersFamily
from samis.sam.interface import family_of, mark

LEVELS = {"sam_hq": ["early_features", "image_embeddings"], "sam2": ["high_res_0", "high_res_1", "image_embeddings"]}
"""Names of the encoder's outputs in ONNX, by family; a family that is not here has no ONNX export."""
PADDED = {"sam2"}
"""Families whose boxes end with a point of label -1, and whose empty prompt is two of them."""


class FamilyProbe(Probe):
    """A probe whose masks are computed by the model's own family."""

    model: Any

    @classmethod
    def of(cls, sam: Any) -> FamilyProbe:
        """Return the probe of a model, tuned or not."""
        family = family_of(sam)
        made = cls(*picture(family.side(sam)), np.empty(0))
        made.model = sam
        made.masks = made.masks_of(sam)
        return made

    def placement(self) -> Any:
        """Return where the picture is in the frame."""
        family, (height, width) = family_of(self.model), self.picture.shape[:2]
        return place(
            (height, width), (0, 0, width, height), family.side(self.model), preprocessing=family.preprocessing
        )

    def framed(self) -> Tensor:
        """Return the picture as the encoder sees it, (1, 3, S, S) float32."""
        return frame_image(self.picture, self.placement())[None]

    def prompts(self) -> list[Prompt]:
        """Return the probe's box, its point, and the empty prompt, in frame pixels."""
        rows, columns = self.placement().scaled_hw
        scale = torch.tensor([columns / self.picture.shape[1], rows / self.picture.shape[0]])
        box = torch.from_numpy(self.box_xyxy).reshape(1, 1, 2, 2) * scale
        point = torch.from_numpy(self.point_xy).reshape(1, 1, 1, 2) * scale
        click = Prompt("point", points_xy=point, point_labels=torch.ones(1, 1, 1, dtype=torch.int64))
        return [Prompt("box", boxes_xyxy=box.reshape(1, 1, 4)), click, Prompt()]

    def masks_of(self, sam: Any) -> np.ndarray:
        """Return a model's masks as ``masks`` holds them."""
        family = family_of(sam)
        with torch.no_grad():
            seen = family.encode(sam.eval(), self.framed())
            low = [family.decode_single(sam, seen, prompt)[0, 0] for prompt in self.prompts()]
        return probabilities(torch.stack(low).numpy())


def picture(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a picture (3/4 side, side, 3) uint8 of noise with a dark part, a box and a point in it."""
    hw = (3 * side // 4, side)
    made = np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8)
    made[hw[0] // 4 : hw[0] // 2, side // 4 : side // 2] //= 4
    box = np.array([side // 5, hw[0] // 5, side // 2, hw[0] // 2], np.float32)
    return made, box, np.array([side / 3, hw[0] / 3], np.float32)


def merged_model(model: Any, state: dict[str, Tensor], family: TransformersFamily) -> Any:
    """Return the library's plain model with merged weights, which answers with mask 0."""
    plain = type(model)(copy.deepcopy(model.config))
    plain.load_state_dict(state, strict=True)
    mark(plain, family)
    family.export_settings(plain)
    return plain.eval()


def write_folder(model: Any, folder: Path, *, probe: FamilyProbe) -> float:
    """Write a folder for transformers' ``from_pretrained``, with its processor; return the difference after reloading.

    Args:
        model: of ``merged_model``.
        folder: to write.
        probe: with which the reloaded model is compared.

    Raises:
        UserError: the masks differ.
    """
    family = family_of(model)
    assert isinstance(family, TransformersFamily)
    model.save_pretrained(folder)
    processor(family, family.side(model)).save_pretrained(folder)
    read, _ = family.load(family.name, weights=folder, frame_px=None)
    mark(read, family)
    worst = probe.check(probe.masks_of(read), "transformers")
    if family.name == "sam_hq":
        return worst
    prompts, low = probe.prompts(), []
    with torch.no_grad():
        for prompt in prompts:
            given = {
                "input_boxes": prompt.boxes_xyxy,
                "input_points": prompt.points_xy,
                "input_labels": prompt.point_labels,
            }
            low.append(read(pixel_values=probe.framed(), multimask_output=False, **given).pred_masks[0, 0, 0])  # type: ignore[operator]
    return max(worst, probe.check(probabilities(torch.stack(low).numpy()), "transformers"))


def processor(family: TransformersFamily, side: int) -> Any:
    """Return the library's processor for a frame."""
    import transformers

    square, small = {"height": side, "width": side}, {"height": side // 4, "width": side // 4}
    if not PREPROCESSING[family.preprocessing].stretched:
        longest = {"size": {"longest_edge": side}, "mask_size": {"longest_edge": side // 4}}
        images = transformers.SamImageProcessor(pad_size=square, mask_pad_size=small, **longest)
        return transformers.SamHQProcessor(images)
    if family.preprocessing == "sam3":
        return transformers.Sam3TrackerProcessor(
            transformers.Sam3ImageProcessor(size=square, mask_size=small), target_size=side
        )
    return transformers.Sam2Processor(transformers.Sam2ImageProcessor(size=square, mask_size=small), target_size=side)


class OnnxEncoder(nn.Module):
    """(1, 3, S, S) framed image -> the embedding's levels."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the levels, finest first."""
        family = family_of(self.model)
        assert isinstance(family, TransformersFamily)
        return tuple(family.encode_levels(self.model, x))


class OnnxDecoder(nn.Module):
    """Levels, points and the image's size -> masks at that size, their predicted IoU, and low-resolution logits, of mask 0.

    Labels are segment_anything's: 1 on the object, 0 off it, 2 and 3 a box's corners, -1 no point.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (1, 1, H, W), (1, 1) and (1, 1, h, w)."""
        *levels, coordinates, labels, size = inputs
        model, family = self.model, family_of(self.model)
        assert isinstance(family, TransformersFamily)
        seen = family.prepare(model, torch.cat([level.flatten(1) for level in levels], 1)[..., None, None])
        side = family.side(model)
        encoder = model.prompt_encoder
        sparse = encoder.shared_embedding((coordinates + 0.5)[:, None], (side, side))
        kind = labels[:, None, :, None]
        for number, row in enumerate(family.point_table(model)):
            sparse = sparse + row * (kind == number)
        sparse = torch.where(kind == -1, encoder.not_a_point_embed.weight, sparse)
        dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        at = family.attend_embedded(model, seen, sparse, dense, 1)
        low = family.draw(model, seen, at, 1)
        return self._enlarged(low, size, side), family.rated(model.mask_decoder, at.tokens)[:, :1], low

    def _enlarged(self, low: Tensor, size: Tensor, side: int) -> Tensor:
        height, width = size.to(torch.int64)
        if not PREPROCESSING[family_of(self.model).preprocessing].stretched:
            low = F.interpolate(low, (side, side), mode="bilinear", align_corners=False)
            shown = torch.floor(size * (side / size.max()) + 0.5).to(torch.int64)
            low = low[..., : shown[0], : shown[1]]
        return F.interpolate(low, size=(height, width), mode="bilinear", align_corners=False)


def write_family_onnx(model: Any, folder: Path, *, probe: FamilyProbe) -> float:
    """Write ``encoder.onnx`` and ``decoder.onnx``; return the largest difference in onnxruntime.

    Args:
        model: of ``merged_model``.
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
    family = family_of(model)
    assert isinstance(family, TransformersFamily)
    names, side = LEVELS[family.name], family.side(model)
    with torch.no_grad():
        levels = family.encode_levels(model, probe.framed())
    given = dict(zip(names, levels, strict=True)) | {
        "point_coords": torch.full((1, 3, 2), side / 2),
        "point_labels": torch.tensor([[1.0, 0.0, -1.0]]),
        "orig_im_size": torch.tensor([float(side), float(side) - 7]),
    }
    outputs = ["masks", "iou_predictions", "low_res_masks"]
    points = {"point_coords": {1: "num_points"}, "point_labels": {1: "num_points"}}
    trace(OnnxEncoder(model), {"x": probe.framed()}, names, folder / "encoder.onnx", {})
    trace(OnnxDecoder(model), given, outputs, folder / "decoder.onnx", points | {"masks": {2: "height", 3: "width"}})
    encoder, decoder = [
        onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        for name in ("encoder.onnx", "decoder.onnx")
    ]
    low = _onnx_masks(encoder, decoder, names, probe, padded=family.name in PADDED)
    return probe.check(probabilities(low), "onnx", TOLERANCE)


def _onnx_masks(encoder: Any, decoder: Any, names: list[str], probe: FamilyProbe, *, padded: bool) -> np.ndarray:
    """Return the written model's logits of the probe's prompts: a box, a click, and no point."""
    levels = dict(zip(names, encoder.run(names, {"x": probe.framed().numpy()}), strict=True))
    box, click, _ = probe.prompts()
    assert box.boxes_xyxy is not None and click.points_xy is not None
    nothing = np.zeros((1, 1, 2), np.float32)
    corners = np.concatenate([box.boxes_xyxy.numpy().reshape(1, 2, 2), *([nothing] if padded else [])], 1)
    point = np.concatenate([click.points_xy.numpy().reshape(1, 1, 2), nothing], 1)
    empty = np.zeros((1, 2 if padded else 0, 2), np.float32)
    labels = [[2, 3, -1][: corners.shape[1]], [1, -1], [-1, -1][: empty.shape[1]]]
    hw, low = probe.picture.shape[:2], []
    for coordinates, kinds in zip((corners, point, empty), labels, strict=True):
        feed = levels | {
            "point_coords": coordinates,
            "point_labels": np.array([kinds], np.float32).reshape(1, -1),
            "orig_im_size": np.array(hw, np.float32),
        }
        masks, _, logits = decoder.run(["masks", "iou_predictions", "low_res_masks"], feed)
        if masks.shape != (1, 1, *hw):
            raise UserError(
                f"decoder.onnx: its masks have the shape {masks.shape} instead of {hw}; it was not kept. Please report this",
                code="E-EXPORT-SHAPE",
            )
        low.append(logits[0, 0])
    return np.stack(low)
