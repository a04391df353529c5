"""The README's three sentences say what the rows say, and leave out what no row says."""

from samis.evaluation.rows import group_rows
from samis.reporting.analysis.answer import answers
from samis.reporting.analysis.separate import separate_rows
from samis.reporting.analysis.summary import summary
from samis.reporting.render.readme import readme_block, results_block


def rows_of(make_row, dataset, values, **options):
    """Return zero-shot, tuned and specialised rows with an S and an IoU of half of it."""
    kinds = ("zero_shot", "tuned", "baseline")
    rows = [
        make_row(kind, metrics={"s_measure": v, "iou": v / 2}, **options)
        for kind, v in zip(kinds, values, strict=False)
    ]
    for row in rows:
        row.dataset = dataset
    return rows


def test_three_sentences(make_row):
    rows = rows_of(make_row, "rail", (0.4, 0.8, 0.9)) + rows_of(make_row, "steel", (0.5, 0.7, 0.6))
    text = summary(answers(rows, ["s_measure", "iou"]))
    assert text == (
        "Before tuning, SAM reaches S 0.400 to 0.500 on 2 test sets; the best specialised network reaches 0.600 to 0.900. "
        "Tuning SAM closes 80 % of the gap to the best specialised network on rail (S 0.400 → 0.800, best 0.900); it goes past "
        "the best specialised network on steel (S 0.500 → 0.700, best 0.600). Tuning changes the mean overlap with the true "
        "defects (IoU) from 20 % to 40 % on rail and from 25 % to 35 % on steel."
    )


def test_what_no_row_says_is_left_out(make_row):
    rows = rows_of(make_row, "steel", (0.5, 0.4))
    text = summary(answers(rows, ["s_measure"]))
    assert text == (
        "Before tuning, SAM reaches S 0.500 on 1 test set. Tuning SAM makes it WORSE on steel (S 0.500 → 0.400)."
    )
    assert summary(answers(rows[1:], ["s_measure"])) == "" and summary({}) == ""


def test_the_readme_has_two_metrics_a_data_set_and_the_results_page_has_every_row(make_row):
    rows = rows_of(make_row, "steel", (0.5, 0.7, 0.9))
    for row in rows:
        row.metrics["mae"], row.directions["mae"] = 0.1, -1
        row.clean = {"n_images": 75, "kept_clean": 0.5, "defect_recall": 0.9, "false_positive_area": 0.1}
    by_group = answers(rows, ["s_measure", "iou", "mae"])
    short, long = readme_block(by_group), results_block(separate_rows(rows), by_group, ["s_measure", "iou", "mae"])
    assert "MAE" not in short and "clean" not in short.lower() and short.count("| steel") == 1
    assert all(
        text in long for text in ("MAE ↓", "clean kept clean ↑", "### Defect-free images", "| baseline | ", "## steel")
    )
    assert len(group_rows(rows)) == 1
