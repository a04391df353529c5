"""Baselines by name: the specialised networks that SAM is compared with, and folders of published maps."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import nn

from samis.baselines.basnet import BASNet
from samis.baselines.cpd import CPD
from samis.baselines.csepnet import CSEPNet
from samis.baselines.dacnet import DACNet
from samis.baselines.dss import DSS
from samis.baselines.edrnet import EDRNet
from samis.baselines.encoder import Pretrained
from samis.baselines.f3net import F3Net
from samis.baselines.itsd import ITSD
from samis.baselines.learner import BaselineLearner, BaselineSegmenter, read_record
from samis.baselines.mcnet import MCnet
from samis.baselines.minet import MINet
from samis.baselines.picanet import PiCANet
from samis.baselines.poolnet import PoolNet
from samis.baselines.saved_maps import SavedMaps
from samis.baselines.tsernet import TSERNet
from samis.baselines.unet import UNet
from samis.config import LossConfig
from samis.errors import UserError

__all__ = [
    "BASELINES",
    "Baseline",
    "BaselineLearner",
    "BaselineSegmenter",
    "SavedMaps",
    "build_baseline",
    "load_baseline",
]


class Baseline(NamedTuple):
    """A network class, called as ``network(backbone, pretrained=...)``, and the backbone of its paper."""

    network: type[nn.Module]
    backbone: str


BASELINES: dict[str, Baseline] = {
    "dss": Baseline(DSS, "vgg16"),
    "picanet": Baseline(PiCANet, "vgg16"),
    "cpd": Baseline(CPD, "vgg16"),
    "poolnet": Baseline(PoolNet, "resnet50"),
    "basnet": Baseline(BASNet, "resnet34"),
    "f3net": Baseline(F3Net, "resnet50"),
    "minet": Baseline(MINet, "vgg16_bn"),
    "itsd": Baseline(ITSD, "vgg16"),
    "edrnet": Baseline(EDRNet, "resnet34"),
    "mcnet": Baseline(MCnet, "densenet201"),
    "dacnet": Baseline(DACNet, "resnet34"),
    "csepnet": Baseline(CSEPNet, "vgg16_bn"),
    "tsernet": Baseline(TSERNet, "resnet34"),
    "unet": Baseline(UNet, "resnet18"),
}


def build_baseline(name: str, *, backbone: str | None = None, pretrained: Pretrained = False) -> nn.Module:
    """Construct a network.

    Args:
        name: key in ``BASELINES``.
        backbone: timm name; None takes the paper's.
        pretrained: False starts at random, True from ImageNet weights, a path from that file of the backbone.

    Raises:
        UserError: no such network or backbone, or weights that are missing or of another model.
    """
    if name not in BASELINES:
        raise UserError(
            f"segmenter.name: unknown baseline {name!r}; known are {', '.join(BASELINES)}", code="E-NET-NAME"
        )
    baseline = BASELINES[name]
    return baseline.network(backbone or baseline.backbone, pretrained=pretrained)


def load_baseline(folder: Path) -> BaselineSegmenter:
    """Return the segmenter of a network that ``BaselineLearner.save`` wrote.

    Raises:
        UserError: the folder holds none.
    """
    record = read_record(folder)
    network = build_baseline(record["name"], backbone=record["backbone"])
    learner = BaselineLearner(network, LossConfig(), name=record["name"])
    learner.load(Path(folder))
    network.eval()
    return learner.segmenter()
