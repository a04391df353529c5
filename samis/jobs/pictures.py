"""Draws what a report shows of maps on disk: panels of best, median and worst images, and the page's gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samis.data import load_dataset, loader_options
from samis.errors import RowError, UserError, code_of, text_of
from samis.evaluation.rows import Chosen, TableKey, choose, group_metrics, group_rows, has
from samis.evaluation.score_row import ScoreRow, direction
from samis.reporting.analysis.answer import titles
from samis.reporting.render.document import Figure
from samis.reporting.render.exhibits import MOST_BYTES, Exhibit, pack
from samis.reporting.render.overlay import PanelRow, choose_images, draw_panel, is_long, read_map, score_text
from samis.reporting.render.report import Pictures, panel_path


def draw_pictures(
    rows: dict[Path, ScoreRow],
    out: Path,
    *,
    maps: Path,
    metrics: Sequence[str] | None,
    tuned: str | None,
    gallery: int,
    data_roots: Sequence[str],
) -> dict[TableKey, Pictures]:
    """Draw a panel and a gallery for each group whose chosen rows have maps, and measure its defects.

    Args:
        rows: file -> row.
        out: the report's folder.
        maps: as for ``samis.jobs.compare.compare``.
        metrics: likewise.
        tuned: likewise.
        gallery: likewise.
        data_roots: likewise.

    Raises:
        ValueError: if no chosen row has a folder of maps, or a map or the data set is not what it should be.
    """
    stems = {id(row): path.stem for path, row in rows.items()}
    groups = group_rows(rows.values())
    names = titles(list(rows.values()))
    pictures: dict[TableKey, Pictures] = {}
    wanted = []
    for key, group in groups.items():
        columns = group_metrics(group, metrics)
        metric = next((metric for metric in columns if any(has(row, metric) for row in group)), columns[0])
        chosen = choose(group, metric, tuned=tuned)
        folders = {}
        for role, row in chosen.by_role.items():
            folder = map_folder(row, stems[id(row)], maps)
            wanted.append(str(maps / stems[id(row)]))
            if folder.is_dir():
                folders[role] = folder
        if folders:
            drawn = Drawing(
                key, names[key], chosen, metric, folders, load_data(group[0], data_roots, fingerprint=key[3])
            )
            panel = draw_panel_of(drawn, out, list(rows.values()))
            pictures[key] = Pictures(panel, areas=defect_areas(drawn.data))
            pictures[key].exhibits = exhibits_of(drawn, count=gallery, most_bytes=MOST_BYTES // len(groups))
    if not pictures:
        raise RowError(
            f"--maps: expected a folder of maps such as {wanted[0] if wanted else maps}, found none",
            code="E-ROW-NO-MAPS",
        )
    return pictures


@dataclass
class Drawing:
    """What one group's pictures are drawn from: its rows by role, where their maps are, and the data set."""

    key: TableKey
    title: str
    chosen: Chosen
    metric: str
    folders: dict[str, Path]
    data: Any

    def sample(self, image_id: str) -> Any:
        """Load one image.

        Raises:
            ValueError: if the data set does not have it.
        """
        if image_id not in self.data.ids:
            raise RowError(
                f"--data-root: expected an image {image_id!r} in {self.data.name}, split '{self.data.split}', found none",
                code="E-ROW-OTHER-DATA",
            )
        return self.data[self.data.ids.index(image_id)]


def map_folder(row: ScoreRow, stem: str, maps: Path) -> Path:
    """Return where a row's maps are: among the maps given, or, for published ones, where they were scored from.

    Published maps that had to be resized to be scored, or are no PNG, are not shown.
    """
    if (maps / stem).is_dir() or row.provenance.get("resized"):
        return maps / stem
    config = row.provenance.get("config")
    segmenter = config.get("segmenter") if isinstance(config, dict) else None
    scored = segmenter.get("maps") if isinstance(segmenter, dict) else None
    return Path(scored) if scored and any(Path(scored).glob("*.png")) else maps / stem


