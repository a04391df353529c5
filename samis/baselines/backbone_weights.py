"""Weights of a backbone from a local file: any .safetensors or .pth with timm's or torchvision's names, loaded strictly."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from samis.core.files import file_sha256
from samis.core.weight_files import check_finite, check_readable
from samis.errors import UserError

CANDIDATES = (
    "resnet18", "resnet34", "resnet50", "resnet101", "vgg16", "vgg16_bn", "densenet121", "densenet201",
    "tf_efficientnet_lite0", "tf_efficientnet_lite2", "mobilenetv3_small_100", "mobilenetv3_large_100", "convnext_tiny",
)  # fmt: skip
"""Backbones that a file which does not fit is compared with."""
_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
_DAMAGED = (SafetensorError, RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a backbone's tensors in the file's order, on the CPU, without wrappers and prefixes.

    Raises:
        UserError: no such file, a damaged one, or one that holds more than tensors and numbers.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: expected weights of a backbone, got no such file; check segmenter.weights",
            code="E-NET-NO-WEIGHTS",
        )
    check_readable(path)
    try:
        if path.suffix == ".safetensors":
            kept: dict[str, Tensor] = load_file(path)
            check_finite(kept, path)
            return kept
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: expected tensors alone, but the file holds other objects, which could run code; save its state_dict()",
            code="E-NET-UNSAFE",
        ) from error
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: expected weights of a backbone, but reading failed ({reason}); copy it again",
            code="E-NET-DAMAGED",
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise UserError(
            f"{path}: expected a state dict of tensors, got none; save a model's state_dict()", code="E-NET-NO-TENSORS"
        )
    check_finite(tensors, path)
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def load_backbone(network: nn.Module, path: Path, *, backbone: str) -> str:
    """Load a file into a feature extractor: every tensor of it must be in the file, with its shape.

    Tensors are matched by name; where the names are another library's, by their order, if kinds and shapes agree one by
    one. What the file holds beyond the features (the classifier) is left.

    Args:
        network: of ``timm.create_model(..., features_only=True)``.
        path: the file.
        backbone: its timm name.

    Returns:
        The file's sha256.

    Raises:
        UserError: as ``read_tensors``; or the file is of another model: names which, and how many tensors fit.
    """
    given, wanted = read_tensors(path), network.state_dict()
    by_name = match_names(wanted, given)
    beyond = deeper_tensors(given, wanted, backbone) if len(by_name) == len(wanted) else []
    matched = by_name if len(by_name) == len(wanted) else match_order(wanted, given)
    if matched is None or beyond:
        fit, of = _counts(by_name, wanted)
        more = f", and {len(beyond)} more are of a deeper model (first {beyond[0]})" if beyond else ""
        raise UserError(
            f"{path}: expected weights of {backbone}, but {fit} of its {of} tensors fit{more}; "
            f"the file looks like {looks_like(given)}; set segmenter.backbone to its model or give another file",
            code="E-NET-OTHER-WEIGHTS",
        )
    network.load_state_dict(matched)
    return file_sha256(path)


def match_names(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the wanted tensors that the file holds under timm's or torchvision's name with the same shape.

    timm's feature extractors write ``features_0.weight`` where the model has ``features.0.weight``, and torchvision's
    DenseNet files ``norm.1`` where both libraries now have ``norm1``. Files older than torch 0.4 lack the batch counts of
    batch norm, which are then left as they are.
    """
    table = {_plain(name): tensor for name, tensor in given.items()}
    matched = {}
    for name, tensor in wanted.items():
        other = table.get(_plain(name), tensor if name.endswith("num_batches_tracked") else None)
        if other is not None and other.shape == tensor.shape:
            matched[name] = other
    return matched


def match_order(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the wanted tensors taken from the file in its order, or None unless kind and shape of each agree."""
    if len(given) < len(wanted):
        return None
    matched = {}
    for (name, tensor), (theirs, other) in zip(wanted.items(), given.items(), strict=False):
        if name.rpartition(".")[2] != theirs.rpartition(".")[2] or other.shape != tensor.shape:
            return None
        matched[name] = other
    return matched


def deeper_tensors(given: dict[str, Tensor], wanted: dict[str, Tensor], backbone: str) -> list[str]:
    """Return the file's tensors with the features' kind of name that the model lacks: those of ResNet-34 beyond ResNet-18."""
    known = {_plain(name) for name in _tensors(backbone)} | {_plain(name) for name in wanted}
    parts = {_plain(name).partition("_")[0] for name in wanted}
    return [name for name in given if _plain(name) not in known and _plain(name).partition("_")[0] in parts]


def looks_like(given: dict[str, Tensor]) -> str:
    """Return which of ``CANDIDATES`` a file's tensors fit best, and how many of them."""
    best, most = "", (0.0, 0)
    for candidate in CANDIDATES:
        wanted = _tensors(candidate, features_only=True)
        fit, of = _counts(match_order(wanted, given) or match_names(wanted, given), wanted)
        if (fit / of, fit) > most:  # of two that fit equally the deeper one
            most, best = (fit / of, fit), f"{candidate} ({fit} of {of} tensors fit)"
    return best if most[0] > 0.5 else f"none of {', '.join(CANDIDATES)}"


def _tensors(backbone: str, **options: Any) -> dict[str, Tensor]:
    """Return a model's tensors, without values where timm can build it so: older ones compute with values of theirs."""
    try:
        with torch.device("meta"):
            return dict(timm.create_model(backbone, **options).state_dict())
    except NotImplementedError:
        return dict(timm.create_model(backbone, **options).state_dict())


def _counts(matched: dict[str, Tensor], wanted: dict[str, Tensor]) -> tuple[int, int]:
    """Return how many tensors fit, of how many; batch norm's counts of batches do not depend on the model and are left out."""
    fit, of = (sum(not name.endswith("num_batches_tracked") for name in names) for names in (matched, wanted))
    return fit, of


def _plain(name: str) -> str:
    return re.sub(r"(norm|conv)\.(?=[12]\.)", r"\1", name).replace(".", "_")
