"""Weights of transformers' families: a folder in the library's format, a file in the official one, or a name on the hub.

Nothing but tensors is ever read: folders only as safetensors, other files with ``weights_only``. Loading is strict: a tensor
that is missing, of another shape or NaN is an error in one line, and so is a folder of another family, which it names.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from samis.core.files import file_sha256
from samis.core.shipped import find_checkpoint
from samis.core.weight_files import check_finite, check_readable
from samis.errors import UserError
from samis.sam.weights import RANDOM, read_weights

if TYPE_CHECKING:
    from samis.sam.families.transformers_models import TransformersFamily

CONFIG, TENSORS = "config.json", "model.safetensors"
_FILES = (".pt", ".pth", ".safetensors", ".bin", ".ckpt")
_ON_HUB = re.compile(r"[\w.-]+/[\w.-]+")


def library(family: TransformersFamily, name: str) -> Any:
    """Return one of transformers' classes.

    Raises:
        UserError: transformers is missing, or too old for the family.
    """
    install = f"pip install 'transformers>={family.oldest}'"
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            f"segmenter.architecture: {family.name} needs the package transformers, got none; {install}",
            code="E-SAM-NO-TRANSFORMERS",
        ) from error
    try:
        return getattr(transformers, name)
    except (AttributeError, ImportError) as error:
        raise UserError(
            f"segmenter.architecture: {family.name} needs {name} of transformers, got version "
            f"{transformers.__version__} without it; {install}",
            code="E-SAM-OLD-TRANSFORMERS",
        ) from error


def local_place(family: str, architecture: str, weights: str | Path | None) -> Path | None:
    """Return the local file or folder that ``segmenter.weights`` means; None for random weights or a name on the hub."""
    if weights == RANDOM:
        return None
    if weights is None:
        return find_checkpoint(f"{family}/{architecture}")
    path = Path(weights)
    if not path.exists() and path.suffix not in _FILES and _ON_HUB.fullmatch(str(weights)):
        return None
    return path


def side_of(place: Path | None, native_px: int) -> int:
    """Return the side of the frame that a folder's configuration has; `native_px` where there is none to read."""
    if place is None or not (place / CONFIG).is_file():
        return native_px
    result = _read_config(place)
    prompts = (result.get("tracker_config") or result).get("prompt_encoder_config") or {}
    side = prompts.get("image_size", native_px)
    return int(side if isinstance(side, int) else native_px)


def load_model(
    family: TransformersFamily, architecture: str, weights: str | Path | None
) -> tuple[nn.Module, str | None]:
    """Return a model and the sha256 of its file of weights; None for random weights.

    Raises:
        UserError: as the module says.
    """
    model_class = library(family, family.class_name)
    place = local_place(family.name, architecture, weights)
    if place is None and weights == RANDOM:
        model: nn.Module = model_class(family.config(architecture))
        return model, None
    place = _from_hub(str(weights)) if place is None else place
    if not place.exists():
        raise _missing(family, architecture, place, given=weights is not None)
    model, file = (
        _from_folder(family, model_class, place)
        if place.is_dir()
        else (_from_file(family, model_class, architecture, place), place)
    )
    _check_size(family, architecture, model, place)
    check_finite(model.state_dict(), file)
    return model, file_sha256(file)


@functools.cache
def print_once(notice: str) -> None:
    """Print a line on standard error, once a process."""
    print(notice, file=sys.stderr)


def _missing(family: TransformersFamily, architecture: str, place: Path, *, given: bool) -> UserError:
    if given:
        return UserError(
            f"{place}: expected weights of {architecture}, got no such file or folder; check segmenter.weights",
            code="E-SAM-NO-WEIGHTS",
        )
    hub = family.sizes[architecture].hub
    if not hub:
        return UserError(
            f"segmenter.weights: expected a folder for {architecture}, which stands for any size, got null; name the folder, "
            f"or set segmenter.architecture to one of {', '.join(name for name in family.names() if name != architecture)}",
            code="E-SAM-NO-WEIGHTS",
        )
    return UserError(
        f"{place}: expected official weights of {architecture}, got no such folder; with a network run: hf download {hub} "
        f"{CONFIG} {TENSORS} --local-dir {place}",
        code="E-SAM-NO-OFFICIAL",
    )


def _from_hub(name: str) -> Path:
    """Return the local copy of a hub repository's configuration and weights."""
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, allow_patterns=[CONFIG, TENSORS]))
    except Exception as error:  # the hub's client raises what its transport raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(
            f"segmenter.weights: {name} is no folder here, and could not be fetched from the Hugging Face hub ({reason}); check "
            "the name and the network, or give a local folder",
            code="E-SAM-HUB",
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        result = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder / CONFIG}: expected a model's configuration, but {error}; copy the folder again",
            code="E-SAM-DAMAGED",
        ) from error
    return result if isinstance(result, dict) else {}


