"""Cost columns, their note, and the sentence about a cheaper network that is as good as a tuned SAM."""

import pytest

from samis.reporting.analysis.costs import cheaper_sentence, cost_line
from samis.reporting.analysis.table import BEST, main_table
from samis.reporting.render.html import render_page
from samis.reporting.render.markup import to_markdown, to_text
from samis.reporting.render.report import build_document, rows_csv
from samis.reporting.render.terminal import table as terminal

METRICS = ("s_measure", "weighted_f", "mae")
MEASURED = {
    "parameters": 6_124_000, "multiply_adds": 5_250_000_000, "views": 1.0, "p50_ms": 12.34, "p95_ms": 15.6, "timed_images": 20,
    "device": "Some GPU",
}  # fmt: skip
STATED = {"parameters": 280_000, "source": "somewhere"}


def row_of(make_row, kind, name, values, **changes):
    pairs = {metric: [value, value] for metric, value in zip(METRICS, values, strict=True)}
    return make_row(kind, pairs, name=name, **changes)


@pytest.fixture
def rows(make_row):
    """A tuned SAM, a small network that is better, and a row written before rows had a cost."""
    return [
        row_of(make_row, "zero_shot", "old", (0.5, 0.4, 0.2)),
        row_of(make_row, "tuned", "LoRA", (0.861, 0.822, 0.0291), cost=MEASURED),
        row_of(make_row, "saved_maps", "MINet", (0.866, 0.831, 0.0270), cost=STATED),
    ]


def test_columns_with_dashes_for_old_rows(rows):
    table = main_table("t", rows, METRICS)
    assert table.columns[3:] == ["Parameters, M", "Multiply-adds, G", "Latency, ms"]
    lines = {
        line.heads[0]: [(cell.text, cell.interval) for cell in line.cells[3:]] for b in table.blocks for line in b.lines
    }
    assert lines["old"] == [("–", "")] * 3
    assert lines["LoRA"] == [("6.12", ""), ("5.25", ""), ("12.34", "p95 15.60")]
    assert lines["MINet"] == [("0.28", "stated"), ("–", ""), ("–", "")]
    assert "median of 20 single images" in table.note and "Some GPU" in table.note and "Stated:" in table.note
    assert all(not cell.rank for block in table.blocks for line in block.lines for cell in line.cells[3:])
    for text in (to_markdown(table), to_text(table)):
        assert "Parameters, M" in text and "6.12" in text


def test_rows_without_any_cost_have_no_columns(make_row):
    table = main_table("t", [row_of(make_row, "tuned", "LoRA", (0.8, 0.8, 0.1))], METRICS)
    assert len(table.columns) == 3 and "Latency" not in table.note


def test_page_report_csv_and_terminal_say_it(rows, tmp_path):
    named = {tmp_path / f"{row.name}.json": row for row in rows}
    document, _ = build_document(named, tmp_path)
    page = render_page(document)
    assert "Multiply-adds, G" in page and "MINet has 0.28 M parameters (stated)" in page
    assert "cost_p95_ms" in rows_csv(named).splitlines()[0] and ",15.6," in rows_csv(named)
    text = terminal(rows)
    assert "one image: parameters 6.12 M, multiply-adds 5.25 G, latency 12.34 ms (p95 15.60) on Some GPU" in text
    assert "one image: parameters 0.28 M (stated)" in text and cost_line(rows[0]) == ""


def test_the_cheaper_row_is_named_with_what_it_reaches(rows, make_row):
    text = cheaper_sentence(rows, METRICS)
    assert text == (
        "MINet has 0.28 M parameters (stated) and is at least as good as LoRA with 6.12 M (S 0.866 against 0.861, wF 0.831 against "
        "0.822, MAE 0.0270 against 0.0291)."
    )
    weaker = row_of(make_row, "tuned", "decoder", (0.84, 0.8, 0.03), cost=MEASURED)
    assert "LoRA with 6.12 M" in cheaper_sentence([weaker, *rows], METRICS)  # the best of those reached, not the first
    assert cheaper_sentence([weaker, *rows], METRICS).endswith("and as 1 of the other tuned rows.")
    smaller = row_of(
        make_row, "baseline", "tiny", (0.85, 0.81, 0.03), cost={"parameters": 1000}
    )  # reaches the weaker one alone
    assert cheaper_sentence([weaker, smaller, *rows], METRICS).startswith("MINet has")
    smallest = row_of(make_row, "saved_maps", "GMBINet", (0.862, 0.823, 0.0287), cost={"parameters": 200_000})
    assert cheaper_sentence([smallest, *rows], METRICS).startswith("MINet has")  # reaches as much, but is not as good
    few = row_of(make_row, "tuned", "10 images", (0.5, 0.5, 0.5), cost=MEASURED)
    few.provenance["config"] = {"data": {"limit": 10}}
    assert cheaper_sentence([few, *rows], METRICS) == text
    better = row_of(make_row, "tuned", "best", (0.88, 0.8, 0.03), cost=MEASURED)
    assert "LoRA with 6.12 M" in cheaper_sentence([better, *rows], METRICS)


@pytest.mark.parametrize(
    "change",
    [
        {"cost": {}},
        {"cost": {"parameters": 7_000_000}},
        {"cost": {"parameters": 5_000_000}},
        {"cost": {"parameters": 280_000, "multiply_adds": 6_000_000_000}},
        {"metrics": {"s_measure": 0.866, "weighted_f": 0.831, "mae": 0.0292}},
        {"budget": "short"},
        {"kind": "ceiling"},
    ],
)
def test_no_sentence_where_none_is_both_cheaper_and_as_good(rows, change):
    for name, value in change.items():
        setattr(rows[2], name, value)
    assert cheaper_sentence(rows, METRICS) == ""


def test_half_of_the_multiply_adds_is_cheaper_and_said(rows):
    rows[2].cost = {"parameters": 5_000_000, "multiply_adds": 2_600_000_000}
    text = cheaper_sentence(rows, METRICS)
    assert text.startswith(
        "MINet has 5.00 M parameters and 2.60 G multiply-adds and is at least as good as LoRA with 6.12 M and 5.25 G ("
    )


def test_a_ceiling_is_shown_never_ranked_never_compared(rows, make_row, tmp_path):
    ceiling = row_of(make_row, "ceiling", "mean of A and B", (0.9, 0.9, 0.01))
    table = main_table("t", [*rows, ceiling], METRICS)
    assert table.blocks[-1].title.startswith("Ceiling") and not any(
        cell.rank for cell in table.blocks[-1].lines[0].cells
    )
    assert table.blocks[-2].lines[0].cells[0].rank == BEST
    document, by_group = build_document({tmp_path / r.name: r for r in [*rows, ceiling]}, tmp_path)
    assert "MINet" in document.answers[0] and all(
        a.chosen.best.name == "MINet" for group in by_group.values() for a in group
    )
