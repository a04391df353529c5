"""Weights of a Sam: the embedded ones, the three official files, or any file of yours, loaded safely and strictly.

Code: the official files are Meta's (segment_anything 1.0, Apache-2.0); URL and sha256 as published.
Differs: segment_anything loads with ``torch.load(file)`` alone, which runs any code that a file holds, needs the device
it was saved on and understands no wrapper; here a file may only hold tensors and numbers.
"""

from __future__ import annotations

import pickle
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from segment_anything.modeling import Sam
from torch import Tensor

from samis.core.files import file_sha256
from samis.core.shipped import find_checkpoint
from samis.core.weight_files import check_finite, check_readable, read_pickle
from samis.errors import UserError
from samis.sam.architectures import ARCHITECTURES, EMBEDDED, REMOVED, build_sam, check_architecture
from samis.sam.attention import use_fused_attention
from samis.sam.download import OFFICIAL, download
from samis.sam.resize import resized_weights

__all__ = ["architecture_of", "download", "find_weights", "load_hashed_sam", "load_sam", "read_weights"]

RANDOM = "random"
"""Value of ``segmenter.weights`` that takes no file."""
_WRAPPERS = ("model", "state_dict", "model_state_dict", "sam")
_PREFIXES = ("module.", "_orig_mod.", "model.", "sam.")
_PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
_BUFFERS = ("pixel_mean", "pixel_std")
# What the readers raise on a broken file: they trust its bytes, so that any of these can occur.
_DAMAGED = (
    SafetensorError, RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError,
    AssertionError, struct.error,
)  # fmt: skip


def load_sam(
    architecture: str, *, weights: str | Path | None = None, frame_px: int | None = None, fused_attention: bool = True
) -> Sam:
    """Return ``load_hashed_sam``'s Sam alone."""
    return load_hashed_sam(architecture, weights=weights, frame_px=frame_px, fused_attention=fused_attention)[0]


def load_hashed_sam(
    architecture: str, *, weights: str | Path | None = None, frame_px: int | None = None, fused_attention: bool = True
) -> tuple[Sam, str | None]:
    """Build a Sam and load its weights, in float32, on the CPU, in evaluation mode.

    Args:
        architecture: key in ``ARCHITECTURES``.
        weights: as ``find_weights``.
        frame_px: side of the frame; None takes the architecture's own, another one interpolates the positions.
        fused_attention: switch the encoder to torch's fused attention: same numbers, less time and memory.

    Returns:
        The Sam, and the sha256 of its weights' file; None for random weights.

    Raises:
        UserError: an unknown architecture, a frame that does not fit, a file that is missing, unreadable, unsafe or
            holds another model.
    """
    check_architecture(architecture)
    path = find_weights(architecture, weights)
    try:
        # Weights that a file replaces are not drawn first: on the meta device, building takes no time and no memory.
        with nullcontext() if path is None else torch.device("meta"):
            sam = build_sam(architecture, frame_px=frame_px)
    except ValueError as error:
        raise UserError(str(error), code="E-SAM-FRAME") from error
    if fused_attention:
        use_fused_attention(sam.image_encoder)
    if path is None:
        return sam, None
    _load_strictly(sam, read_weights(path), architecture=architecture, path=path)
    return sam, file_sha256(path)


