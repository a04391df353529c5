"""Tables: blocks by kind, oracle rows apart, best and second, classes, clean images, published numbers."""

from __future__ import annotations

from samis.baselines.published import PublishedNumber
from samis.reporting.analysis.table import (
    BEST,
    SECOND,
    clean_table,
    main_table,
    oracle_table,
    per_class_table,
    published_tables,
)
from samis.reporting.render.markup import to_latex, to_markdown, to_text


def test_blocks_in_order_without_oracle_rows(three_rows, make_row):
    rows = [*reversed(three_rows), make_row("saved_maps", {"s_measure": [0.9, 0.9]}, name="maps")]
    rows.append(make_row("zero_shot", {"s_measure": [1.0, 1.0]}, name="helped", oracle=True))
    table = main_table("steel", rows, ["s_measure", "mae"])
    assert [block.title for block in table.blocks] == [
        "Zero-shot SAM (no ground truth)",
        "Tuned SAM",
        "Specialised networks trained here",
        "Published maps, scored here",
    ]
    assert "helped" not in to_markdown(table)
    assert oracle_table("steel", three_rows, ["mae"]) is None
    oracle = to_markdown(oracle_table("steel", rows, ["s_measure"]))
    assert "saw the ground truth" in oracle and "Upper bounds" in oracle and "helped" in oracle and "maps" not in oracle


def test_ranks_as_printed_in_the_right_direction(make_row):
    values = [(0.9001, 0.02), (0.9004, 0.01), (0.8, 0.03), (0.7, 0.04)]
    rows = [make_row("baseline", metrics={"s_measure": s, "mae": m}, name=f"n{i}") for i, (s, m) in enumerate(values)]
    lines = main_table("t", rows, ["s_measure", "mae"]).blocks[0].lines
    assert [line.cells[0].rank for line in lines] == [BEST, BEST, SECOND, 0]  # equal as printed
    assert [line.cells[1].rank for line in lines] == [SECOND, BEST, 0, 0]


def test_a_missing_value_is_a_dash_and_a_lone_one_is_not_best(make_row):
    rows = [
        make_row("baseline", metrics={"s_measure": 0.5}, name="a"),
        make_row("baseline", metrics={"mae": 0.1}, name="b"),
    ]
    cells = [line.cells for line in main_table("t", rows, ["s_measure", "mae"]).blocks[0].lines]
    assert [[cell.text for cell in line] for line in cells] == [["0.500", "–"], ["–", "0.1000"]]
    assert all(cell.rank == 0 for line in cells for cell in line)


def test_markdown_content(three_rows):
    three_rows[1].intervals = {"s_measure": [0.75, 0.85]}
    lines = to_markdown(main_table("steel (test, 4 images)", three_rows, ["s_measure", "mae"])).splitlines()
    assert lines[:4] == [
        "### steel (test, 4 images)",
        "",
        "| Method | Prompt | S ↑ | MAE ↓ |",
        "|---|---|---:|---:|",
    ]
    assert "| zero_shot | grid, contrast | 0.500 | 0.3000 |" in lines
    assert "| tuned | – | *0.800*<br><sub>0.750–0.850</sub> | *0.1000* |" in lines
    assert "| baseline | – | **0.900** | **0.0500** |" in lines


def test_latex_content(three_rows):
    text = to_latex(main_table("steel_a", three_rows, ["s_measure", "mae"]))
    assert r"\begin{tabular}{llrr}" in text and r"steel\_a" in text
    assert r"tuned & -- & \underline{0.800} & \underline{0.1000} \\" in text
    assert r"baseline & -- & \textbf{0.900} & \textbf{0.0500} \\" in text
    assert text.count("{") == text.count("}")


def test_text_for_the_terminal(three_rows):
    lines = to_text(main_table("steel", three_rows, ["s_measure"])).splitlines()
    assert lines[0] == "steel" and lines[1].split() == ["Method", "Prompt", "S", "↑"]
    assert lines[-1].split() == ["baseline", "–", "0.900*"]


