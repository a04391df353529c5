"""What SAM finds, in whole words: the numbers are the rows', the measure is the most telling one, and what is missing is stated."""

import pytest

from samis.evaluation.labels import PLAIN_NAMES, plain_name
from samis.evaluation.meanings import column_meaning, meaning_of
from samis.evaluation.rows import group_rows
from samis.metrics import CLEAN_NUMBERS, METRICS
from samis.reporting.analysis.answer import answers
from samis.reporting.analysis.finds import basis, finds, headline
from samis.reporting.analysis.separate import separate_rows
from samis.reporting.analysis.verdict_table import COUNTS
from samis.reporting.render.readme import readme_block, results_block

AREA = {"recall": (0.5, 0.8, 0.9), "precision": (0.25, 0.7, 0.75)}
OVERLAP = {"iou": (0.2, 0.6, 0.7)}


def rows_of(make_row, dataset, s_measure, metrics=None, **options):
    """Return zero-shot, tuned and specialised rows with an S and the values of some more metrics."""
    kinds = ("zero_shot", "tuned", "baseline")
    rows = []
    for n, (kind, value) in enumerate(zip(kinds, s_measure, strict=False)):
        more = {name: values[n] for name, values in (metrics or {}).items()}
        rows.append(make_row(kind, metrics={"s_measure": value} | more, dataset=dataset, **options))
    return rows


def found_of(rows):
    by_group = answers(rows)
    return finds(by_group), by_group


def test_the_share_of_the_defect_area_of_the_rows_that_the_leading_metric_chose(make_row):
    rows = rows_of(make_row, "sd_saliency_900", (0.4, 0.8, 0.9), AREA)
    # higher recall, lower S: it is not the row that represents zero-shot SAM
    whole = {"s_measure": 0.1, "recall": 1.0, "precision": 0.1}
    rows.append(make_row("zero_shot", metrics=whole, dataset="sd_saliency_900", name="whole"))
    (find,), by_group = found_of(rows)
    assert find.sentence == (
        "On strip steel, tuned SAM finds 80 % of the defect area, untouched SAM 50 %, the best specialised network 90 %; of the "
        "area that they mark, 70 %, 25 % and 75 % is defect."
    )
    assert headline([find], by_group) == find.sentence
    assert find.values == {"tuned": "80 %", "zero_shot": "50 %", "best": "90 %"} and not find.missing
    assert "stretched to its whole range" in basis([find]) and "best by S" in basis([find])


def test_several_data_sets_have_a_range_and_a_sentence_each(make_row):
    other = {"recall": (0.001, 0.6), "precision": (0.1, 0.999)}
    rows = rows_of(make_row, "rsdds", (0.4, 0.8), other) + rows_of(make_row, "sd_saliency_900", (0.4, 0.8, 0.9), AREA)
    found, by_group = found_of(rows)
    assert headline(found, by_group) == (
        "Tuned SAM finds 60 % to 80 % of the defect area on 2 test sets, untouched SAM under 1 % to 50 %, the best specialised "
        "network 90 % (compared on 1 of them)."
    )
    assert [find.sentence.split(",")[0] for find in found] == ["On rail", "On strip steel"]
    alone, of_it = found_of([row for row in rows if row.dataset != "rsdds" or row.kind != "zero_shot"])
    assert headline(alone, of_it) == found[1].sentence  # the only one with untouched and tuned SAM
    assert found[0].sentence.endswith("of the area that they mark, over 99 % and 10 % is defect.")
    assert found[0].missing == [
        "No specialised network was scored on these images: how far SAM is from one cannot be stated."
    ]


def test_without_recall_the_overlap_and_without_it_the_leading_metric(make_row):
    (find,), by_group = found_of(rows_of(make_row, "castings", (0.4, 0.8, 0.9), OVERLAP, protocol="published"))
    assert find.sentence == (
        "On castings, the marks of tuned SAM overlap the defect area by 60 % (IoU), those of untouched SAM 20 %, those of the best "
        "specialised network 70 %."
    )
    assert headline([find], by_group) == find.sentence and "at or above one half" in basis([find])
    (find,), by_group = found_of(rows_of(make_row, "castings", (0.4, 0.8, 0.9)))
    assert (
        find.sentence
        == "On castings, tuned SAM reaches S 0.800, untouched SAM 0.400, the best specialised network 0.900."
    )
    assert headline([find], by_group).startswith("Tuning SAM closes 80 % of the gap")
    rows = rows_of(make_row, "castings", (0.4, 0.8, 0.9), AREA)
    del rows[2].metrics["precision"]  # one row without it: no sentence mixes two measures
    assert found_of(rows)[0][0].sentence.startswith("On castings, tuned SAM reaches S 0.800")


