"""Embeddings of a frozen encoder, computed once and kept on disk in half precision.

A view's file is named after what its embedding is made of: the encoder's weights, the precision it ran in, and the
view's own key (its pixels after augmentation, its place in the frame; ``samis.core.geometry.view_key``). Nothing has to be
declared and nothing can be stale: a flipped image is another view with a file of its own, other weights are another
folder. Values pass through half precision also when they are computed, so that a first epoch equals a later one. Training
batches hold the embeddings that their loader's processes have read (``Reader``): these views are neither framed nor copied.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samis.config import CacheConfig
from samis.core.contracts import Batch
from samis.core.files import replacing
from samis.core.shipped import checkpoints_folder
from samis.errors import UserError
from samis.sam.forward import Embed, embed
from samis.sam.interface import device_of, family_of

GB = 1e9
VERSION = 1
"""Raise it when files written before must not be read any more."""
STALE_S = 3600
"""A temporary file older than this was left by a process that died."""


class Reader:
    """Reads embeddings in the loader's processes (a ``data.pipeline.loading.Read``); reads nothing before ``set_encoder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._encoder = torch.zeros(16, dtype=torch.uint8)
        self._shape = torch.zeros(3, dtype=torch.int64)
        for tensor in (self._encoder, self._shape):
            tensor.share_memory_()  # type: ignore[no-untyped-call]  # running workers see it change

    def set_encoder(self, encoder: str, shape: tuple[int, ...]) -> None:
        """Set whose embeddings are read, by the name of the encoder's folder, and their (C, g, g)."""
        self._shape.copy_(torch.tensor(shape))
        self._encoder.copy_(torch.tensor(list(bytes.fromhex(encoder)), dtype=torch.uint8))

    def knows(self, encoder: str) -> bool:
        """Return whether this encoder's embeddings are what is read."""
        return bytes(self._encoder.tolist()).hex() == encoder

    def __call__(self, keys: Tensor) -> Tensor | None:
        """Return (V, C, g, g) float16 for (V, 32) keys, or None where one of them is not there."""
        encoder, shape = bytes(self._encoder.tolist()), tuple(self._shape.tolist())
        if not any(encoder):
            return None
        tensors = []
        for path in _paths(self.folder / encoder.hex(), keys):
            tensor = _read(path, shape)
            if tensor is None:
                return None
            tensors.append(tensor)
        return torch.stack(tensors)


class EmbeddingCache:
    """Encode the views of a batch, each only once (a ``samis.sam.forward.Embed``).

    Several processes may share a folder: a file appears whole by renaming, and one that another process has removed is
    computed again. An encoder that is trained is never cached.

    Args:
        folder: of the files; made when needed.
        limit_gb: what the folder may hold; the files used least recently are removed beyond it.

    Attributes:
        read: number of views whose embeddings were read.
        computed: number of views that had to be encoded.
        reader: for the loader of batches that are to hold embeddings.
    """

    def __init__(self, folder: str | Path, *, limit_gb: float = 20.0) -> None:
        self.folder, self.limit = Path(folder), int(limit_gb * GB)
        self.read = self.computed = 0
        self.reader = Reader(self.folder)
        self._encoders: dict[tuple[int, str], tuple[object, int, str]] = {}
        self._held: int | None = None
        self._unscanned = 0
        self._full = False

    def __call__(self, sam: Any, batch: Batch) -> Tensor:
        """Return the float32 embeddings of the batch's views, rounded to half precision."""
        keys = batch.extras.get("view_keys")
        if keys is None or encoder_is_trained(sam):
            return embed(sam, batch)
        encoder = self._encoder(sam)
        shape = family_of(sam).embedding_shape(sam)
        self._check_reader(batch, encoder, shape)
        supplied = batch.extras.get("embeddings", torch.empty(0))
        self.read += len(supplied)
        if batch.images.is_meta:
            return supplied.to(device_of(sam)).float()
        paths = _paths(self.folder / encoder, keys)
        kept: dict[int, Tensor | None] = dict.fromkeys(range(len(paths)))
        if len(supplied):
            kept |= zip(batch.extras["embedded"].nonzero()[:, 0].tolist(), supplied, strict=True)
        kept = {number: _read(paths[number], shape) if each is None else each for number, each in kept.items()}
        missing = [number for number, tensor in kept.items() if tensor is None]
        self.read, self.computed = self.read + len(kept) - len(missing) - len(supplied), self.computed + len(missing)
        if missing:
            with torch.no_grad():
                new = family_of(sam).encode(sam, batch.images[missing]).half().cpu()
            for number, tensor in zip(missing, new, strict=True):
                kept[number] = tensor
                self._write(paths[number], tensor)
        device = batch.images.device
        return torch.stack(
            [tensor.to(device, non_blocking=True).float() for tensor in kept.values() if tensor is not None]
        )

    def _check_reader(self, batch: Batch, encoder: str, shape: tuple[int, ...]) -> None:
        """Set the encoder of the batch's reader.

        Raises:
            RuntimeError: the batch holds embeddings of another encoder: its weights changed while the loader read ahead.
        """
        if "embedded" not in batch.extras or self.reader.knows(encoder):
            return
        if "embeddings" in batch.extras:
            raise RuntimeError("embeddings: the encoder or its precision changed while batches were read; start again")
        self.reader.set_encoder(encoder, shape)

    def held_bytes(self) -> int:
        """Return what the folder's files take."""
        return sum(size for _, size, _ in self._scan())

    def _encoder(self, sam: Any) -> str:
        """Return the name of an encoder's folder: its weights and the precision it runs in, hashed once."""
        family, device = family_of(sam), device_of(sam).type
        encoder, state = family.encoder(sam), family.embedding_state(sam)
        precision = str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else "torch.float32"
        changes = sum(tensor._version for tensor in state.values())
        known = self._encoders.get((id(encoder), precision))
        if known is None or known[0] is not encoder or known[1] != changes:
            digest = hashlib.sha256(f"{VERSION} {precision} {family.side(sam)}".encode())
            for name, tensor in state.items():
                digest.update(f"{name} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().numpy().data)
            known = encoder, changes, digest.hexdigest()[:32]
            self._encoders[id(encoder), precision] = known
        return known[2]

    def _write(self, path: Path, tensor: Tensor) -> None:
        """Write one embedding and rename it into its place; a full disk ends the writing, not the run."""
        if self._full:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, durable=False) as temporary, open(temporary, "wb") as file:
                np.save(file, tensor.numpy(), allow_pickle=False)
        except OSError as error:
            self._full = True
            print(f"{self.folder}: embeddings are no longer kept, {error.strerror}; the run goes on", file=sys.stderr)
            return
        size = tensor.numel() * tensor.element_size()
        self._held = self.held_bytes() if self._held is None else self._held + size
        self._unscanned += size
        # Other processes write too, so scan again before one could have gone far beyond the limit.
        if self._held > self.limit or self._unscanned > self.limit // 20:
            self._evict()

    def _evict(self) -> None:
        """Remove the files used least recently until a tenth of the limit is free, if the folder is beyond it."""
        files = sorted(self._scan())
        held = sum(size for _, size, _ in files)
        if held > self.limit:
            for _, size, path in files:
                if held <= 0.9 * self.limit:
                    break
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    os.unlink(path)
                held -= size
        self._held, self._unscanned = held, 0

    def _scan(self) -> list[tuple[float, int, str]]:
        """Return (last use, bytes, path) of every file; what dead processes left unfinished is removed."""
        files = []
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    state = os.stat(path)
                    if name.endswith(".npy"):
                        files.append((state.st_mtime, state.st_size, path))
                    elif name.endswith(".tmp") and time.time() - state.st_mtime > STALE_S:
                        os.unlink(path)
        return files


