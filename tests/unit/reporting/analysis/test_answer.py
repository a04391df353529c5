"""The answer's sentences follow the rows: how far, or worse, or that there is nothing to compare."""

from __future__ import annotations

import pytest

from samis.errors import UserError
from samis.evaluation.rows import group_rows
from samis.reporting.analysis.answer import answers
from samis.reporting.analysis.answer_tables import answer_table, gap_table, tuned_table
from samis.reporting.analysis.sentences import gap_sentence, sentence
from samis.reporting.render.markup import to_markdown
from samis.reporting.render.readme import BEGIN, END, replace_block


def one(rows, metrics=("s_measure",), **options):
    (group,) = answers(rows, metrics, **options).values()
    return group


def test_how_far(three_rows):
    text = sentence(one(three_rows))
    assert text.startswith(
        "steel (test, 4 images): zero-shot SAM (zero_shot) reaches S 0.500; tuned reaches 0.800, 75 % (95 %"
    )
    assert text.endswith("of the way to the best specialised network (baseline, 0.900).")


def test_worse_comes_first(make_row):
    rows = [make_row(k, metrics={"mae": v}) for k, v in (("zero_shot", 0.1), ("tuned", 0.2), ("baseline", 0.05))]
    text = sentence(one(rows, ["mae"]))
    assert text == (
        "steel (test, 2 images): tuning made it WORSE: zero-shot SAM (zero_shot) reaches MAE 0.1000, and tuned "
        "reaches 0.2000 (+0.1000); the best specialised network (baseline, 0.0500) is ahead of both."
    )


def test_worse_in_another_metric_is_mentioned(three_rows):
    three_rows[1].metrics["mae"] = 0.4
    assert sentence(one(three_rows, ["s_measure", "mae"])).endswith("But in MAE no tuned row beats zero-shot.")


def test_without_a_specialised_row_the_gap_cannot_be_stated(three_rows):
    group = one(three_rows[:2])
    assert "tuned reaches 0.800 (+0.300 [" in sentence(group)
    assert sentence(group).endswith("was scored on these images: no fair comparator yet.")
    assert "no fair comparator yet" in to_markdown(gap_table(group))


@pytest.mark.parametrize("budget", ["smoke", "short"])
def test_a_row_of_a_small_budget_is_no_comparator(three_rows, make_row, budget):
    three_rows[2].budget = budget
    group = one(three_rows)
    assert group[0].gap is None and "no fair comparator yet" in sentence(group)
    assert gap_sentence({("steel", "test", "", ""): group}).endswith("where there is no fair comparator yet.")
    fair = make_row("saved_maps", {"s_measure": [0.7, 0.7, 0.7, 0.7]})
    assert one([*three_rows, fair])[0].chosen.best is fair


@pytest.mark.parametrize(("kept", "missing"), [([0, 2], "tuned"), ([1, 2], "zero-shot"), ([2], "zero-shot and tuned")])
def test_without_a_row_to_compare(three_rows, kept, missing):
    assert sentence(one([three_rows[i] for i in kept])).endswith(
        f"Without a {missing} row there is nothing to compare."
    )


def test_past_the_best_and_no_gap(make_row):
    def text(*values):
        kinds = ("zero_shot", "tuned", "saved_maps")
        return sentence(one([make_row(k, metrics={"s_measure": v}) for k, v in zip(kinds, values, strict=True)]))

    assert "tuned reaches 0.900, ahead of the best specialised network (saved_maps, 0.800) by +0.100." in text(
        0.5, 0.9, 0.8
    )
    assert "Zero-shot is level with or ahead of the best" in text(0.85, 0.9, 0.8)


def test_oracle_rows_never_count(three_rows, make_row):
    helped = make_row("zero_shot", metrics={"s_measure": 0.99}, name="helped", oracle=True)
    assert "helped" not in sentence(one([helped, *three_rows]))
    assert answers([helped], ["s_measure"]) == {}


def test_splits_and_data_sets_have_answers_of_their_own(three_rows, make_row):
    rows = [*three_rows, make_row("tuned", metrics={"s_measure": 0.99}, split="val")]
    by_group = answers(rows, ["s_measure"])
    assert [key[1] for key in by_group] == ["test", "val"]
    assert "0.990" not in to_markdown(answer_table(by_group))
    with pytest.raises(UserError, match=r"no such.*tuned.*E-ROW-TUNED-NAME"):
        answers(rows, ["s_measure"], tuned="no such")


