"""Compare score rows: tables, figures, and how much of the gap to the specialised networks tuning closes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import fail, run
from samis.errors import Parser

if TYPE_CHECKING:
    from samis.evaluation.rows import Chosen, TableKey
    from samis.evaluation.score_row import ScoreRow
    from samis.reporting.render.document import Figure
    from samis.reporting.render.exhibits import Exhibit
    from samis.reporting.render.report import Pictures

EXAMPLES = """examples:
  python evaluate/compare.py evaluate/results --out report/
  python evaluate/compare.py zero.json lora.json tsernet.json --metrics s_measure,mae --out report/
  python evaluate/compare.py evaluate/results --maps maps/ --data-root sd_saliency_900=/data/SD-saliency-900
  python evaluate/compare.py evaluate/results --published --readme README.md --results docs/results.md
"""


def main() -> None:
    """Run the command line."""
    try:
        compare(parse())
    except ValueError as error:
        fail(error)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", type=Path, metavar="ROWS", help="score rows (*.json), or folders of them")
    parser.add_argument("--out", type=Path, default=Path("report"), help="the report's folder (default: report/)")
    parser.add_argument(
        "--metrics",
        type=_words,
        help="columns, comma-separated; the first one leads (default: those of the rows' protocol)",
    )
    parser.add_argument("--tuned", metavar="NAME", help="name of the tuned row to compare (default: the best one)")
    parser.add_argument(
        "--maps", type=Path, help="folder of maps, <row's file stem>/<image id>.png: draws overlays and the gallery"
    )
    parser.add_argument(
        "--gallery", type=int, default=24, metavar="N", help="images per data set in the page's gallery (default: 24)"
    )
    parser.add_argument(
        "--data-root",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="folder of a data set, for --maps; repeatable",
    )
    parser.add_argument("--published", action="store_true", help="append published numbers, in tables of their own")
    parser.add_argument(
        "--readme", type=Path, help="rewrite the short answer between this file's answer:begin and answer:end markers"
    )
    parser.add_argument("--results", type=Path, help="rewrite the long tables between the same markers of this file")
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def compare(args: argparse.Namespace) -> None:
    """Read the rows, write the report, print the answer.

    Raises:
        ValueError: if rows, maps or a page are not what they should be; nothing is written to the pages then.
    """
    from samis.core.files import write_atomic
    from samis.evaluation.rows import group_metrics, group_rows, read_measured
    from samis.reporting.analysis.answer import replace_block
    from samis.reporting.analysis.beside import sort_rows
    from samis.reporting.analysis.table import main_table, oracle_table
    from samis.reporting.render.markup import to_text
    from samis.reporting.render.readme import readme_block, results_block
    from samis.reporting.render.report import build_document, check_metrics, write_document

    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {args.out}: expected a folder for the report, got a file; name another")
    rows = read_measured(args.rows)
    check_metrics(rows.values(), args.metrics)
    pages = {path: path.read_text(encoding="utf-8") for path in (args.readme, args.results) if path}
    for path, text in pages.items():
        replace_block(text, "", name=str(path))  # a missing marker is reported before any work is done
    published: list[Any] = []
    if args.published:
        from samis.baselines.published import read_published

        names = dict.fromkeys(row.dataset for row in rows.values())
        published = [number._asdict() for name in names for number in read_published(dataset=name)]
    parted = sort_rows(rows.values())
    groups = group_rows(parted.main)
    shown = {id(row) for row in parted.main}
    pictures = draw_pictures({p: row for p, row in rows.items() if id(row) in shown}, args) if args.maps else {}
    document, found = build_document(
        rows, args.out, metrics=args.metrics, tuned=args.tuned, published=published, pictures=pictures
    )
    write_document(document, rows, args.out)
    for path, text in pages.items():
        block = readme_block(found) if path == args.readme else results_block(parted, found, args.metrics)
        write_atomic(path, replace_block(text, block, name=str(path)))

    for line in (answer for answer in document.answers if "WORSE" in answer):
        print(line + "\n")
    for key, group in groups.items():
        title = found[key][0].title if key in found else f"{key[0]} ({key[1]})"
        metrics = group_metrics(group, args.metrics)
        for table in (main_table(title, group, metrics), oracle_table(title, group, metrics)):
            if table and table.blocks:
                print(to_text(table))
    for line in (answer for answer in document.answers if "WORSE" not in answer):
        print(line)
    size = (args.out / "index.html").stat().st_size / 1e6
    print(f"\nreport: {args.out / 'index.html'} ({size:.1f} MB), report.md, table.tex, rows.csv, figures/")


def draw_pictures(rows: dict[Path, ScoreRow], args: argparse.Namespace) -> dict[TableKey, Pictures]:
    """Draw a panel and a gallery for each group whose chosen rows have maps, and measure its defects.

    Raises:
        ValueError: if no chosen row has a folder of maps, or a map or the data set is not what it should be.
    """
    from samis.evaluation.rows import choose, group_metrics, group_rows, has
    from samis.reporting.analysis.answer import titles
    from samis.reporting.render.exhibits import MOST_BYTES
    from samis.reporting.render.report import Pictures

    stems = {id(row): path.stem for path, row in rows.items()}
    groups = group_rows(rows.values())
    names = titles(list(rows.values()))
    found: dict[TableKey, Pictures] = {}
    wanted = []
    for key, group in groups.items():
        metrics = group_metrics(group, args.metrics)
        metric = next((metric for metric in metrics if any(has(row, metric) for row in group)), metrics[0])
        chosen = choose(group, metric, tuned=args.tuned)
        folders = {}
        for role, row in chosen.by_role.items():
            folder = map_folder(row, stems[id(row)], args.maps)
            wanted.append(str(args.maps / stems[id(row)]))
            if folder.is_dir():
                folders[role] = folder
        if folders:
            drawn = Drawing(
                key, names[key], chosen, metric, folders, load_data(group[0], args.data_root, fingerprint=key[3])
            )
            panel = draw_panel_of(drawn, args.out, list(rows.values()))
            found[key] = Pictures(panel, areas=defect_areas(drawn.data))
            found[key].exhibits = exhibits_of(drawn, count=args.gallery, most_bytes=MOST_BYTES // len(groups))
    if not found:
        raise ValueError(f"--maps: expected a folder of maps such as {wanted[0] if wanted else args.maps}, found none")
    return found


@dataclass
class Drawing:
    """What one group's pictures are drawn from: its rows by role, where their maps lie, and the data set."""

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
            raise ValueError(
                f"--data-root: expected an image {image_id!r} in {self.data.name}, split '{self.data.split}', found none"
            )
        return self.data[self.data.ids.index(image_id)]