def _from_folder(family: TransformersFamily, model_class: Any, folder: Path) -> tuple[nn.Module, Path]:
    """Load a folder in transformers' format, strictly; return the model and its file of weights."""
    for name in (CONFIG, TENSORS):
        if not (folder / name).is_file():
            others = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
            raise UserError(
                f"{folder / name}: expected a folder with {CONFIG} and {TENSORS}, got {others}; save the model with "
                "save_pretrained, in one safetensors file",
                code="E-SAM-NO-WEIGHTS",
            )
    kind = str(_read_config(folder).get("model_type"))
    if kind not in family.model_types:
        raise UserError(
            f"{folder}: expected weights of {family.name}, got model_type {kind}{_looks_like_type(kind)}",
            code="E-SAM-OTHER-FAMILY",
        )
    file = folder / TENSORS
    _check_tensors(file)
    try:
        with _without_progress_bar():
            model, info = model_class.from_pretrained(
                str(folder), use_safetensors=True, local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # the library raises many kinds on a configuration or on shapes that do not fit
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"{folder}: expected weights of {family.name} that fit their {CONFIG}, but {reason}; copy the folder again",
            code="E-SAM-OTHER-TENSORS",
        ) from error
    faults = [_few(word, list(info.get(f"{key}_keys", ()))) for word, key in (
        ("missing", "missing"), ("unknown", "unexpected"), ("of another shape", "mismatched"),
    )]  # fmt: skip
    if any(faults):
        raise UserError(
            f"{file}: expected weights of {family.name}, got others: {'; '.join(filter(None, faults))}; copy the folder again",
            code="E-SAM-OTHER-TENSORS",
        )
    return model, file


@contextlib.contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Let the library print no bar while it reads a file."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _check_tensors(file: Path) -> None:
    """Refuse a damaged safetensors file before the library reads it."""
    check_readable(file)
    try:
        with safe_open(file, "pt") as opened:
            opened.keys()
    except Exception as error:  # safetensors trusts nothing and raises its own, or the system's, error
        raise UserError(
            f"{file}: expected a safetensors file, got one that is damaged, cut short or of another kind; copy it again",
            code="E-SAM-DAMAGED",
        ) from error


def _from_file(family: TransformersFamily, model_class: Any, architecture: str, path: Path) -> nn.Module:
    """Load a file in the official format, strictly."""
    state = read_weights(path)
    if not family.is_official(set(state)):
        raise UserError(
            f"{path}: expected official weights of {family.name}, got others{_looks_like_file(set(state))}",
            code="E-SAM-OTHER-FAMILY",
        )
    named = family.from_official(state)
    fits = [name for name in family.sizes if _fits(family, model_class, name, named)]
    if not fits:
        raise UserError(
            f"{path}: expected a size of {family.name} ({', '.join(family.sizes)}), got tensors of other shapes, "
            f"{_first_fault(family, model_class, architecture, named)}",
            code="E-SAM-OTHER-TENSORS",
        )
    model: Any = _on_meta(family, model_class, fits[0])
    model.load_state_dict(named, strict=True, assign=True)
    model.tie_weights()  # assigning gives each name a tensor of its own
    return model  # type: ignore[no-any-return]


def _on_meta(family: TransformersFamily, model_class: Any, architecture: str) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = model_class(family.config(architecture))
    return model


def _fits(family: TransformersFamily, model_class: Any, name: str, named: Mapping[str, Tensor]) -> bool:
    wanted = {key: each.shape for key, each in _on_meta(family, model_class, name).state_dict().items()}
    return wanted == {key: each.shape for key, each in named.items()}


def _first_fault(family: TransformersFamily, model_class: Any, architecture: str, named: Mapping[str, Tensor]) -> str:
    wanted = _on_meta(family, model_class, architecture).state_dict()
    for key, each in wanted.items():
        if key not in named:
            return f"such as {key}, which is missing"
        if named[key].shape != each.shape:
            return f"such as {key}, which is {tuple(named[key].shape)}, not {tuple(each.shape)}"
    return f"such as {next((key for key in named if key not in wanted), 'none')}, which is unknown"


def _check_size(family: TransformersFamily, architecture: str, model: Any, place: Path) -> None:
    """Refuse weights of another size than the named one, so that no row names a size that it has not."""
    if len(family.sizes) == 1 or not family.sizes[architecture].hub:
        return
    own = _shapes(model)
    if own == _shapes(_on_meta(family, type(model), architecture)):
        return
    result = [name for name in family.sizes if own == _shapes(_on_meta(family, type(model), name))]
    named = [name for name in result if family.sizes[name].hub] or result or [family.name]
    raise UserError(
        f"{place}: expected weights of {architecture}, got others; this looks like {named[0]}: set "
        f"segmenter.architecture={named[0]}, or name another folder",
        code="E-SAM-OTHER-ARCHITECTURE",
    )


def _shapes(model: nn.Module) -> dict[str, Any]:
    return {name: tuple(each.shape) for name, each in model.named_parameters()}


def _looks_like_type(kind: str) -> str:
    from samis.sam.families import FAMILIES

    for family in FAMILIES.values():
        if kind in getattr(family, "model_types", ()):
            return f"; this looks like {family.name}: set segmenter.architecture={family.name}, or name another folder"
    return "; name another folder"


def _looks_like_file(names: set[str]) -> str:
    from samis.sam.families import family_of_names

    result = family_of_names(names)
    return (
        f"; this looks like {result}, set segmenter.architecture to one of its sizes"
        if result
        else "; name another file"
    )


def _few(word: str, names: list[Any]) -> str:
    return f"{len(names)} tensors {word}, such as {sorted(str(name) for name in names)[0]}" if names else ""
