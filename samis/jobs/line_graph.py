"""The graph that a run becomes when it is exported as one file, which runs can, and what the file says of itself."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from torch import Tensor, nn

from samis.baselines import BASELINES
from samis.baselines.learner import main_logits
from samis.config import Experiment
from samis.core.geometry import Framing
from samis.core.preprocessing import PIXEL_MEAN, PIXEL_STD
from samis.core.provenance import provenance
from samis.data.configured import label_of
from samis.errors import UserError
from samis.export.merged import merged_sam
from samis.export.photo_graph import PhotoGraph
from samis.export.stock_sam import PROMPTS, SamLogits
from samis.jobs.load import LoadedRun
from samis.sam.framing import build_framing


def framing_of(config: Experiment) -> Framing:
    """Return how photos enter the frame of a run."""
    return build_framing(config.frame, config.segmenter.architecture, config.segmenter.weights)


def check_run(config: Experiment, folder: Path) -> None:
    """Refuse runs that need more than a photo, or more than one pass.

    Raises:
        UserError: a prompt that a file cannot make itself, or test-time augmentation.
    """
    s, kind = config.segmenter, config.prompt.kind
    if s.name == "sam" and kind not in PROMPTS:
        raise UserError(
            f"{folder}: expected a run with prompt.kind {' or '.join(PROMPTS)} for a file that takes photos alone, got {kind}; "
            "tune one with prompt.kind=empty",
            code="E-EXPORT-PROMPT",
        )
    if s.name == "sam" and framing_of(config).preprocessing != "sam":
        raise UserError(
            f"{folder}: expected a SAM of the first family, whose photos are padded to the frame, got {s.architecture}; tune "
            "samis_lite or vit_b to export one file",
            code="E-EXPORT-ARCHITECTURE",
        )
    if s.tta != "none":
        raise UserError(
            f"{folder}: expected segmenter.tta=none for a file of one pass, got {s.tta}; train without it, so that the threshold "
            "belongs to single maps",
            code="E-EXPORT-TTA",
        )


def build_graph(run: LoadedRun) -> PhotoGraph:
    """Return the run's best epoch as a graph from photos to maps; its weights are on the CPU.

    Args:
        run: of a tuned SAM or a baseline network, its learner on the CPU.
    """
    frame_px = framing_of(run.config).frame_px
    network: nn.Module
    if run.config.segmenter.name in BASELINES:
        network = NetworkLogits(copy.deepcopy(run.learner.network))
    else:
        network = SamLogits(_merged(run, frame_px), run.config.prompt.kind)
    return PhotoGraph(network.eval(), frame_px=frame_px, threshold=run.threshold).eval()


def _merged(run: LoadedRun, frame_px: int) -> nn.Module:
    """Return a stock Sam of the run's merged weights; a copy with its adapter where that has layers no Sam has."""
    adapted = run.learner.adapted
    try:
        state = adapted.merged()
    except UserError:
        return copy.deepcopy(adapted.sam)
    return merged_sam(state, architecture=run.config.segmenter.architecture, frame_px=frame_px)


class NetworkLogits(nn.Module):
    """A baseline network, called as ``PhotoGraph`` calls one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, shown: Tensor) -> Tensor:
        """Return (N, 1, h, w) logits of (N, 3, S, S) framed images."""
        return main_logits(self.network(images))


def metadata_of(run: LoadedRun) -> dict[str, str]:
    """Return what a file says of itself."""
    config, result = run.config, provenance()
    tile = config.frame.tile_px
    return {
        "experiment": config.experiment,
        "network": config.segmenter.architecture if config.segmenter.name == "sam" else config.segmenter.name,
        "threshold": repr(run.threshold),
        "threshold_from": "validation" if run.provenance.get("threshold") else "not chosen: 0.5",
        "frame_px": str(framing_of(config).frame_px),
        "pixel_mean": json.dumps(PIXEL_MEAN),
        "pixel_std": json.dumps(PIXEL_STD),
        "tile_px": str(tile),
        "tiling": f"not inside: cut photos into tiles of {tile} px" if tile else "not inside, and not needed",
        "data": label_of(config.data),
        "data_fingerprint": str(run.provenance.get("data_fingerprint", "unknown")),
        "samis_commit": result["commit"],
        "input": "photo: uint8, batch x height x width x 3, RGB",
        "outputs": "map: float32 in [0, 1]; mask: bool, map > threshold; both batch x height x width",
    }