def encoder_is_trained(sam: Any) -> bool:
    """Return whether any parameter that embeddings depend on is trained."""
    return any(tensor.requires_grad for tensor in family_of(sam).embedding_state(sam).values())


def open_cache(config: CacheConfig, sam: Any, *, views: int) -> tuple[Embed, str]:
    """Decide whether a job's embeddings are cached, before it starts.

    Args:
        config: ``embeddings`` is auto (wherever it can be), always (or an error) or never.
        sam: the model; one whose encoder is trained is never cached, without a message.
        views: how many views the job encodes repeatedly.

    Returns:
        the cache, or the encoder itself; and a line with the decision and the disk space it needs, "" for none.

    Raises:
        UserError: ``always``, but the disk or the limit is too small; or an unknown value.
    """
    if config.embeddings not in ("auto", "always", "never"):
        raise UserError(
            f"cache.embeddings: expected auto, always or never, got {config.embeddings!r}", code="E-SAM-CACHE-CHOICE"
        )
    if config.embeddings == "never" or encoder_is_trained(sam):
        return embed, ""
    cache = EmbeddingCache(config.folder or checkpoints_folder() / "embeddings", limit_gb=config.limit_gb)
    need = 2 * views * math.prod(family_of(sam).embedding_shape(sam))
    free = shutil.disk_usage(_existing(cache.folder)).free + cache.held_bytes()
    limits = f"cache.limit_gb is {config.limit_gb:g}, {free / GB:.2f} GB are free"
    if need > min(cache.limit, free):
        reason = f"{cache.folder}: embeddings of {views} views need {need / GB:.2f} GB, but {limits}"
        if config.embeddings == "always":
            raise UserError(
                f"{reason}; name another disk with cache.folder, or set cache.embeddings=auto",
                code="E-SAM-CACHE-SPACE",
            )
        return embed, f"{reason}; they are computed again each time"
    return cache, f"embeddings of {views} views are kept in {cache.folder}: up to {need / GB:.2f} GB ({limits})"


def _paths(folder: Path, keys: Tensor) -> list[Path]:
    return [folder / name[:2] / f"{name}.npy" for name in (bytes(key.tolist()).hex() for key in keys.cpu())]


def _read(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """Return an embedding and mark it as used; None where there is none, or one that cannot be read."""
    try:
        array = np.load(path, allow_pickle=False)
        os.utime(path)
    except (OSError, ValueError, EOFError):
        return None
    if not isinstance(array, np.ndarray):  # numpy.load opens any zip file, whatever its name
        return None
    if array.shape != shape or array.dtype != np.float16 or not np.isfinite(array).all():
        return None
    return torch.from_numpy(array)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
