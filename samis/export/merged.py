"""Writes a merged SAM as a checkpoint, and compares every export, loaded again, with the tuned model.

Code: segment_anything 1.0 (Meta, Apache-2.0) reads the checkpoints and predicts the probe's picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor

from samis.core.geometry import frame_image, place
from samis.core.weight_files import write_tensors
from samis.errors import UserError
from samis.sam.architectures import ARCHITECTURES, build_sam
from samis.sam.families import family_named
from samis.sam.families.mobile_sam import MobileSam

TOLERANCE = 1e-4
"""Largest difference of a mask's probabilities after reloading."""
INSTALL = "install what it needs: pip install 'samis[export]'"


@dataclass
class Probe:
    """A picture and the tuned SAM's masks of it, with which a reloaded model is compared.

    Attributes:
        picture: (H, W, 3) uint8.
        box_xyxy: a box prompt, picture pixels.
        point_xy: a click, picture pixels.
        masks: (3, h, w) float32 probabilities of mask 0 at low resolution: of the box, the point, and no prompt.
    """

    picture: np.ndarray
    box_xyxy: np.ndarray
    point_xy: np.ndarray
    masks: np.ndarray

    @classmethod
    def of(cls, sam: Sam) -> Probe:
        """Return the probe of a Sam, tuned or not, through segment_anything's own predictor."""
        side = sam.image_encoder.img_size
        hw = (3 * side // 4, side)
        rng = np.random.default_rng(0)
        picture = rng.integers(0, 256, (*hw, 3), dtype=np.uint8)
        picture[hw[0] // 4 : hw[0] // 2, side // 4 : side // 2] //= 4
        box = np.array([side // 5, hw[0] // 5, side // 2, hw[0] // 2], np.float32)
        probe = cls(picture, box, np.array([side / 3, hw[0] / 3], np.float32), np.empty(0))
        probe.masks = probe.masks_of(sam)
        return probe

    def masks_of(self, sam: Sam) -> np.ndarray:
        """Return a Sam's masks as ``masks`` holds them."""
        predictor = SamPredictor(sam.eval())
        predictor.set_image(self.picture)
        prompts: list[dict[str, Any]] = [
            {"box": self.box_xyxy},
            {"point_coords": self.point_xy[None], "point_labels": np.ones(1, np.int64)},
            {},
        ]
        low = [predictor.predict(**prompt, multimask_output=False, return_logits=True)[2][0] for prompt in prompts]
        return probabilities(np.stack(low))

    def framed(self) -> Tensor:
        """Return the picture as the encoder sees it, (1, 3, S, S) float32."""
        side = self.picture.shape[1]
        return frame_image(self.picture, place(self.picture.shape[:2], (0, 0, side, self.picture.shape[0]), side))[None]

    def check(self, masks: np.ndarray, what: str, tolerance: float = TOLERANCE) -> float:
        """Return the largest difference of a reloaded model's masks.

        Args:
            masks: (N, h, w) float32 probabilities, N of 1 to 3 in the order of ``Probe.masks``.
            what: name of the export, for the message.
            tolerance: largest difference allowed.

        Raises:
            UserError: it is above the tolerance.
        """
        worst = float(np.abs(masks - self.masks[: len(masks)]).max())
        if not worst <= tolerance:
            raise UserError(
                f"{what}: reloaded, its masks differ by {worst:.2g} (at most {tolerance:g} is allowed); it was not kept. "
                "Please report this with the versions that 'pip list' prints",
                code="E-EXPORT-DIFFERS",
            )
        return worst


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the sigmoid of logits, float32."""
    return torch.from_numpy(np.ascontiguousarray(logits)).float().sigmoid().numpy()


def registry_takes(architecture: str, frame_px: int) -> bool:
    """Return whether segment_anything's registry builds this architecture at this frame."""
    return architecture in sam_model_registry and frame_px == ARCHITECTURES[architecture].frame_px


def write_checkpoint(state: dict[str, Tensor], path: Path, *, architecture: str, probe: Probe) -> float:
    """Write ``.pth`` for ``sam_model_registry[architecture](checkpoint=path)``; return the difference after reloading.

    Args:
        state: tensors of the merged Sam.
        path: file to write.
        architecture: key of ``sam_model_registry``.
        probe: with which the reloaded model is compared.
    """
    torch.save({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return probe.check(probe.masks_of(sam_model_registry[architecture](checkpoint=str(path))), path.name)


def write_own(state: dict[str, Tensor], path: Path, *, architecture: str, frame_px: int, probe: Probe) -> float:
    """Write ``.safetensors`` for ``segmenter.weights`` of this project; return the difference after reloading.

    Args:
        state: tensors of the merged Sam.
        path: file to write.
        architecture: as ``segmenter.architecture``.
        frame_px: side of the frame.
        probe: with which the reloaded model is compared.
    """
    write_tensors({name: tensor.contiguous() for name, tensor in state.items()}, path)
    sam: Any = family_named(architecture).load(architecture, weights=path, frame_px=frame_px)[0]
    return probe.check(probe.masks_of(sam), path.name)


def merged_sam(state: dict[str, Tensor], *, architecture: str, frame_px: int) -> Sam:
    """Return a stock Sam of the merged weights, loaded strictly."""
    family = family_named(architecture)
    if isinstance(family, MobileSam):
        sam = family.build(architecture, frame_px)
    else:
        with torch.device("meta"):
            sam = build_sam(architecture, frame_px=frame_px)
    sam.load_state_dict(state, assign=True)
    return sam.eval()
