"""The backbone of a baseline network: any timm feature extractor that gives a pyramid.

Code: timm (Ross Wightman, Apache-2.0) makes the network and, with `pretrained`, fetches its ImageNet weights, unless an
installed package ships them or a file is given (``samis.baselines.backbone_weights``).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import socket
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants as hub
from torch import Tensor, nn

from samis.baselines.backbone_weights import load_backbone, match_names
from samis.core.imagenet import PACKAGES, load_imagenet
from samis.core.preprocessing import PIXEL_MEAN, PIXEL_STD
from samis.core.sdpa import exclude_cudnn
from samis.errors import UserError, near_name

Pretrained = bool | str | Path
"""Where a backbone's weights come from: False random, True ImageNet's, else a local file."""


class Encoder(nn.Module):
    """A timm network cut into its stages.

    Images come normalised as SAM's; they are normalised again by the mean and standard deviation that timm's ``default_cfg``
    states for the backbone, with random weights too, so that a saved run needs no record of it.

    Args:
        backbone: timm name, such as ``"resnet18"``.
        pretrained: True loads ImageNet weights, from an installed package (``samis[imagenet]``) or by timm's download; a
            path loads a local file with timm's or torchvision's names.

    Attributes:
        channels: of each feature, shallow to deep.
        strides: pixels a cell of each feature covers.
        pretrained: whether it started from weights trained on another data set.
        weights_source: where these came from.

    Raises:
        UserError: unknown backbone, one without a pyramid, or weights that are missing or of another model.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: str, *, pretrained: Pretrained = False) -> None:
        super().__init__()
        exclude_cudnn()  # timm's transformers attend through torch's fused kernels
        if not timm.is_model(backbone):
            near = near_name(backbone, timm.list_models())
            hint = f"did you mean {near}?" if near else "timm.list_models() lists them"
            raise UserError(f"segmenter.backbone: unknown timm model {backbone!r}; {hint}", code="E-NET-BACKBONE-NAME")
        packaged = pretrained is True and importlib.util.find_spec(PACKAGES.get(backbone, "no_package")) is not None
        if pretrained is True and backbone in PACKAGES and not packaged:
            load_imagenet(backbone)  # its error names the package to install
        download = pretrained is True and not packaged
        try:
            with offline_without_network() if download else contextlib.nullcontext():
                self.network = timm.create_model(backbone, features_only=True, pretrained=download)
        except Exception as error:
            code = "E-NET-DOWNLOAD" if download else "E-NET-BACKBONE"
            raise UserError(_no_network(backbone, error, download=download), code=code) from error
        self.backbone = backbone
        self.pretrained = bool(pretrained)
        self.weights_source = f"timm {timm.__version__}" if download else None
        if packaged:
            self.network.load_state_dict(match_names(self.network.state_dict(), load_imagenet(backbone)))
            self.weights_source = f"{PACKAGES[backbone]} {importlib.metadata.version(PACKAGES[backbone])}"
        elif isinstance(pretrained, str | Path):
            sha256 = load_backbone(self.network, Path(pretrained), backbone=backbone)
            self.weights_source = f"{Path(pretrained).name}, sha256 {sha256}"
        scale, shift = renormalisation(backbone, self.network)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        info: Any = self.network.feature_info
        self.channels: list[int] = info.channels()
        self.strides: list[int] = info.reduction()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one (V, C, S / stride, S / stride) feature a stage, shallow to deep.

        Raises:
            UserError: the deepest stride does not divide the images' sides.
        """
        self.check_sides(images, max(self.strides))
        features = self.network(self.normalise(images))
        return [f if f.shape[1] == c else f.permute(0, 3, 1, 2) for f, c in zip(features, self.channels, strict=True)]

    def normalise(self, images: Tensor) -> Tensor:
        """Return images normalised as SAM's, (V, 3, S, S), in the backbone's own statistics."""
        return images * self.scale + self.shift

    def check_sides(self, images: Tensor, stride: int) -> None:
        """Refuse images that a network's deepest stride does not divide.

        Args:
            images: (V, 3, S, S).
            stride: the deepest one, px.

        Raises:
            UserError: names the nearest sides that it does divide.
        """
        for side in images.shape[-2:]:
            if side % stride:
                below, above = side // stride * stride, -(-side // stride) * stride
                near = f"{below} or {above}" if below else str(above)
                raise UserError(
                    f"frame.frame_px: {self.backbone} needs a multiple of {stride}, got {side}; use {near}",
                    code="E-NET-SIDE",
                )


def renormalisation(backbone: str, network: nn.Module) -> tuple[Tensor, Tensor]:
    """Return scale and shift, (1, 3, 1, 1) each, from SAM's normalisation to the one that timm states for a backbone.

    Where timm states none, a warning is given and images stay as they are, in ImageNet's statistics.
    """
    stated = getattr(network, "default_cfg", None) or getattr(network, "pretrained_cfg", None) or {}
    mean, std = stated.get("mean"), stated.get("std")
    sam_mean, sam_std = (torch.tensor(values, device="cpu") / 255 for values in (PIXEL_MEAN, PIXEL_STD))
    if mean is None or std is None or len(mean) != 3:
        warnings.warn(f"backbone {backbone}: timm states no mean and standard deviation; ImageNet's are used")
        scale, shift = torch.ones(3), torch.zeros(3)
    else:
        own_mean, own_std = (torch.tensor(values, device="cpu", dtype=torch.float32) for values in (mean, std))
        scale, shift = sam_std / own_std, (sam_mean - own_mean) / own_std
        if (scale - 1).abs().max() < 1e-4 and shift.abs().max() < 1e-4:  # SAM's are ImageNet's: no rounding
            scale, shift = torch.ones(3), torch.zeros(3)
    device = next(network.parameters()).device
    return scale.view(1, 3, 1, 1).to(device), shift.view(1, 3, 1, 1).to(device)


@contextlib.contextmanager
def offline_without_network() -> Iterator[None]:
    """Let timm's download use its cache alone where its server does not answer: it would try for a minute."""
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not _answers(hub.ENDPOINT)
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


def _answers(address: str) -> bool:
    """Return whether a server takes a connection within three seconds; behind a proxy that is not known, and taken as yes."""
    place = urllib.parse.urlsplit(address)
    if urllib.request.getproxies().get(place.scheme):
        return True
    try:
        socket.create_connection((place.hostname or "", place.port or 443), timeout=3).close()
    except OSError:
        return False
    return True


def _no_network(backbone: str, error: Exception, *, download: bool) -> str:
    reason = " ".join(str(error).split())[:200]
    if not download:
        return (
            f"segmenter.backbone={backbone}: expected a feature pyramid, but {reason}; choose another, such as resnet18"
        )
    hint = "set segmenter.pretrained=false, give a file with segmenter.weights, or fill timm's cache"
    return f"segmenter.backbone={backbone}: expected its ImageNet weights, but {reason}; {hint}"
