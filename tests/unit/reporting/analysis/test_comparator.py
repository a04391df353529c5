"""The specialised network that SAM is compared with: seeds, a clear lead, other training images."""

from __future__ import annotations

import pytest

from samis.reporting.analysis.answer import answers
from samis.reporting.analysis.answer_tables import answer_table, gap_table
from samis.reporting.analysis.comparator import repeats_table, training_note
from samis.reporting.analysis.convergence import convergence_table
from samis.reporting.analysis.sentences import gap_sentence, sentence
from samis.reporting.analysis.table import oracle_table
from samis.reporting.render.markup import to_markdown


def compared(make_row, tuned, best):
    values = (("zero_shot", [0.1, 0.2, 0.1, 0.2]), ("tuned", tuned), ("baseline", best))
    return answers([make_row(kind, {"s_measure": each}) for kind, each in values], ["s_measure"])


def test_a_lead_whose_interval_holds_zero_is_level(make_row):
    by_group = compared(make_row, [0.9, 0.5, 0.8, 0.6], [0.5, 0.8, 0.6, 0.8])
    (group,) = by_group.values()
    low, high = group[0].lead.interval
    assert group[0].gap.closed > 1 and low < 0 < high
    assert (
        "reaches 0.700, level with the best specialised network (baseline, 0.675): the difference of +0.025 is not"
        in (sentence(group))
    )
    assert gap_sentence(by_group).startswith("Tuning SAM comes level with the best specialised network on steel")


def test_a_clear_lead_is_stated_as_a_difference(make_row):
    by_group = compared(make_row, [0.8, 0.7, 0.8, 0.7], [0.6, 0.5, 0.6, 0.5])
    (group,) = by_group.values()
    text = sentence(group)
    assert "ahead of the best specialised network (baseline, 0.550) by +0.200 (95 % interval +0.200 to +0.200)." in text
    assert "% of the gap" not in text and gap_sentence(by_group).startswith("Tuning SAM goes past")
    assert "ahead, +0.200<br><sub>+0.200 to +0.200" in to_markdown(answer_table(by_group))
    assert "| +0.200<br>" in to_markdown(gap_table(group))


def test_several_seeds_are_the_median_one_with_their_range(three_rows, make_row):
    seeds = [
        make_row("baseline", {"s_measure": [v] * 4}, name=f"U-Net, seed {n}") for n, v in enumerate((0.95, 0.91, 0.92))
    ]
    short = make_row("baseline", {"s_measure": [0.99] * 4}, name="U-Net, seed 3", budget="short")
    by_group = answers([*three_rows, *seeds, short], ["s_measure"])
    (group,) = by_group.values()
    assert "(U-Net, seed 2, 0.920: median of 3 seeds, 0.910 to 0.950)" in sentence(group)
    assert "median of 3 seeds, 0.910 to 0.950" in to_markdown(gap_table(group))
    assert "U-Net, seed 2: median of 3 seeds" in to_markdown(answer_table(by_group))
    text = to_markdown(repeats_table("steel", [*three_rows, *seeds], ["s_measure"]))
    assert "| U-Net (3 seeds) | 0.927<br><sub>± 0.021</sub> |" in text and "| tuned |" not in text
    assert repeats_table("steel", three_rows, ["s_measure"]) is None


def trained(row, share):
    row.provenance |= {"training": {"steps": 1}, "config": {"data": {"clean_share": share}}}
    return row


def test_unlike_training_images_are_said_where_the_two_are_compared(three_rows):
    trained(three_rows[1], 0.0), trained(three_rows[2], 0.3)
    (group,) = answers(three_rows, ["s_measure"]).values()
    text = "Not trained on the same images: 0 % of those of tuned were free of defects, 30 % of those of baseline."
    assert sentence(group).endswith(text) and text in gap_table(group).note
    trained(three_rows[2], 0.0)
    assert training_note(*three_rows[1:]) == ""
    three_rows[2].provenance.pop("training")  # published maps have a config too
    trained(three_rows[1], 0.3)
    assert training_note(*three_rows[1:]) == ""


def test_a_filled_box_is_no_network(make_row):
    rows = [make_row("baseline", {"s_measure": [0.8]}, name="filled_box", prompt="box", oracle=True)]
    (block,) = oracle_table("steel", rows, ["s_measure"]).blocks
    assert block.title.startswith("Without any learning")


@pytest.mark.parametrize(
    ("values", "change", "best"), [([0.5, 0.6, 0.65, 0.7], "+0.100", 15), ([0.7, 0.6, 0.6], "-0.100", 4)]
)
def test_how_far_a_training_came(make_row, values, change, best):
    row = make_row("baseline", {"s_measure": [0.8]}, name="U-Net")
    row.provenance |= {
        "training": {"minutes": 3.25, "steps": 90, "epochs": 15}, "config": {"training": {"validate_every": 4}},
        "validation_s_measure": values,
    }  # fmt: skip
    table = convergence_table([row, make_row("baseline", {"s_measure": [0.1]}, name="no curve")])
    ((line,),) = [block.lines for block in table.blocks]
    assert [cell.text for cell in line.cells][:3] == ["3.25", "90", "15"]
    assert [cell.text for cell in line.cells][4:] == [change, str(best), "0.800"]
    assert ("U-Net on steel" in table.note) == (change == "+0.100")
