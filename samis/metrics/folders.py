"""Score a folder of saved maps against a folder of masks: strict on names, plain about files it cannot use."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from samis.errors import UserError
from samis.metrics.base import ImageMetric, ImageScores, score_pair
from samis.metrics.clean import Clean
from samis.metrics.float_pair import make_pair
from samis.metrics.pair import Pair
from samis.metrics.truth import TruthFields

FEW_LEVELS = 16
"""A map of bytes that spans fewer levels, but more than one, is warned about where maps are stretched."""
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
        few_levels, jpeg_masks: names of the images with a defect whose map spans few levels, and of those whose mask is a
            JPEG, where the protocol is misled by either.
    """

    defective: dict[str, ImageScores] = field(default_factory=dict)
    clean: dict[str, ImageScores] = field(default_factory=dict)
    clean_rule: dict[str, ImageScores] = field(default_factory=dict)
    few_levels: list[str] = field(default_factory=list)
    jpeg_masks: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """Return what should be known before the numbers are used."""
        found = []
        if self.few_levels:
            found.append(
                f"{len(self.few_levels)} maps span fewer than {FEW_LEVELS} of 256 levels ({_few(self.few_levels)}): stretching "
                "makes coarse steps of them; save maps as floats (.npy) or score with --protocol inspection"
            )
        if self.jpeg_masks:
            found.append(
                f"{len(self.jpeg_masks)} masks are JPEG files ({_few(self.jpeg_masks)}): their noise counts as defect under "
                "this protocol, which can cost .05 of the S-measure; use the lossless masks"
            )
        return found


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
            if opened.format == "TIFF":  # Pillow maps an uncompressed file, and one that lies on its side in wrong rows
                opened.filename = ""
            opened.load()
            image: Image.Image = ImageOps.exif_transpose(opened)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}); save it again as 8-bit grey PNG") from error
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("L", "F"):
        return np.asarray(image)
    if image.mode.startswith("I"):
        raise UserError(f"{path}: expected an 8-bit grey image, got a deeper one ({image.mode}); convert it to 8 bits")
    plain = image.mode == "RGB" and "transparency" not in image.info
    colours = np.asarray(image if plain else image.convert("RGBA"))
    first = np.ascontiguousarray(colours[..., 0])
    same = all(np.array_equal(first, colours[..., channel]) for channel in (1, 2))
    if not same or (not plain and (colours[..., 3] < 255).any()):
        kinds = {"P": "a coloured palette", "RGBA": "colour or transparency", "LA": "transparency"}
        came = f"{kinds.get(image.mode, 'colour')} (mode {image.mode})"
        raise UserError(f"{path}: expected an 8-bit grey image, got {came}; convert it to grey 0..255")
    return first


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


def read_truth(path: Path, *, classes: Sequence[int] | None = None, ignore_value: int | None = None) -> TruthFields:
    """Read a mask; `classes` and `ignore_value` as for `TruthFields`.

    Raises:
        UserError: the file is refused, with its name, what was expected, what came and what to do.
    """
    truth = read_grey(path)
    if np.issubdtype(truth.dtype, np.floating):
        raise UserError(f"{path}: expected a 0/255 or 0/1 mask, got floats; save it as 8-bit grey")
    return TruthFields(truth, source=str(path), classes=classes, ignore_value=ignore_value)