def test_maps_that_offered_nothing_are_counted(three_rows):
    three_rows[0].empty_maps = 2
    text = to_markdown(main_table("steel", three_rows, ["s_measure"]))
    assert "| Method | Prompt | No mask |" in text and "| zero_shot | grid, contrast | 2 |" in text


def test_per_class(make_row):
    classes = {"patch": {"s_measure": 0.6, "n_images": 3}, "scratch": {"s_measure": 0.4, "n_images": 5}}
    rows = [
        make_row("tuned", metrics={"s_measure": 0.5}, per_class=classes),
        make_row("baseline", metrics={"s_measure": 0.9}),
    ]
    table = per_class_table("steel", rows, "s_measure")
    assert table.columns == ["patch (3)", "scratch (5)"]
    assert [cell.text for cell in table.blocks[0].lines[0].cells] == ["0.600", "0.400"]
    assert per_class_table("steel", rows, "mae") is None


def test_clean_images_are_columns_where_there_are_some(make_row):
    clean = {"n_images": 75, "false_positive_area": 0.01, "kept_clean": 0.92, "defect_recall": 0.905, "threshold": 0.5}
    rows = [
        make_row("zero_shot", metrics={"s_measure": 0.5}),
        make_row("tuned", metrics={"s_measure": 0.9}, clean=clean),
        make_row("baseline", metrics={"s_measure": 0.8}, clean=clean | {"n_images": 1, "kept_clean": 1.0}),
    ]
    text = to_markdown(main_table("tile", rows, ["s_measure"]))
    assert "| Method | Prompt | S ↑ | clean kept clean ↑ | defective found ↑ |" in text
    assert "| tuned | – | **0.900** | 0.920 | 0.905 |" in text and "single pixel above the row's threshold" in text
    assert "| baseline | – | *0.800* | – | – |" in text  # a share of one image says nothing
    assert "clean" not in to_markdown(main_table("tile", [rows[0], rows[2]], ["s_measure"]))
    helped = make_row("zero_shot", metrics={"s_measure": 1.0}, oracle=True, clean=clean, name="helped")
    assert "clean" not in to_markdown(oracle_table("tile", [*rows, helped], ["s_measure"]))
    assert "| tuned | 75 | 0.920 | 0.0100 | 0.905 | – | 0.500 |" in to_markdown(
        clean_table(
            "tile", [rows[1], make_row("tuned", metrics={"s_measure": 0.9}, clean=clean | {"image_auroc": 0.5})]
        )
    )


def test_clean_images(make_row):
    clean = {"n_images": 9, "false_positive_area": 0.0125, "kept_clean": 2 / 3}
    rows = [
        make_row("tuned", metrics={"s_measure": 0.5}, clean=clean),
        make_row("baseline", metrics={"s_measure": 0.9}),
    ]
    text = to_markdown(clean_table("tile", rows))
    assert "| tuned | 9 | 0.667 | 0.0125 |" in text
    assert clean_table("tile", rows[1:]) is None


def test_published_numbers_by_split_noise_and_source():
    def number(split, noise, metric, value):
        fields = ("SD", split, noise, "Net", 2020, metric, value, "a paper", "Scored on training images.")
        return PublishedNumber(*fields)._asdict()

    tables = published_tables(
        [
            number("all", 0, "SM", 0.9374),
            number("all", 0, "WF", 0.92),
            number("all", 0.1, "SM", 0.8),
            number("360", 0, "SM", 0.9),
        ]
    )
    assert [table.title for table in tables] == [
        "SD, split: all, no noise added",
        "SD, split: all, 10 % salt-and-pepper noise",
        "SD, split: 360, no noise added",
    ]
    text = to_markdown(tables[0])
    assert "| Net | 0.9374 | 0.9200 |" in text and "**" not in text
    assert "Scored on training images. Source: a paper." in text
