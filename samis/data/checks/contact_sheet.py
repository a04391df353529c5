"""Draws many samples of a data set on one picture, the edges of their masks in red, so that a person can check them."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from samis.core.contracts import Dataset, Sample
from samis.core.files import replacing
from samis.errors import UserError

_CELL_PX = 128
_TEXT_PX = 14
_COLUMNS = 8
_RED = (230, 30, 30)
_GREY = (245, 245, 245)


def write_contact_sheet(datasets: Dataset | Mapping[str, Dataset], path: Path | str, *, per_class: int = 4) -> Path:
    """Write a picture with the first samples of each class of each split, evenly taken; a bad file is a crossed cell.

    Args:
        datasets: one data set, or splits by name.
        path: the PNG to write; its folder is made. The file is written completely or not at all.
        per_class: samples of each class of a split.

    Returns:
        The path.

    Raises:
        UserError: if it cannot be written.
    """
    table = datasets if isinstance(datasets, Mapping) else {datasets.split: datasets}
    cells: list[Image.Image] = []
    for split, dataset in table.items():
        for class_name in sorted(set(dataset.class_names)):
            members = [index for index, name in enumerate(dataset.class_names) if name == class_name]
            chosen = np.linspace(0, len(members) - 1, min(per_class, len(members))).round().astype(int)
            cells += [_cell(dataset, members[number], split) for number in chosen]
    columns = min(_COLUMNS, max(1, len(cells)))
    rows = max(1, -(-len(cells) // columns))
    sheet = Image.new("RGB", (columns * (_CELL_PX + 4), rows * (_CELL_PX + 2 * _TEXT_PX + 4)), _GREY)
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % columns * (_CELL_PX + 4), number // columns * (_CELL_PX + 2 * _TEXT_PX + 4)))
    return _save(sheet, Path(path))


def _cell(dataset: Dataset, index: int, split: str) -> Image.Image:
    cell = Image.new("RGB", (_CELL_PX, _CELL_PX + 2 * _TEXT_PX), _GREY)
    draw = ImageDraw.Draw(cell)
    draw.text((2, _CELL_PX), _printable(dataset.ids[index]), fill=(0, 0, 0))
    draw.text((2, _CELL_PX + _TEXT_PX), _printable(f"{split}: {dataset.class_names[index]}"), fill=(90, 90, 90))
    try:
        cell.paste(_outlined(dataset[index]), (0, 0))
    except UserError:
        draw.line((0, 0, _CELL_PX, _CELL_PX), fill=_RED, width=3)
        draw.line((0, _CELL_PX, _CELL_PX, 0), fill=_RED, width=3)
    return cell


def _outlined(sample: Sample) -> Image.Image:
    """Return the image scaled into a cell, the edge of its mask in red."""
    height, width = sample.image.shape[:2]
    scale = _CELL_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(sample.image).resize(size, Image.Resampling.BILINEAR)
    if sample.mask is not None and sample.mask.any():
        mask = (
            Image.fromarray(sample.mask.astype(np.uint8) * 255)
            .resize(size, Image.Resampling.BOX)
            .point([0] + [255] * 255)
        )
        grown = np.asarray(mask.filter(ImageFilter.MaxFilter(3)))
        pixels = np.array(small)
        pixels[(grown > 0) & (np.asarray(mask) == 0)] = _RED
        small = Image.fromarray(pixels)
    return small


def _printable(text: str) -> str:
    """Return what the built-in font can draw, shortened to a cell.

    >>> _printable("Oberfläche 1")
    'Oberfläche 1'
    """
    plain = text.encode("latin-1", "replace").decode("latin-1")
    return plain if len(plain) <= 21 else plain[:10] + ".." + plain[-9:]


def _save(sheet: Image.Image, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            sheet.save(temporary, format="PNG")
    except OSError as error:
        advice = "free some space" if error.errno == errno.ENOSPC else "choose another folder"
        raise UserError(
            f"{path}: expected to write a picture there, got '{error.strerror}'; {advice}", code="E-FILE-NOT-WRITTEN"
        ) from error
    return path
