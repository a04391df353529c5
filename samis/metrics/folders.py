"""Score a folder of saved maps against a folder of masks: strict on names, plain about files it cannot use."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from samis.contracts import UserError
from samis.metrics.base import ImageMetric, ImageScores, score_pair
from samis.metrics.clean import Clean
from samis.metrics.pair import Pair, check_map, quantise
from samis.metrics.truth import TruthFields

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".npy")


@dataclass(frozen=True)
class Files:
    """One image's two files."""

    name: str
    map_path: Path
    truth_path: Path


@dataclass
class FolderScores:
    """Scores by image name, images with a defect apart from clean ones.

    Attributes:
        defective: scores under the protocol asked for.
        clean: the same for images whose mask is empty.
        clean_rule: those images under the rule for clean images (`samis.metrics.clean`).
    """

    defective: dict[str, ImageScores] = field(default_factory=dict)
    clean: dict[str, ImageScores] = field(default_factory=dict)
    clean_rule: dict[str, ImageScores] = field(default_factory=dict)


def read_grey(path: Path) -> np.ndarray:
    """Read a grey image file.

    Args:
        path: 8-bit or 1-bit grey; colour or palette whose channels are equal and which is opaque; or ``.npy``; or a
            float TIFF.

    Returns:
        (H, W) uint8, or float where the file holds floats.

    Raises:
        UserError: unreadable, 16-bit, coloured, or of several channels.
    """
    if path.suffix.lower() == ".npy":
        return _read_array(path)
    try:
        with Image.open(path) as opened:
            opened.load()
            image: Image.Image = opened
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}); save it again as 8-bit grey PNG") from error
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("L", "F"):
        return np.asarray(image)
    if image.mode.startswith("I"):
        raise UserError(f"{path}: expected an 8-bit grey image, got a deeper one ({image.mode}); convert it to 8 bits")
    colours = np.asarray(image.convert("RGBA"))
    grey = (colours[..., :3] == colours[..., :1]).all() and (colours[..., 3] == 255).all()
    if not grey:
        kinds = {"P": "a coloured palette", "RGBA": "colour or transparency", "LA": "transparency"}
        came = f"{kinds.get(image.mode, 'colour')} (mode {image.mode})"
        raise UserError(f"{path}: expected an 8-bit grey image, got {came}; convert it to grey 0..255")
    return np.ascontiguousarray(colours[..., 0])


def _read_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as a numpy array ({error}); write it with numpy.save") from error
    if not isinstance(array, np.ndarray):  # numpy.load opens any zip file, whatever its name
        raise UserError(f"{path}: expected one numpy array, got an archive; write it with numpy.save")
    if array.ndim != 2 or not (array.dtype in (np.uint8, np.bool_) or np.issubdtype(array.dtype, np.floating)):
        raise UserError(f"{path}: expected (H, W) uint8, bool or float, got {array.dtype} of shape {array.shape}")
    return array


def read_pair(files: Files, *, protocol: str, threshold: float = 0.5) -> Pair:
    """Read one image's map and mask, and check that they fit.

    Raises:
        UserError: a file is refused, with its name, what was expected, what came and what to do.
    """
    truth = read_grey(files.truth_path)
    if np.issubdtype(truth.dtype, np.floating):
        raise UserError(f"{files.truth_path}: expected a 0/255 or 0/1 mask, got floats; save it as 8-bit grey")
    fields = TruthFields(truth, source=str(files.truth_path))
    values = read_grey(files.map_path)
    if values.dtype == np.bool_:
        values = values.astype(np.float64)
    map_u8 = values if values.dtype == np.uint8 else quantise(values, source=str(files.map_path))
    check_map(map_u8, fields.hw, source=str(files.map_path))
    return Pair(map_u8, fields, protocol=protocol, threshold=threshold)