def test_all_that_was_tuned_best_first(three_rows, make_row):
    helped = make_row("tuned", metrics={"s_measure": 0.99}, name="helped", oracle=True)
    rows = [make_row("tuned", metrics={"s_measure": 0.6}, name="smaller"), helped, *three_rows]
    by_group = answers(rows, ["s_measure"])
    text = to_markdown(tuned_table(group_rows(rows), by_group))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == "| Data set | Tuned | S ↑ | Gap closed |"
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["tuned", "smaller"]
    assert "| 0.800 | 75 %" in lines[2] and "| 0.600 | 25 %" in lines[3]
    assert "helped" not in text
    alone = [row for row in rows if row.kind != "tuned"]
    assert tuned_table(group_rows(alone), answers(alone, ["s_measure"])).blocks == []


def test_repeated_trainings_are_one_line_and_one_candidate(make_row):
    """Draws of .6, .7 and .9: mean .733, standard deviation .153 by hand; the median one stands for all in the gap."""
    rows = [make_row("zero_shot", {"s_measure": [0.4, 0.6]}), make_row("baseline", {"s_measure": [0.95, 1.0]})]
    draws = zip((1, 2, 3), (0.6, 0.9, 0.7), strict=True)
    rows += [make_row("tuned", {"s_measure": [v, v]}, name=f"LoRA, 10 images, draw {n}") for n, v in draws]
    by_group = answers(rows, ["s_measure"])
    (group,) = by_group.values()
    assert group[0].chosen.tuned.name == "LoRA, 10 images, draw 3"
    (line,) = tuned_table(group_rows(rows), by_group).blocks[0].lines
    assert line.heads[1] == "LoRA, 10 images (3 draws)"
    assert (line.cells[0].text, line.cells[0].interval) == ("0.733", "± 0.153")
    assert line.cells[-1].text == "42 %"  # (.7 - .5) / (.975 - .5)


def test_gap_table(three_rows):
    text = to_markdown(gap_table(one(three_rows, ["s_measure", "mae"])))
    assert "| S ↑ | 0.500 zero_shot | 0.800 tuned | 0.900 baseline | +0.300<br><sub>" in text
    assert "| 75 %<br><sub>" in text and "| 80 %<br><sub>" in text


def test_the_readme_keeps_all_but_its_block():
    text = f"# Head\n{BEGIN}\nold\n{END}\ntail\n"
    new = replace_block(text, "new\n", name="README.md")
    assert new == f"# Head\n{BEGIN}\nnew\n{END}\ntail\n"
    assert replace_block(new, "new", name="README.md") == new


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_the_markers_must_be_there_once(text):
    with pytest.raises(UserError, match=r"README\.md: .*E-ROW-MARKERS"):
        replace_block(text, "new", name="README.md")


def test_clean_kept_clean_is_in_the_answer(three_rows):
    for row, kept in zip(three_rows, (0.0, 0.96, 0.88), strict=True):
        row.clean = {"n_images": 75, "kept_clean": kept, "defect_recall": 1 - kept / 10, "false_positive_area": 0.1}
    by_group = answers(three_rows, ["s_measure", "mae"])
    text = to_markdown(answer_table(by_group))
    assert "| clean kept clean ↑ | 0.000<br><sub>zero_shot</sub> | 0.960<br><sub>tuned</sub> | 0.880<br>" in text
    assert "| defective found ↑ | 1.000" in text and "without a single pixel above the row's threshold" in text
    tuned = to_markdown(tuned_table(group_rows(three_rows), by_group))
    assert "| clean kept clean ↑ | defective found ↑ | Gap closed |" in tuned and "| 0.960 | 0.904 |" in tuned
    for row in three_rows:
        row.clean = None
    assert "clean" not in to_markdown(answer_table(by_group)) + to_markdown(
        tuned_table(group_rows(three_rows), by_group)
    )


def test_a_tuned_row_without_information_is_last(three_rows, make_row):
    blank = make_row("tuned", {"s_measure": [0.99] * 3}, name="blank")
    blank.full_maps = blank.n_images
    rows = [*three_rows, blank]
    lines = tuned_table(group_rows(rows), answers(rows, ["s_measure"])).blocks[0].lines
    assert lines[-1].heads[1] == "blank (all maps full)" and lines[-1].cells[-1].text == "–"