def map_folder(row: ScoreRow, stem: str, maps: Path) -> Path:
    """Return where a row's maps lie: among the maps given, or, for published ones, where they were scored from.

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
    from samis.reporting.render.exhibits import pack
    from samis.reporting.render.overlay import read_map

    def read(image_id: str) -> tuple[Any, Any]:
        sample = drawn.sample(image_id)
        return sample.image, sample.mask

    def reader(folder: Path) -> Any:
        return lambda image_id, hw: read_map(folder, image_id, hw=hw)

    readers = {role: reader(folder) for role, folder in drawn.folders.items()}
    return pack(drawn.chosen, drawn.metric, drawn.title, read, readers, count=count, most_bytes=most_bytes)


def draw_panel_of(drawn: Drawing, out: Path, rows: list[ScoreRow]) -> Figure:
    """Draw best, median and worst images of the tuned row (else of the last row chosen), one column per segmenter."""
    from samis.evaluation.score_row import direction
    from samis.reporting.render.document import Figure
    from samis.reporting.render.overlay import PanelRow, choose_images, draw_panel, is_long, read_map, score_text
    from samis.reporting.render.report import panel_path

    row = drawn.chosen.tuned or drawn.chosen.present[-1]
    if not row.images:
        raise ValueError(
            f"--maps: row {row.name!r} has no per-image CSV beside it, so no images can be chosen; score it again"
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


def load_data(row: ScoreRow, roots: list[str], *, fingerprint: str) -> Any:
    """Load the data set a row was scored on.

    Raises:
        ValueError: if it cannot be loaded, or is not the one the row saw.
    """
    from samis.data import load_dataset, loader_options
    from samis.errors import UserError

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
            raise ValueError(
                f"--data-root: expected the images that {row.name!r} was scored on, got others (data fingerprint "
                f'{data.fingerprint()[:8]} is not {fingerprint[:8]}); pass --data-root "{row.dataset}=DIR"'
            )
    except UserError as error:
        raise ValueError(str(error)) from error
    return data


def data_config(row: ScoreRow) -> dict[str, Any]:
    """Return which data set the row's config names, with its own options, such as ``csv`` of a user's folder."""
    config = row.provenance.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    return data if isinstance(data, dict) else {}


if __name__ == "__main__":
    run(main)
