"""The written report: complete, escaped, self-contained, with failure in its first line."""

from __future__ import annotations

import csv
import io
import re

import pytest

from samis.errors import UserError
from samis.evaluation.rows import group_metrics, read_measured
from samis.metrics import METRICS, PROTOCOLS
from samis.reporting.render.report import build_document, check_metrics, rows_csv, write_document


def write(folder, out, **options):
    rows = read_measured([folder])
    document, _ = build_document(rows, out, metrics=["s_measure", "mae"], **options)
    return document, write_document(document, rows, out)


def test_writes_everything(saved_rows, tmp_path):
    out = tmp_path / "report"
    document, paths = write(saved_rows, out)
    assert [path.name for path in paths] == ["report.md", "rows.csv", "table.tex", "index.html"]
    text = (out / "report.md").read_text()
    assert text.startswith("# SAM on industrial surface defects")
    assert document.answers[0] in text and "![" in text
    for picture in re.findall(r"\]\((figures/[^)]*)\)", text):
        assert (out / picture).is_file()
    lines = list(csv.DictReader(io.StringIO((out / "rows.csv").read_text())))
    assert [(line["file"], line["s_measure"]) for line in lines][1] == ("tuned.json", "0.8")


def test_the_page_is_self_contained_and_escaped(three_rows, tmp_path):
    three_rows[1].name = "<script>alert(1)</script> & 50 %"
    for row in three_rows:
        row.save(tmp_path / "rows" / f"{row.kind}.json")
    write(tmp_path / "rows", tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<script") == page.count("</script>") == 3  # two of data, one of code
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page) and "http://" not in page and "https://" not in page
    assert "default-src 'none'" in page
    assert "<script" not in (tmp_path / "report" / "report.md").read_text()
    assert r"50 \%" in (tmp_path / "report" / "table.tex").read_text()


def test_failure_is_the_first_line(make_row, tmp_path):
    for kind, value in (("zero_shot", 0.5), ("tuned", 0.4), ("baseline", 0.9)):
        make_row(kind, {"s_measure": [value, value]}).save(tmp_path / "rows" / f"{kind}.json")
    write(tmp_path / "rows", tmp_path / "report")
    assert "tuning made it WORSE" in (tmp_path / "report" / "report.md").read_text().splitlines()[0]


def test_writing_twice_gives_the_same_files(saved_rows, tmp_path):
    write(saved_rows, tmp_path / "a")
    write(saved_rows, tmp_path / "b")
    files = [path.relative_to(tmp_path / "a") for path in sorted((tmp_path / "a").rglob("*")) if path.is_file()]
    assert len(files) == 5
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


def test_figures_of_groups_never_overwrite_each_other(make_row, tmp_path):
    flat = [0.5] * 256
    for name, protocol in (("a", "pysod"), ("b", "published"), ("c", "inspection")):
        row = make_row(
            "tuned", {"s_measure": [0.1, 0.2]}, protocol=protocol, curves={"precision": flat, "recall": flat}
        )
        row.save(tmp_path / "rows" / f"{name}.json")
    write(tmp_path / "rows", tmp_path / "report")
    names = sorted(path.name for path in (tmp_path / "report" / "figures").glob("*precision*"))
    assert len(names) == 3


def test_oracle_rows_alone_make_a_report(make_row, tmp_path):
    make_row("zero_shot", {"s_measure": [0.1, 0.2]}, oracle=True).save(tmp_path / "rows" / "a.json")
    document, _ = write(tmp_path / "rows", tmp_path / "report")
    assert document.answers == []
    assert "saw the ground truth" in (tmp_path / "report" / "report.md").read_text()


def test_metrics_are_those_the_rows_have(three_rows):
    assert group_metrics(three_rows) == ["s_measure", "mae"]
    assert group_metrics(three_rows, ["mae"]) == ["mae"]
    check_metrics(three_rows, ["mae"])
    with pytest.raises(UserError, match=r"'iuo'.*s_measure, mae.*E-ROW-METRICS"):
        check_metrics(three_rows, ["iuo"])


def document_of(rows, tmp_path):
    for row in rows:
        row.save(tmp_path / "rows" / f"{row.name}.json")
    read = read_measured([tmp_path / "rows"])
    document, by_group = build_document(read, tmp_path / "out")
    write_document(document, read, tmp_path / "out")
    return document, by_group


