"""How images enter SAM's square frame, from a config."""

from __future__ import annotations

from pathlib import Path

from samis.config import FrameConfig
from samis.core.geometry import Framing
from samis.errors import UserError
from samis.sam.architectures import REMOVED, check_architecture
from samis.sam.families import family_named


def build_framing(frame: FrameConfig, architecture: str, weights: str | Path | None = None) -> Framing:
    """Return the framing; 0 for ``frame.frame_px`` means the architecture's own side.

    Args:
        frame: side, tiles and overlap.
        architecture: as ``segmenter.architecture``; its family decides how an image fills the frame.
        weights: as ``segmenter.weights``; a folder may say which side its model has.

    Raises:
        UserError: an unknown architecture, or a side, tile or overlap that cannot be.
    """
    if architecture in REMOVED:
        check_architecture(architecture, key="segmenter.architecture")
    family = family_named(architecture)
    side = frame.frame_px or family.frame_px(architecture, weights)
    try:
        return Framing(side, frame.tile_px, frame.overlap, family.preprocessing)
    except ValueError as error:
        raise UserError(f"frame.{error}", code="E-SAM-FRAME") from error