def match_files(
    map_folder: Path,
    truth_folder: Path,
    *,
    names: Sequence[str] | None = None,
    map_suffix: str | None = None,
    truth_suffix: str | None = None,
) -> list[Files]:
    """Pair the files of two folders by name without suffix.

    Args:
        map_folder: saved maps.
        truth_folder: masks.
        names: score these only; None: both folders must hold the same names.
        map_suffix: end of the map files' names, such as ``_map.png``; other files are passed over. None: any image
            suffix.
        truth_suffix: the same for masks.

    Returns:
        The pairs, sorted by name.

    Raises:
        UserError: no folder, no file, two files of one name, a mask without a map, or a map without a mask.
    """
    maps, truths = _by_name(map_folder, map_suffix), _by_name(truth_folder, truth_suffix)
    wanted = set(names) if names is not None else set(truths)
    for folder, held in ((map_folder, maps), (truth_folder, truths)):
        missing = sorted(wanted - set(held))
        if missing:
            advice = "check the list of names" if names else "add them, or name the images to score with --names"
            share = f"{len(missing)} of {len(wanted)} images missing ({_few(missing)})"
            raise UserError(f"{folder}: {share}; {advice}")
    extra = sorted(set(maps) - wanted) if names is None else []
    if extra:
        advice = "add the masks, or name the images to score with --names"
        raise UserError(f"{truth_folder}: no mask for {len(extra)} maps of {map_folder} ({_few(extra)}); {advice}")
    return [Files(name, maps[name], truths[name]) for name in sorted(wanted)]


def _by_name(folder: Path, suffix: str | None) -> dict[str, Path]:
    if not folder.is_dir():
        came = "a file" if folder.exists() else "nothing"
        raise UserError(f"{folder}: expected a folder, found {came}; check the path")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        if suffix is not None and not path.name.endswith(suffix):
            continue
        if suffix is None and path.suffix.lower() not in SUFFIXES:
            continue
        name = path.name[: -len(suffix)] if suffix else path.stem
        if name in found:
            both = f"{found[name].name} and {path.name}"
            advice = "move one away, or give --map-suffix or --mask-suffix"
            raise UserError(f"{folder}: two files for one name ({both}); {advice}")
        found[name] = path
    if not found:
        raise UserError(f"{folder}: no image found (looked for {suffix or ' '.join(SUFFIXES)}); check the path")
    return found


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def score_folders(
    files: Sequence[Files],
    parts: Sequence[type[ImageMetric]],
    *,
    protocol: str = "pysod",
    threshold: float = 0.5,
    workers: int = 1,
) -> FolderScores:
    """Read and score pairs of files.

    Args:
        files: from `match_files`.
        parts: metrics, from `samis.metrics.find_metrics`.
        protocol: key of ``samis.metrics.PROTOCOLS``.
        threshold: absolute threshold, [0, 1].
        workers: processes; 1 scores in this one.

    Returns:
        Scores by name. The same numbers for any number of workers.

    Raises:
        UserError: a file is refused.
    """
    score = partial(_score_files, parts=tuple(parts), protocol=protocol, threshold=threshold)
    scores = FolderScores()
    for name, own, clean in _mapped(score, files, workers):
        if clean is None:
            scores.defective[name] = own
        else:
            scores.clean[name], scores.clean_rule[name] = own, clean
    return scores


def _score_files(
    files: Files, *, parts: tuple[type[ImageMetric], ...], protocol: str, threshold: float
) -> tuple[str, ImageScores, ImageScores | None]:
    pair = read_pair(files, protocol=protocol, threshold=threshold)
    clean = score_pair(pair, (Clean,)) if pair.fields.area == 0 else None
    return files.name, score_pair(pair, parts), clean


def _mapped(
    score: partial[tuple[str, ImageScores, ImageScores | None]], files: Sequence[Files], workers: int
) -> Iterable[tuple[str, ImageScores, ImageScores | None]]:
    if workers <= 1:
        return map(score, files)
    # Not forked: a fork of a process whose OpenCV or OpenMP threads have run inherits their locks, and may wait for ever.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        return list(pool.map(score, files, chunksize=max(1, min(32, len(files) // (4 * workers)))))
