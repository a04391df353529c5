"""What this machine has for SAM-IS: versions, devices, space, weights, data, runs; and what to do where something is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from samis.core.files import file_sha256
from samis.core.provenance import PACKAGES
from samis.core.shipped import checkpoints_folder
from samis.data import DATASETS, load_dataset
from samis.errors import UserError
from samis.sam.architectures import ARCHITECTURES, EMBEDDED
from samis.sam.download import OFFICIAL
from samis.sam.weights import find_weights

SEVERITIES = ("ok", "note", "error")
LOW_DISK_GB = 5
PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
_GIB = 1 << 30
_YOURS = ("folder", "coco", "labelme", "procedural")


@dataclass(frozen=True)
class Fact:
    """One line of the doctor's report: what, how it is, ``ok``, ``note`` or ``error``, and what to do about it."""

    name: str
    value: str
    severity: str = "ok"
    advice: str = ""


def examine_machine(runs: Path = Path("checkpoints/runs")) -> list[Fact]:
    """Return the facts, in the order a user needs them.

    Args:
        runs: folder of run folders.
    """
    return [*_versions(), *_devices(), *_space(), *_weights(), *_data(), *_runs(runs)]


def as_dict(facts: list[Fact]) -> dict[str, Any]:
    """Return counts by severity and the facts, for JSON."""
    counts = {severity: sum(fact.severity == severity for fact in facts) for severity in SEVERITIES}
    return {"counts": counts, "facts": [asdict(fact) for fact in facts]}


def _versions() -> Iterator[Fact]:
    yield Fact("python", platform.python_version())
    for package in dict.fromkeys((*PACKAGES, "torchvision")):
        try:
            yield Fact(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            if package == "samis":  # it runs, so it is there: imported from the folder it was cloned to
                yield Fact(package, f"run from the checkout {PACKAGE_FOLDER.parent}, not installed")
            else:
                yield Fact(package, "not installed", "error", "install it: make install")
    yield _pair()


def _pair() -> Fact:
    """Tell whether torch and torchvision were built for each other: by torchvision's own metadata, then by trying."""
    try:
        wanted = next((r for r in metadata.requires("torchvision") or [] if re.match(r"torch\b", r)), "")
        have = metadata.version("torch").partition("+")[0]
    except metadata.PackageNotFoundError:  # built in place: only trying them shows it
        wanted = have = ""
    version = re.search(r"==\s*([\w.]+)", wanted)
    advice = "install both in one go: pip install --force-reinstall torch torchvision"
    if version and version[1].partition("+")[0] != have:
        return Fact("torch and torchvision", f"torchvision wants torch {version[1]}, got {have}", "error", advice)
    try:
        import torch
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:
        return Fact("torch and torchvision", " ".join(str(error).split())[:120], "error", advice)
    return Fact("torch and torchvision", "fit together")


def _devices() -> Iterator[Fact]:
    import torch

    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        free, total = (size / _GIB for size in torch.cuda.mem_get_info(number))
        yield Fact(f"GPU {number}", f"{about.name}, {free:.0f} of {total:.0f} GiB free")
    if not torch.cuda.device_count():
        advice = f"the embedded {EMBEDDED} runs on the CPU; tuning an official SAM wants a GPU"
        yield Fact("GPU", f"none that torch {torch.__version__} can use", "note", advice)
    yield Fact("CPU", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")


def _space() -> Iterator[Fact]:
    here = Path.cwd()
    free = shutil.disk_usage(here).free / _GIB
    few = free < LOW_DISK_GB
    advice = f"a run with an official SAM writes up to {LOW_DISK_GB} GiB; free some, or set training.out" if few else ""
    yield Fact("free disk", f"{free:.1f} GiB", "note" if few else "ok", advice)
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        page = os.sysconf("SC_PAGE_SIZE")
        have, total = (os.sysconf(name) * page / _GIB for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"))
        yield Fact("memory", f"{have:.1f} of {total:.1f} GiB free")


def _weights() -> Iterator[Fact]:
    for name in ARCHITECTURES:
        title = f"weights of {name}"
        try:
            path = find_weights(name)
        except UserError as error:
            ours = name not in OFFICIAL
            trained = f"make them: samis pretrain with architecture={name}" if ours else str(error).partition("; ")[2]
            broken = name == EMBEDDED
            yield Fact(title, "not here", "error" if broken else "note", str(error) if broken else trained)
            continue
        assert path is not None
        known, sha256 = _known_sha256(name, path), file_sha256(path)
        if known and known != sha256:
            advice = f"{path}: expected sha256 {known[:12]}..., got {sha256[:12]}...; delete it and fetch it again"
            yield Fact(title, "not the published file", "error", advice)
        else:
            yield Fact(title, f"{path}, sha256 {sha256[:12]}" + ("" if known else " (not checked)"))


def _known_sha256(name: str, path: Path) -> str | None:
    if name in OFFICIAL:
        return OFFICIAL[name].sha256
    card = path.parent / "README.md"
    match = re.search(r"\b[0-9a-f]{64}\b", card.read_text(encoding="utf-8")) if card.is_file() else None
    return match[0] if match else None


def _data() -> Iterator[Fact]:
    for name in DATASETS:
        if name in _YOURS:
            continue
        try:
            sizes = {split: len(load_dataset(name, split=split)) for split in ("train", "val", "test")}
            yield Fact(f"data {name}", ", ".join(f"{count} {split}" for split, count in sizes.items()) + " images")
        except UserError as error:
            yield Fact(f"data {name}", "not here", "note", str(error))
    checked = f"$SAMIS_DATA={variable}" if (variable := os.environ.get("SAMIS_DATA")) else "$SAMIS_DATA is not set"
    yield Fact("data root", f"{checked}; {checkpoints_folder()} holds weights")


def _runs(runs: Path) -> Iterator[Fact]:
    folders = sorted(path.parent for path in runs.glob("**/config.yaml")) if runs.is_dir() else []
    unfinished = [str(path) for path in folders if not (path / "provenance.json").exists()]
    advice = "go on with the command that began them: " + ", ".join(unfinished[:3]) if unfinished else ""
    value = f"{len(folders)} in {runs}, {len(unfinished)} not finished"
    yield Fact("runs", value, "note" if unfinished else "ok", advice)
