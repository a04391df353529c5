"""Which precision a run computes in: the launcher's choice, else what the device supports; decided and checked here alone.

``Accelerator(mixed_precision="no")`` overrides the launcher without a message (huggingface/diffusers#1272 is the same fault), so
nothing else makes an ``Accelerator`` of a training.
"""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import parse_flag_from_env

from samis.errors import PeerError, UserError

CHOICES = ("auto", "no", "bf16", "fp16")
"""Values of ``training.mixed_precision``."""


def open_accelerator(requested: str) -> Accelerator:
    """Return this process's Accelerator in the precision of ``training.mixed_precision``.

    Args:
        requested: ``training.mixed_precision``.

    Raises:
        UserError: as ``resolve_precision`` and ``check_gpus``.
        PeerError: as ``check_gpus``.
    """
    check_gpus()
    precision = resolve_precision(requested)
    if is_initialized() and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()  # an earlier run of this process, in a notebook or a test, had another
    return Accelerator(mixed_precision=precision)


def resolve_precision(requested: str) -> str:
    """Return the precision of a run: no (float32), bf16 or fp16.

    Args:
        requested: ``training.mixed_precision``. auto takes the choice of ``accelerate launch``, if that started the process,
            else bf16 where the GPU computes in it, else no.

    Raises:
        UserError: an unknown value, one that contradicts the launcher, or one that the device does not support.
    """
    if requested not in CHOICES:
        raise UserError(
            f"training.mixed_precision: expected one of {', '.join(CHOICES)}, got {requested!r}",
            code="E-TRAIN-PRECISION",
        )
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "").strip().lower()
    if launched and launched not in CHOICES[1:]:
        raise UserError(
            f"accelerate launch: expected a mixed_precision of {', '.join(CHOICES[1:])}, got {launched!r}; change the launch "
            "file or pass --mixed_precision bf16",
            code="E-TRAIN-LAUNCH",
        )
    if launched and requested not in ("auto", launched):
        raise UserError(
            f"training.mixed_precision={requested} contradicts accelerate launch, which has {launched}; set "
            f"training.mixed_precision=auto, or pass --mixed_precision {requested} to accelerate launch",
            code="E-TRAIN-LAUNCH",
        )
    device = device_type()
    if requested == "auto" and not launched:
        return "bf16" if device == "cuda" and has_bf16() else "no"
    return _checked(launched or requested, device)


def _checked(precision: str, device: str) -> str:
    """Return the precision if the device computes in it.

    Raises:
        UserError: it does not.
    """
    if precision == "fp16" and device == "cpu":
        raise UserError(
            "training.mixed_precision: fp16 needs a GPU, this run is on a CPU; set bf16 or no", code="E-TRAIN-PRECISION"
        )
    if precision == "bf16" and device == "cuda" and not has_bf16():
        name = torch.cuda.get_device_name()
        raise UserError(
            f"training.mixed_precision: {name} has no bf16; set fp16 or no, also in the launch file",
            code="E-TRAIN-PRECISION",
        )
    return precision


def device_type() -> str:
    """Return the kind of device that an Accelerator takes in this process: cuda, mps or cpu."""
    if parse_flag_from_env("ACCELERATE_USE_CPU"):
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_gpus() -> None:
    """Refuse more processes on this machine than it has GPUs.

    Raises:
        UserError: on the machine's first process.
        PeerError: on its others.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device_type() != "cuda" or processes <= torch.cuda.device_count():
        return
    message = (
        f"expected at most as many processes as GPUs, got {processes} processes and {torch.cuda.device_count()} GPUs here; "
        f"launch with --num_processes {torch.cuda.device_count()} (torchrun: --nproc_per_node), or set ACCELERATE_USE_CPU=true"
    )
    kind = UserError if os.environ.get("LOCAL_RANK", "0") == "0" else PeerError
    raise kind(message, code="E-TRAIN-GPUS")


def has_bf16() -> bool:
    """Return whether the CUDA device computes in bf16 itself; torch also counts GPUs that emulate it."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def nan_advice(precision: str) -> str:
    """Return what to try, as one clause, when a run in `precision` has had a loss or gradient that is not finite.

    >>> nan_advice("no")
    'lower optim.lr or optim.clip_norm, or raise optim.warmup_share; check the named images with samis check'
    """
    if precision == "fp16":
        other = "bf16" if device_type() == "cuda" and has_bf16() else "no"
        return f"fp16 ends at 65504: set training.mixed_precision={other}, or lower optim.lr"
    if precision == "bf16":
        return "lower optim.lr or raise optim.warmup_share; training.mixed_precision=no shows whether rounding is the reason"
    return "lower optim.lr or optim.clip_norm, or raise optim.warmup_share; check the named images with samis check"


def default_device() -> torch.device:
    """Return the GPU if there is one and ACCELERATE_USE_CPU does not forbid it."""
    return torch.device("cuda" if device_type() == "cuda" else "cpu")
