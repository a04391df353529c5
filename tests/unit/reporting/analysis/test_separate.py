"""Rows of noisy and of seen images are compared with those of clean and held-out images."""

from dataclasses import replace

import pytest

from samis.reporting.analysis.answer import answers
from samis.reporting.analysis.separate import memory_tables, separate_rows
from samis.reporting.render.document import document_markdown
from samis.reporting.render.readme import results_block
from samis.reporting.render.report import build_document

METRICS = ("s_measure", "weighted_f", "mae")


def row_of(make_row, name, s, *, kind="saved_maps", count=3, print_="f", **changes):
    values = {"s_measure": [s] * count, "weighted_f": [s - 0.1] * count, "mae": [1 - s] * count}
    provenance = {"data_fingerprint": print_ * 64}
    return make_row(kind, values, name=name, provenance=provenance, **changes)


@pytest.fixture
def memory(make_row):
    """Two trained methods and one that learns nothing, on 2 images trained on, 3 held out, and all 5."""
    rows = []
    for split, count, print_, numbers in (
        ("test", 3, "a", (0.86, 0.85, 0.593)),
        ("trainval", 2, "b", (0.957, 0.983, 0.595)),
        ("all", 5, "c", (0.92, 0.93, 0.594)),
    ):
        for name, s in zip(("MINet", "GMBINet", "BC"), numbers, strict=True):
            rows.append(row_of(make_row, name, s, split=split, count=count, print_=print_))
    return [
        *rows,
        row_of(make_row, "SAM", 0.5, kind="zero_shot", print_="a"),
        row_of(make_row, "LoRA", 0.8, kind="tuned", print_="a"),
    ]


def test_seen_images_are_a_table_with_their_difference(memory):
    parted = separate_rows(memory)
    assert (len(parted.main), len(parted.noisy), len(parted.seen)) == (5, 0, 6)
    table, text = memory_tables(parted.main, parted.seen)["steel"]
    assert table.title == "A table over all 5 images, seen ones among them: steel" and table.caution
    assert table.columns == ["2 trained on", "3 held out", "5 all", "difference"]
    lines = {line.heads[0]: [cell.text for cell in line.cells] for line in table.blocks[0].lines}
    assert table.blocks[0].title == "S ↑" and lines["MINet"] == ["0.957", "0.860", "0.920", "+0.097"]
    assert lines["BC"][-1] == "+0.002" and set(lines) == {"MINet", "GMBINet", "BC"}
    assert table.blocks[2].lines[1].cells[-1].text == "-0.1330"  # MAE falls
    assert text == (
        "MINet and GMBINet score 0.097 to 0.133 better in S on the 2 images that they were trained on than on the 3 held out. "
        "Without any training, the scores of BC differ by 0.002 at most: the held-out images are not harder, the difference is "
        "memorised training images. A table over all 5 images shows these methods 0.060 to 0.080 better than they are on images "
        "that they have not seen."
    )


def test_where_held_out_images_are_harder_the_sentence_omits_it(memory):
    for row in memory:
        if row.name == "BC" and row.split == "trainval":
            row.metrics["s_measure"] = 0.75
    parted = separate_rows(memory)
    _, text = memory_tables(parted.main, parted.seen)["steel"]
    assert "not harder" not in text and text.startswith("MINet and GMBINet score")


def test_the_gap_and_the_readme_never_see_them_but_in_their_section(memory, tmp_path):
    published = [
        {
            "dataset": "Steel",
            "split": split,
            "noise": 0.0,
            "method": "M",
            "metric": "S",
            "value": 0.9,
            "source": "s",
            "caution": "c.",
        }
        for split in ("all-5", "held-out")
    ]
    document, by_group = build_document(
        {tmp_path / f"{n}.json": r for n, r in enumerate(memory)}, tmp_path, published=published
    )
    assert [key[1] for key in by_group] == ["test"] and by_group[next(iter(by_group))][0].chosen.best.name == "MINet"
    titles = [section.title for section in document.sections]
    assert titles[-2:] == [
        "A table over all 5 images, seen ones among them: steel",
        "Published numbers, not measured here",
    ]
    assert not any("trainval" in title for title in titles)
    warned, other = document.sections[-1].items
    assert "c. MINet and GMBINet score 0.097" in warned.note and other.note == "c. Source: s."
    block = results_block(separate_rows(memory), answers(separate_rows(memory).main))
    assert (
        block.count("## A table over all 5 images, seen ones among them: steel") == 1
        and "| MINet | 0.957 | 0.860 |" in block
    )


def test_without_held_out_rows_a_split_keeps_its_section(make_row):
    rows = [row_of(make_row, "A", 0.9, split="all")]
    assert separate_rows(rows).main == rows


def test_noise_is_next_to_the_clean_rows(make_row, tmp_path):
    rows = [row_of(make_row, "SAM", 0.5, kind="zero_shot"), row_of(make_row, "LoRA", 0.8, kind="tuned")]
    rows += [row_of(make_row, "U-Net", 0.85, kind="baseline")]
    for level, loss in (("20", 0.3), ("10", 0.1)):
        split = f"test +{level}% salt-and-pepper"
        rows += [
            row_of(make_row, name, s - loss, kind=kind, split=split)
            for name, s, kind in (("LoRA", 0.8, "tuned"), ("U-Net", 0.85, "baseline"))
        ]
    document, by_group = build_document({tmp_path / f"{n}.json": r for n, r in enumerate(rows)}, tmp_path)
    assert len(by_group) == 1
    table = next(table for table in document.tables if "robustness" in table.title)
    assert table.columns == ["no noise", "10 %", "20 %"]
    assert [[cell.text for cell in line.cells] for line in table.blocks[0].lines] == [
        ["0.800", "0.700", "0.500"],
        ["0.850", "0.750", "0.550"],
    ]
    assert "| LoRA | Tuned SAM | 0.800 | 0.700 | 0.500 |" in document_markdown(document, folder=tmp_path)


def test_noise_without_clean_rows_or_of_other_data_keeps_its_section(make_row):
    noisy = row_of(make_row, "LoRA", 0.7, kind="tuned", split="test +10% salt-and-pepper")
    other = row_of(make_row, "LoRA", 0.8, kind="tuned", print_="a")
    assert separate_rows([noisy]).main == [noisy] and separate_rows([noisy, other]).main == [noisy, other]
    clean = row_of(make_row, "U-Net", 0.8, kind="baseline")
    assert separate_rows([noisy, clean]).noisy == [noisy]


def test_each_protocol_has_a_table_of_seen_images_and_its_own_decimals(memory):
    again = [replace(row, protocol="published", metrics=dict(row.metrics)) for row in memory]
    parted = separate_rows([*memory, *again])
    tables = memory_tables(parted.main, parted.seen)
    assert list(tables) == ["steel", "steel, protocol published"]
    assert "score 0.097 to 0.133 better" in tables["steel"][1]
    assert "score 0.0970 to 0.1330 better" in tables["steel, protocol published"][1]
