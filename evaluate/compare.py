"""Compare score rows: tables, figures, and how much of the gap to the specialised networks tuning closes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samis.reporting.answer import Answer
    from samis.reporting.document import Figure
    from samis.reporting.rows import TableKey
    from samis.scores import ScoreRow

EXAMPLES = """examples:
  python evaluate/compare.py evaluate/results --out report/
  python evaluate/compare.py zero.json lora.json tsernet.json --metrics s_measure,mae --out report/
  python evaluate/compare.py evaluate/results --maps maps/ --data-root sd_saliency_900=/data/SD-saliency-900
  python evaluate/compare.py evaluate/results --published --readme README.md
"""


def main() -> int:
    """Run the command line; return its exit code."""
    args = parse()
    try:
        compare(args)
    except (ValueError, OSError) as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 2
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="+", type=Path, metavar="ROWS", help="score rows (*.json), or folders of them")
    parser.add_argument("--out", type=Path, default=Path("report"), help="the report's folder (default: report/)")
    parser.add_argument(
        "--metrics", type=_words, help="columns, comma-separated; the first one leads (default: S, wF, MAE ...)"
    )
    parser.add_argument("--tuned", metavar="NAME", help="name of the tuned row to compare (default: the best one)")
    parser.add_argument(
        "--maps", type=Path, help="folder of maps, <row's file stem>/<image id>.png: draws overlay panels"
    )
    parser.add_argument(
        "--data-root",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="where a data set lies, for --maps; repeatable",
    )
    parser.add_argument("--published", action="store_true", help="append published numbers, in tables of their own")
    parser.add_argument(
        "--readme", type=Path, help="rewrite the answer between this file's answer:begin and answer:end markers"
    )
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def compare(args: argparse.Namespace) -> None:
    """Read the rows, write the report, print the answer.

    Raises:
        ValueError: if rows, maps or the README are not what they should be; nothing is written to the README then.
    """
    from samis.reporting.answer import answer_table, replace_block, sentence, tested
    from samis.reporting.markup import escape_markdown, to_markdown, to_text
    from samis.reporting.report import build_document, choose_metrics, write_document
    from samis.reporting.rows import group_rows, read_measured
    from samis.reporting.table import main_table, oracle_table
    from samis.scores import write_atomic

    rows = read_measured(args.rows)
    metrics = choose_metrics(rows.values(), args.metrics)
    readme = args.readme.read_text(encoding="utf-8") if args.readme else ""
    if args.readme:
        replace_block(readme, "", name=str(args.readme))  # a missing marker is told before any work is done
    published: list[Any] = []
    if args.published:
        from samis.baselines.published import read_published

        names = dict.fromkeys(row.dataset for row in rows.values())
        published = [number._asdict() for name in names for number in read_published(dataset=name)]
    panels = draw_panels(rows, args, metrics) if args.maps else {}
    document, found = build_document(
        rows, args.out, metrics=metrics, tuned=args.tuned, published=published, panels=panels
    )
    write_document(document, rows, args.out)
    if args.readme:
        said = [escape_markdown(sentence(group)) for group in tested(found).values()]
        block = "\n\n".join([*said, to_markdown(answer_table(found))])
        write_atomic(args.readme, replace_block(readme, block, name=str(args.readme)))

    for line in (answer for answer in document.answers if "WORSE" in answer):
        print(line + "\n")
    for key, group in group_rows(rows.values()).items():
        title = found[key][0].title if key in found else f"{key[0]} ({key[1]})"
        for table in (main_table(title, group, metrics), oracle_table(title, group, metrics)):
            if table and table.blocks:
                print(to_text(table))
    for line in (answer for answer in document.answers if "WORSE" not in answer):
        print(line)
    print(f"\nreport: {args.out / 'index.html'}, report.md, table.tex, rows.csv, figures/")


def draw_panels(rows: dict[Path, ScoreRow], args: argparse.Namespace, metrics: list[str]) -> dict[TableKey, Figure]:
    """Draw an overlay panel for each group whose chosen rows have maps.

    Raises:
        ValueError: if no chosen row has a folder of maps, or a map or the data set is not what it should be.
    """
    from samis.reporting.answer import answers
    from samis.reporting.rows import group_rows

    stems = {id(row): path.stem for path, row in rows.items()}
    panels: dict[TableKey, Figure] = {}
    wanted = []
    for key, found in answers(list(rows.values()), metrics, tuned=args.tuned).items():
        answer = found[0]
        folders = {row.name: args.maps / stems[id(row)] for row in answer.chosen.present}
        wanted += [str(folder) for folder in folders.values()]
        folders = {name: folder for name, folder in folders.items() if folder.is_dir()}
        if folders:
            panels[key] = draw_one_panel(key, answer, folders, args, group_rows(rows.values()))
    if not panels:
        raise ValueError(f"--maps: expected a folder of maps such as {wanted[0] if wanted else args.maps}, found none")
    return panels


def draw_one_panel(
    key: TableKey,
    answer: Answer,
    folders: dict[str, Path],
    args: argparse.Namespace,
    groups: dict[TableKey, list[ScoreRow]],
) -> Figure:
    """Draw best, median and worst images of the tuned row (else of the last row chosen), one column per segmenter."""
    from samis.reporting.document import Figure
    from samis.reporting.overlay import PanelRow, choose_images, draw_panel, is_long, read_map, score_text
    from samis.reporting.report import panel_path

    row = answer.chosen.tuned or answer.chosen.present[-1]
    if not row.images:
        raise ValueError(
            f"--maps: row {row.name!r} has no per-image CSV beside it, so no images can be chosen; score it again"
        )
    data = load_data(row, args.data_root, fingerprint=key[3])
    panel_rows = []
    for image_id, sort in choose_images(row.images, answer.metric, each=1 if is_long(data[0].image) else 2):
        if image_id not in data.ids:
            raise ValueError(
                f"--data-root: expected an image {image_id!r} in {data.name}, split '{data.split}', found none"
            )
        sample = data[data.ids.index(image_id)]
        height, width = sample.image.shape[:2]
        maps = {name: read_map(folder, image_id, hw=(height, width)) for name, folder in folders.items()}
        shown = {other.name: other.images for other in answer.chosen.present}
        scores = {name: score_text(shown[name], image_id, answer.metric) for name in folders}
        panel_rows.append(PanelRow(image_id, sort, sample.class_name, sample.image, sample.mask, maps, scores))
    path = panel_path(args.out, key, [row for group in groups.values() for row in group])
    draw_panel(panel_rows, list(folders), path, title=f"{answer.title}: best, median and worst of {row.name}")
    caption = (
        f"{answer.title}: best, median and worst images of {row.name}; orange: the map, cyan: outline of the truth."
    )
    return Figure(path, caption)


def load_data(row: ScoreRow, roots: list[str], *, fingerprint: str) -> Any:
    """Load the data set a row was scored on.

    Raises:
        ValueError: if it cannot be loaded, or is not the one the row saw.
    """
    from samis.contracts import UserError
    from samis.data import load_dataset

    named = dict(root.split("=", 1) for root in roots if "=" in root)
    plain = [root for root in roots if "=" not in root]
    root = named.get(row.dataset, plain[-1] if plain else None)
    try:
        data = load_dataset(row.dataset, root=root, split=row.split, **data_options(row))
        if fingerprint and data.fingerprint() != fingerprint:
            raise ValueError(
                f"--data-root: expected the images that {row.name!r} was scored on, got others (data fingerprint "
                f"{data.fingerprint()[:8]} is not {fingerprint[:8]}); pass --data-root {row.dataset}=DIR"
            )
    except UserError as error:
        raise ValueError(str(error)) from error
    return data


def data_options(row: ScoreRow) -> dict[str, Any]:
    """Return the data set's own options from the row's config, such as ``pairs`` of a user's folder."""
    config = row.provenance.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    options = data.get("options") if isinstance(data, dict) else None
    return options if isinstance(options, dict) else {}


if __name__ == "__main__":
    sys.exit(main())
