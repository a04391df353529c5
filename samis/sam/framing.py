"""How images enter SAM's square frame, from a config."""

from __future__ import annotations

from samis.config import FrameConfig
from samis.core.geometry import Framing
from samis.errors import UserError
from samis.sam.architectures import ARCHITECTURES, check_architecture


def build_framing(frame: FrameConfig, architecture: str) -> Framing:
    """Return the framing; 0 for ``frame.frame_px`` means the architecture's own side.

    Raises:
        UserError: an unknown architecture, or a side, tile or overlap that cannot be.
    """
    check_architecture(architecture, key="segmenter.architecture")
    try:
        return Framing(frame.frame_px or ARCHITECTURES[architecture].frame_px, frame.tile_px, frame.overlap)
    except ValueError as error:
        raise UserError(f"frame.{error}", code="E-SAM-FRAME") from error