def find_weights(architecture: str, weights: str | Path | None = None) -> Path | None:
    """Return the file that `weights` means for an architecture; None for random weights.

    Args:
        architecture: key in ``ARCHITECTURES``.
        weights: None takes the embedded weights, or those in ``checkpoints/sam`` for the official sizes; "random" takes
            none; else a .safetensors or .pth file, or a folder with ``model.safetensors``, there or in ``best/``.

    Raises:
        UserError: no such file; for official ones the message holds the command that downloads it.
    """
    if weights == RANDOM:
        return None
    if weights is not None:
        path = Path(weights)
        tried = [path / "model.safetensors", path / "best" / "model.safetensors"] if path.is_dir() else [path]
        for file in tried:
            if file.is_file():
                return file
        raise UserError(
            f"{tried[0]}: expected weights of {architecture}, got no such file; check segmenter.weights",
            code="E-SAM-NO-WEIGHTS",
        )
    if architecture in OFFICIAL:
        official = OFFICIAL[architecture]
        path = find_checkpoint(f"sam/{official.file}")
        if not path.is_file():
            command = f"from samis.sam.weights import download; download('{architecture}')"
            raise UserError(
                f"{path}: expected official weights of {architecture} ({official.size_mb} MB), got no such file; "
                f'with a network run: python -c "{command}" or: curl -L -C - --create-dirs -o {path} {official.url}',
                code="E-SAM-NO-OFFICIAL",
            )
        return path
    path = find_checkpoint(f"{architecture}/model.safetensors")
    if not path.is_file():
        raise UserError(
            f"{path}: expected the embedded weights of {architecture}, got no such file; restore it with git checkout, "
            "name others with segmenter.weights=FILE, or start from scratch with segmenter.weights=random",
            code="E-SAM-NO-EMBEDDED",
        )
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a SAM's tensors from a file, without wrappers and prefixes, floats as float32.

    Raises:
        UserError: the file cannot be read, holds code, holds no SAM, or holds NaN or infinity.
    """
    check_readable(path)
    damaged = f"{path}: expected a checkpoint, got a file that is damaged, cut short or of another kind; copy it again"
    try:
        content = load_file(path) if path.suffix == ".safetensors" else read_pickle(path)
    except pickle.UnpicklingError as error:
        # Torch names the object that it refused; a file that is no pickle at all fails on its first bytes.
        if "GLOBAL" not in str(error):
            raise UserError(damaged, code="E-SAM-DAMAGED") from error
        raise UserError(
            f"{path}: expected a checkpoint of tensors and numbers, got one that holds other objects, whose "
            "loading could run code; it was refused. Save the state_dict alone, best as .safetensors",
            code="E-SAM-UNSAFE",
        ) from error
    except _DAMAGED as error:
        raise UserError(damaged, code="E-SAM-DAMAGED") from error
    state = _unwrapped(content)
    if not any(name.startswith(_PARTS) for name in state):
        some = ", ".join(list(state)[:3]) or "no tensors"
        raise UserError(
            f"{path}: expected weights of a SAM (image_encoder, prompt_encoder, mask_decoder), got {some} ...; "
            "check segmenter.weights",
            code="E-SAM-NO-SAM",
        )
    check_finite(state, path)
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def architecture_of(state: dict[str, Tensor]) -> str | None:
    """Return the architecture, current or removed, whose width, depth and patches a state dict has; None if none does."""
    positions = state.get("image_encoder.pos_embed")
    blocks = {name.split(".")[2] for name in state if name.startswith("image_encoder.blocks.")}
    if positions is None or positions.ndim != 4:
        return None
    inner = any(name.startswith("image_encoder.patch_embed.inner.") for name in state)
    kind = "trunk" if "image_encoder.patch_embed.from4.weight" in state else "stem" if inner else "patches"
    own = (positions.shape[-1], len(blocks), kind)
    known = {name: (a.embed_dim, a.depth, "trunk" if a.trunk else "patches") for name, a in ARCHITECTURES.items()}
    known |= {name: (*sizes, "stem") for name, sizes in REMOVED.items()}
    return next((name for name, sizes in known.items() if sizes == own), None)


def _unwrapped(content: Any) -> dict[str, Tensor]:
    while isinstance(content, dict) and not any(isinstance(value, Tensor) for value in content.values()):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            return {}
        content = inner
    if not isinstance(content, dict):
        return {}
    state = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    while state and not any(name.startswith(_PARTS) for name in state):
        prefix = next((p for p in _PREFIXES if any(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return {name: tensor for name, tensor in state.items() if name not in _BUFFERS}


def _load_strictly(sam: Sam, state: dict[str, Tensor], *, architecture: str, path: Path) -> None:
    wanted = sam.state_dict()
    other = architecture_of(state)
    if other is not None and other != architecture:
        todo = f"set segmenter.architecture={other}, or name another file"
        if other in REMOVED:
            todo = f"it was removed; set segmenter.weights=null for the weights of {EMBEDDED}, or use commit 31d036d for it"
        raise UserError(
            f"{path}: expected weights of {architecture}, got others; this looks like {other}: {todo}",
            code="E-SAM-OTHER-ARCHITECTURE",
        )
    state = resized_weights(state, wanted)
    check_tensors(state, wanted, architecture=architecture, path=path)
    sam.load_state_dict(state, assign=True)


def check_tensors(state: dict[str, Tensor], wanted: dict[str, Tensor], *, architecture: str, path: Path) -> None:
    """Refuse tensors that are missing, unknown or of another shape.

    Raises:
        UserError: names the file and the first such tensor of each kind.
    """
    missing = [name for name in wanted if name not in state]
    foreign = [name for name in state if name not in wanted]
    shapes = [name for name in state if name in wanted and state[name].shape != wanted[name].shape]
    faults = [_few("missing", missing), _few("unknown", foreign)]
    faults += [f"{name} is {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}" for name in shapes[:1]]
    if any(faults):
        listed = "; ".join(filter(None, faults))
        raise UserError(
            f"{path}: expected weights of {architecture}, got others: {listed}; check segmenter.architecture",
            code="E-SAM-OTHER-TENSORS",
        )


def _few(word: str, names: list[str]) -> str:
    return f"{len(names)} tensors {word}, such as {names[0]}" if names else ""