def read_pair(files: Files, *, protocol: str, threshold: float = 0.5) -> Pair:
    """Read one image's map and mask, and check that they fit; raises as `read_truth`."""
    values, fields = read_grey(files.map_path), read_truth(files.truth_path)
    return make_pair(values, fields, protocol=protocol, threshold=threshold, source=str(files.map_path))


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
        names: score these only, with or without an image suffix; None: both folders must hold the same names.
        map_suffix: end of the map files' names, such as ``_map.png``, in any case; other files are passed over. None: any
            image suffix.
        truth_suffix: the same for masks.

    Returns:
        The pairs, sorted by name.

    Raises:
        UserError: no folder, no file, two files of one name, a mask without a map, or a map without a mask.
    """
    maps, truths = _by_name(map_folder, map_suffix), _by_name(truth_folder, truth_suffix)
    wanted = {_stem(name, truths) for name in names} if names is not None else set(truths)
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
    with os.scandir(folder) as entries:  # which knows files from folders without asking for each
        files = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    for file in files:
        stem, ending = os.path.splitext(file)
        if suffix is not None and not file.casefold().endswith(suffix.casefold()):
            continue
        if suffix is None and ending.lower() not in SUFFIXES:
            continue
        name = file[: -len(suffix)] if suffix else stem
        path = folder / file
        if name in found:
            both = f"{found[name].name} and {path.name}"
            advice = "move one away, or give --map-suffix or --mask-suffix"
            raise UserError(f"{folder}: two files for one name ({both}); {advice}")
        found[name] = path
    if not found:
        raise UserError(f"{folder}: no image found (looked for {suffix or ' '.join(SUFFIXES)}); check the path")
    return found


def _stem(name: str, known: Mapping[str, Path]) -> str:
    """Return a listed name as the files are known by: without its image suffix, unless it is known with it."""
    plain = Path(name)
    return name if name in known or plain.suffix.lower() not in SUFFIXES else plain.name.removesuffix(plain.suffix)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def score_folders(
    files: Sequence[Files],
    parts: Sequence[type[ImageMetric]],
    *,
    protocol: str = "pysod",
    threshold: float = 0.5,
    workers: int = 1,
    classes: Sequence[int] | None = None,
    ignore_value: int | None = None,
) -> FolderScores:
    """Read and score pairs of files; see `score_many`, for one folder of maps."""
    return score_many(
        [files],
        parts,
        protocol=protocol,
        threshold=threshold,
        workers=workers,
        classes=classes,
        ignore_value=ignore_value,
    )[0]


def score_many(
    folders: Sequence[Sequence[Files]],
    parts: Sequence[type[ImageMetric]],
    *,
    protocol: str = "pysod",
    threshold: float = 0.5,
    workers: int = 1,
    classes: Sequence[int] | None = None,
    ignore_value: int | None = None,
) -> list[FolderScores]:
    """Read and score several folders of maps of the same masks; each mask is read, and its fields are made, only once.

    Args:
        folders: for each folder of maps what `match_files` returns; the names are the same in all.
        parts: metrics, from `samis.metrics.find_metrics`.
        protocol: key of ``samis.metrics.PROTOCOLS``.
        threshold: absolute threshold, [0, 1].
        workers: processes; 1 scores in this one.
        classes, ignore_value: as for `samis.metrics.TruthFields`.

    Returns:
        Scores by name, for each folder. The same numbers for any number of workers.

    Raises:
        UserError: a file is refused.
    """
    score = partial(
        _score_files,
        parts=tuple(parts),
        protocol=protocol,
        threshold=threshold,
        classes=classes,
        ignore_value=ignore_value,
    )
    found = [FolderScores() for _ in folders]
    for group in _mapped(score, list(zip(*folders, strict=True)), workers):
        for scores, (name, own, clean, few, jpeg) in zip(found, group, strict=True):
            scores.few_levels += [name] if few else []
            scores.jpeg_masks += [name] if jpeg else []
            if clean is None:
                scores.defective[name] = own
            else:
                scores.clean[name], scores.clean_rule[name] = own, clean
    if (classes is not None or ignore_value is not None) and found and found[0].clean and not found[0].defective:
        raise UserError(
            f"{folders[0][0].truth_path.parent}: expected a defect in some mask by --classes {_shown(classes)} and "
            f"--ignore-value {_shown([] if ignore_value is None else [ignore_value])}, got none in {len(found[0].clean)}; name "
            "the values that the masks have"
        )
    return found


def _shown(values: Sequence[int] | None) -> str:
    return " ".join(map(str, values)) if values else "(not given)"


Scored = tuple[str, ImageScores, ImageScores | None, bool, bool]
"""Name, scores, those under the rule for clean images, and whether map and mask are of the kinds that are warned about."""


def _score_files(
    group: Sequence[Files],
    *,
    parts: tuple[type[ImageMetric], ...],
    protocol: str,
    threshold: float,
    classes: Sequence[int] | None,
    ignore_value: int | None,
) -> list[Scored]:
    """Score the maps that several folders hold of one image."""
    fields = read_truth(group[0].truth_path, classes=classes, ignore_value=ignore_value)
    if protocol == "published":
        _check_background(fields, group[0].truth_path)
    jpeg = protocol == "published" and group[0].truth_path.suffix.lower() in (".jpg", ".jpeg")
    found: list[Scored] = []
    for files in group:
        values = read_grey(files.map_path)
        pair = make_pair(values, fields, protocol=protocol, threshold=threshold, source=str(files.map_path))
        defective = pair.fields.area > 0
        clean = None if defective else score_pair(pair, (Clean,))
        low, high = pair.low_high
        few = defective and protocol != "inspection" and pair.index.dtype == np.uint8 and 0 < high - low < FEW_LEVELS
        found.append((files.name, score_pair(pair, parts), clean, few, defective and jpeg))
    return found


def _check_background(truth: TruthFields, path: Path) -> None:
    """Refuse a mask whose background is grey under ``published``, some of whose metrics take all above 0 for a defect.

    Raises:
        UserError: no pixel is 0, though not all are defects by the usual rule.
    """
    surface = truth.raw
    if surface.dtype == np.uint8 and 0 < surface.min() <= 128 < surface.max():
        raise UserError(
            f"{path}: expected a background of 0, since published takes every value above it for a defect, got values from "
            f"{surface.min()} on; save the mask as 0/255"
        )


def _mapped(score: partial[list[Scored]], groups: Sequence[Sequence[Files]], workers: int) -> Iterable[list[Scored]]:
    if workers <= 1:
        return map(score, groups)
    # Not forked: a fork of a process whose OpenCV or OpenMP threads have run inherits their locks, and may wait for ever.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        return list(pool.map(score, groups, chunksize=max(1, min(32, len(groups) // (4 * workers)))))