def defect_areas(data: Any) -> dict[str, float]:
    """Return the share of each image that is defective, by image id."""
    samples = (data[index] for index in range(len(data)))
    return {sample.id: float(sample.mask.mean()) for sample in samples if sample.mask is not None}


def exhibits_of(drawn: Drawing, *, count: int, most_bytes: int) -> list[Exhibit]:
    """Pack the group's images for the page's gallery."""

    def read(image_id: str) -> tuple[Any, Any]:
        sample = drawn.sample(image_id)
        return sample.image, sample.mask

    def reader(folder: Path) -> Any:
        return lambda image_id, hw: read_map(folder, image_id, hw=hw)

    readers = {role: reader(folder) for role, folder in drawn.folders.items()}
    return pack(drawn.chosen, drawn.metric, drawn.title, read, readers, count=count, most_bytes=most_bytes)


def draw_panel_of(drawn: Drawing, out: Path, rows: list[ScoreRow]) -> Figure:
    """Draw best, median and worst images of the tuned row (else of the last row chosen), one column per segmenter."""
    row = drawn.chosen.tuned or drawn.chosen.present[-1]
    if not row.images:
        raise RowError(
            f"--maps: row {row.name!r} has no per-image CSV next to it, so no images can be chosen; score it again",
            code="E-ROW-IMAGES",
        )
    by_name = {drawn.chosen.by_role[role].name: (drawn.chosen.by_role[role], f) for role, f in drawn.folders.items()}
    panel_rows = []
    each = 1 if is_long(drawn.data[0].image) else 2
    for image_id, sort in choose_images(row.images, drawn.metric, direction=direction(drawn.metric, [row]), each=each):
        sample = drawn.sample(image_id)
        height, width = sample.image.shape[:2]
        maps = {name: read_map(folder, image_id, hw=(height, width)) for name, (_, folder) in by_name.items()}
        scores = {
            name: score_text(other.images, image_id, drawn.metric, other.protocol)
            for name, (other, _) in by_name.items()
        }
        panel_rows.append(PanelRow(image_id, sort, sample.class_name, sample.image, sample.mask, maps, scores))
    path = panel_path(out, drawn.key, rows)
    draw_panel(panel_rows, list(by_name), path, title=f"{drawn.title}: best, median and worst of {row.name}")
    caption = (
        f"{drawn.title}: best, median and worst images of {row.name}; orange: the map, cyan: outline of the truth."
    )
    return Figure(path, caption)


def load_data(row: ScoreRow, roots: Sequence[str], *, fingerprint: str) -> Any:
    """Load the data set a row was scored on.

    Raises:
        ValueError: if it cannot be loaded, or is not the one the row saw.
    """
    named = dict(root.split("=", 1) for root in roots if "=" in root)
    plain = [root for root in roots if "=" not in root]
    config = data_config(row)
    name = config.get("name", row.dataset)
    scored = config.get("root")
    known = scored if isinstance(scored, str) and Path(scored).exists() else None
    root = named.get(row.dataset, named.get(name, plain[-1] if plain else known))
    fingerprint = fingerprint.partition("+")[0]  # what follows is of images that are only judged apart
    try:
        options = loader_options(name, config.get("options") or {})
        data = load_dataset(name, root=root, split=row.split.partition(" +")[0], **options)  # without noise
        if fingerprint and data.fingerprint() != fingerprint:
            raise RowError(
                f"--data-root: expected the images that {row.name!r} was scored on, got others (data fingerprint "
                f'{data.fingerprint()[:8]} is not {fingerprint[:8]}); pass --data-root "{row.dataset}=DIR"',
                code="E-ROW-OTHER-DATA",
            )
    except UserError as error:
        raise RowError(text_of(error), code=code_of(error, "E-ROW-OTHER-DATA")) from error
    return data


def data_config(row: ScoreRow) -> dict[str, Any]:
    """Return which data set the row's config names, with its own options, such as ``csv`` of a user's folder."""
    config = row.provenance.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    return data if isinstance(data, dict) else {}
