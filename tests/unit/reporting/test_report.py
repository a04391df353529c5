"""The written report: complete, escaped, self-contained, with failure in its first line."""

from __future__ import annotations

import csv
import io
import re

import pytest

from samis.reporting.report import build_document, choose_metrics, write_document
from samis.reporting.rows import read_measured


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
    assert choose_metrics(three_rows) == ["s_measure", "mae"]
    assert choose_metrics(three_rows, ["mae"]) == ["mae"]
    with pytest.raises(ValueError, match=r"s_measure, mae.*'iuo'"):
        choose_metrics(three_rows, ["iuo"])