def test_a_metric_of_which_less_is_better_is_what_its_row_says(make_row, tmp_path):
    values = {"zero_shot": [9.0, 8.0, 7.0, 8.0], "tuned": [4.0, 3.0, 2.0, 3.0], "baseline": [3.0, 1.0, 1.0, 3.0]}
    rows = [make_row(kind, {"hausdorff": each}, directions={"hausdorff": -1}) for kind, each in values.items()]
    rows.append(make_row("tuned", {"hausdorff": [30.0, 30.0, 30.0, 30.0]}, directions={"hausdorff": -1}, name="bad"))
    document, by_group = document_of(rows, tmp_path)
    (answer,) = next(iter(by_group.values()))
    assert answer.chosen.tuned.name == "tuned" and answer.gain.better and not answer.worse
    assert answer.gap.closed == pytest.approx((8 - 3) / (8 - 2))
    assert "WORSE" not in document.headline + "".join(document.answers)
    table = next(table for table in document.tables if "hausdorff ↓" in table.columns)
    ranks = {line.heads[0]: line.cells[0].rank for block in table.blocks for line in block.lines}
    assert ranks == {"zero_shot": 0, "tuned": 2, "bad": 0, "baseline": 1}


def test_published_shows_the_fields_five_columns_with_four_decimals(make_row, tmp_path):
    names = ("mae", "weighted_f", "s_measure", "overlap_ratio", "pratt", "iou")
    row = make_row(metrics={name: 0.123456 for name in names}, protocol="published")
    document, _ = document_of([row], tmp_path)
    table, whole = (table for table in document.tables if table.blocks and table.blocks[0].kind)
    assert [column[:-2] for column in table.columns] == ["S", "wF", "MAE", "OR", "PFOM"]
    assert whole.title.endswith("all columns") and {c[:-2] for c in whole.columns} == {
        "S",
        "wF",
        "MAE",
        "OR",
        "PFOM",
        "IoU",
    }
    assert [cell.text for cell in table.blocks[0].lines[0].cells] == ["0.1235"] * 5


def test_inspection_shows_all_that_it_computed(make_row, tmp_path):
    names = [n for m in PROTOCOLS["inspection"] for n in (*METRICS[m].values, *METRICS[m].finished)]
    inspection = make_row(metrics=dict.fromkeys(names, 0.5), protocol="inspection")
    document, _ = document_of([inspection, make_row(metrics={"s_measure": 0.5}, name="other")], tmp_path)
    shown = {len(table.columns): table for table in document.tables if table.blocks and table.blocks[0].kind}
    assert len(names) > 15 and set(shown) == {len(names), 1}  # neither group has columns of the other
    assert not any(cell.text == "–" for cell in shown[len(names)].blocks[0].lines[0].cells)


@pytest.mark.parametrize(
    ("counts", "word"), [((4, 0), "all maps empty"), ((0, 4), "all maps full"), ((1, 3), "empty or full")]
)
def test_a_row_that_says_nothing_is_marked_and_never_best(make_row, tmp_path, counts, word):
    clean = {"n_images": 9.0, "threshold": 0.5, "false_positive_area": 0.0, "kept_clean": 1.0, "defect_recall": 0.5}
    good = (
        {"mae": [0.1] * 4},
        {"clean": clean | {"kept_clean": 0.8}, "directions": {"mae": -1, "kept_clean": 1, "defect_recall": 1}},
    )
    rows = [
        make_row("zero_shot", {"mae": [0.01] * 4}, name="odd", **good[1] | {"clean": clean},
                 empty_maps=counts[0], full_maps=counts[1]),
        make_row("zero_shot", good[0], name="good", **good[1]),
        make_row("tuned", {"mae": [0.2] * 4}, name="poor", **good[1] | {"clean": clean | {"kept_clean": 0.7}}),
    ]  # fmt: skip
    document, by_group = document_of(rows, tmp_path)
    assert next(iter(by_group.values()))[0].chosen.zero_shot.name == "good"
    tables = [table for table in document.tables if table.blocks and table.blocks[0].kind]
    assert len(tables) >= 2
    for table in tables:
        lines = {line.heads[0]: line for block in table.blocks for line in block.lines}
        odd = next(name for name in lines if name.startswith("odd"))
        assert word in odd and all(cell.rank == 0 for cell in lines[odd].cells)
        assert any(cell.rank == 1 for cell in lines["good"].cells)


def test_no_cell_is_a_formula(make_row, tmp_path):
    ids = ["=1+1", "+a", "-b", "@c", "'d", "e"]
    row = make_row("tuned", {"mae": [0.1] * 6}, name='=HYPERLINK("x")', prompt="@SUM(1)")
    for image, name in zip(row.images, ids, strict=True):
        image["id"], image["class_name"], image["mae"] = name, "-x", -0.5
    row.save(tmp_path / "rows" / "=row.json")
    read = read_measured([tmp_path / "rows"])
    (back,) = read.values()
    assert [(i["id"], i["class_name"], i["mae"]) for i in back.images] == [(name, "-x", -0.5) for name in ids]
    for text in ((tmp_path / "rows" / "=row.csv").read_text(), rows_csv(read)):
        lines = list(csv.reader(io.StringIO(text)))
        assert len(lines) > 1
        for cell in (cell for line in lines for cell in line if cell[:1] in tuple("=+-@")):
            float(cell)  # a number
    assert any("'=HYPERLINK" in cell for line in csv.reader(io.StringIO(rows_csv(read))) for cell in line)