def test_what_got_worse_is_the_headline(make_row):
    rows = rows_of(make_row, "steel", (0.6, 0.5, 0.9), AREA) + rows_of(make_row, "rail", (0.4, 0.8, 0.9), AREA)
    found, by_group = found_of(rows)
    assert headline(found, by_group).startswith("Tuning SAM makes it WORSE on steel (S 0.600 → 0.500)")
    assert [find.sentence[:24] for find in found] == ["On rail, tuned SAM finds", "Tuning made it WORSE: on"]
    assert finds({}) == [] and headline([], {}) == "" and basis([]) == ""


@pytest.mark.parametrize(
    ("dropped", "changes", "text"),
    [
        ("zero_shot", None, "No untouched (zero-shot) SAM was scored on these images: what tuning gains"),
        ("zero_shot", {"oracle": True}, "No untouched (zero-shot) SAM was scored on these images without help of the gr"),
        ("tuned", None, "No tuned SAM was scored on these images: there is nothing to compare."),
        ("baseline", None, "No specialised network was scored on these images"),
        ("baseline", {"budget": "short"}, "No specialised network that was trained to a plateau was scored on these images "
                                          "(small budget: baseline)"),
        ("baseline", {"full_maps": 2}, "No specialised network with a usable result was scored on these images"),
    ],
)  # fmt: skip
def test_a_missing_comparator_is_stated_with_the_reason(make_row, dropped, changes, text):
    rows = rows_of(make_row, "steel", (0.4, 0.8, 0.9), AREA)
    (lost,) = (row for row in rows if row.kind == dropped)
    if changes is None:
        rows.remove(lost)
    for name, value in (changes or {}).items():
        setattr(lost, name, value)
    (find,), _ = found_of(rows)
    (sentence,) = find.missing
    assert sentence.startswith(text) and len(find.values) == 2
    assert sentence in readme_block(answers(rows))


def test_whole_images_escapes_and_overkill_as_counts(make_row):
    rows = rows_of(make_row, "steel", (0.4, 0.8), AREA)
    assert found_of(rows)[0][0].images == "Escapes and overkill of whole images: not measured in these rows."
    for row, detected, kept in zip(rows, (0.3, 0.9), (0.1, 0.5), strict=True):
        row.clean = {"n_images": 40.0, "defect_recall": detected, "kept_clean": kept}
    assert found_of(rows)[0][0].images == (
        "Whole images, each model at its own threshold: of the defective images 90 % by tuned SAM and 30 % by untouched SAM are "
        "detected; of 40 clean images 50 % and 10 % stay without a mark."
    )
    for row, escaped in zip(rows, (20, 3), strict=True):
        counts = {"caught": 60 - escaped, "escaped": escaped, "passed": 39, "false_alarms": 1}
        row.verdicts = {"rule": "max", "threshold": 0.5, "confusion": counts}
    assert found_of(rows)[0][0].images == (
        "Escapes (defective images called OK): tuned SAM 3 of 60, untouched SAM 20 of 60; overkill (clean images called "
        "defective): tuned SAM 1 of 40, untouched SAM 1 of 40."
    )


def test_every_metric_and_column_has_a_meaning():
    numbers = {name for metric in METRICS.values() for name in (*metric.values, *metric.finished)}
    assert len(numbers) > 40
    assert not [name for name in (*numbers, *CLEAN_NUMBERS, "miss_rate", "false_alarm_rate") if not meaning_of(name)]
    assert "one half" in meaning_of("iou") and "one half" not in meaning_of("iou_adaptive")  # its own threshold alone
    assert all(map(column_meaning, COUNTS.values())) and column_meaning("pit (12)") == ""
    assert meaning_of("recall_pooled") != meaning_of("recall") and "background" in column_meaning("specificity ↑")
    assert plain_name("magnetic_tile (by tile)") == "magnetic tile (by tile)" and len(PLAIN_NAMES) == 5


def test_the_readme_has_two_metrics_a_data_set_and_the_results_page_has_every_row(make_row):
    rows = rows_of(make_row, "steel", (0.5, 0.7, 0.9), AREA)
    for row in rows:
        row.metrics["mae"], row.directions["mae"] = 0.1, -1
        row.clean = {"n_images": 75, "kept_clean": 0.5, "defect_recall": 0.9, "false_positive_area": 0.1}
    by_group = answers(rows, ["s_measure", "recall", "mae"])
    short, long = readme_block(by_group), results_block(separate_rows(rows), by_group, ["s_measure", "recall", "mae"])
    assert "MAE" not in short and "clean" not in short.lower() and short.count("| steel") == 1
    assert short.startswith("- On steel, tuned SAM finds 80 % of the defect area")
    assert all(
        text in long for text in ("MAE ↓", "clean kept clean ↑", "### Defect-free images", "| baseline | ", "## steel")
    )
    assert (
        long.count('<details markdown="1">') == long.count("</details>") == 3
    )  # tuned, all methods, defect-free images
    assert "- **MAE ↓**: Mean absolute error" in long
    assert len(group_rows(rows)) == 1
