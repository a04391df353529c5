"""Reads and writes files of weights: no code in them, readable by whom the umask allows, never with a number that is not finite.

One NaN in the weights makes every map NaN, no pixel exceeds a threshold then, and a defective part would be called sound.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from samis.errors import UserError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return a safetensors file's tensors, on the CPU.

    Raises:
        UserError: no such file, one that may not be read, or one that holds NaN or infinity: names the first such tensor.
        safetensors.SafetensorError: a damaged file.
    """
    check_readable(path)
    tensors: dict[str, Tensor] = load_file(path)
    check_finite(tensors, path)
    return tensors


def read_pickle(path: Path) -> Any:
    """Read a .pth file that may hold tensors, containers, numbers and numpy's numbers, nothing else."""
    scalar = np.float64(0).__reduce__()[0]
    numbers: list[Any] = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    numbers += [np.dtype, *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_))]
    with torch.serialization.safe_globals(numbers):
        return torch.load(path, map_location="cpu", weights_only=True)


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors as a safetensors file with the rights that the umask leaves; safetensors itself allows its owner only."""
    save_file(dict(tensors), path, metadata=metadata)
    usual_rights(path)


def usual_rights(path: Path) -> None:
    """Give a file the rights that an ordinary new file has: all but those that the umask takes."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def check_readable(path: Path) -> None:
    """Refuse a file that is missing or may not be read; libraries call the second missing too.

    Raises:
        UserError: which of the two.
    """
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected weights, got no such file; check the path", code="E-FILE-MISSING") from error
    except OSError as error:
        raise UserError(
            f"{path}: expected a readable file, got '{error.strerror}'; check its rights", code="E-FILE-UNREADABLE"
        ) from error


def check_finite(tensors: Mapping[str, object], source: object) -> None:
    """Refuse weights that hold NaN or infinity.

    Raises:
        UserError: names the source and the first such tensor.
    """
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise UserError(
                f"{source}: expected finite numbers, got NaN or infinity in tensor '{name}' ({count} of {tensor.numel()}); "
                "copy the file again, or train again",
                code="E-FILE-NOT-FINITE",
            )
