"""What SAM finds, in whole words: a sentence for each data set, and the headline of all.

The measure is the most telling one that all compared rows have: recall with precision (which share of the defect area is marked,
and which share of the marks is defect: recall alone is perfect for a map that marks everything), else the mean overlap, else the
group's first metric. The rows are those that this first metric chose, so that one sentence is about one model of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from samis.evaluation.labels import label, plain_name, value_of
from samis.evaluation.rows import Chosen, TableKey, has
from samis.evaluation.score_row import ScoreRow
from samis.reporting.analysis.answer import Answer, tested
from samis.reporting.analysis.gap import percent
from samis.reporting.analysis.sentences import gap_sentence, listed
from samis.reporting.analysis.table import FEWEST_CLEAN

ORDER = {"tuned": "tuned SAM", "zero_shot": "untouched SAM", "best": "the best specialised network"}
"""Role -> what sentences call it, in their order."""
AREA, OVERLAP, LEAD = "area", "overlap", "lead"
MEASURES = {AREA: ("recall", "precision"), OVERLAP: ("iou",)}
"""Measure -> metrics that each row must have, the most telling measure first."""
MARKED = {
    "pysod": "marked is where a map, stretched to its whole range, is above one half",
    "published": "marked is where a map is at or above one half",
    "inspection": "marked is where a map is at or above its row's threshold",
}
"""Protocol -> what counts as marked."""


@dataclass(frozen=True)
class Find:
    """What is found on one data set.

    Attributes:
        name: the data set in plain words.
        title: the group's name, with split and number of images.
        measure: ``AREA``, ``OVERLAP`` or ``LEAD``.
        values: role -> the value as printed, in the order of ``ORDER``.
        names: role -> the row's name.
        sentence: the comparison.
        images: a sentence about whole images: escapes and overkill.
        missing: a sentence for each kind of row that is missing.
        protocol: of the rows.
        chosen_by: name of the metric that chose the rows, as printed.
        shares: role -> recall, overlap or the metric's value, for ranges.
        worse: whether tuning made the leading metric worse.
    """

    name: str
    title: str
    measure: str
    values: Mapping[str, str]
    names: Mapping[str, str]
    sentence: str
    images: str
    missing: Sequence[str]
    protocol: str
    chosen_by: str
    shares: Mapping[str, float]
    worse: bool

    @property
    def what(self) -> str:
        """What the values are, as a heading of a few words."""
        return {AREA: "Share of the defect area found", OVERLAP: "Overlap with the defect area (IoU)"}.get(
            self.measure, self.chosen_by
        )


def finds(by_group: dict[TableKey, list[Answer]]) -> list[Find]:
    """Return what is found on each data set; test splits only, if there are any.

    Args:
        by_group: what ``samis.reporting.analysis.answer.answers`` returned.
    """
    kept = tested(by_group)
    shared = [key[0] for key in kept]
    named = {key: plain_name(key[0]) + (f", protocol {key[2]}" if shared.count(key[0]) > 1 else "") for key in kept}
    return [_find(named[key], group[0]) for key, group in kept.items()]


def _find(name: str, lead: Answer) -> Find:
    roles = lead.chosen.by_role
    rows = {role: roles[role] for role in ORDER if role in roles}
    known = (m for m, needed in MEASURES.items() if all(has(row, metric) for row in rows.values() for metric in needed))
    measure = next(known, LEAD)
    metric = MEASURES.get(measure, (lead.metric,))[0]
    shares = {role: row.metrics[metric] for role, row in rows.items()}
    values = {role: value_of(rows[role], metric) if measure == LEAD else _share(v) for role, v in shares.items()}
    text = f"on {name}, {_statement(measure, values, lead.metric)}"
    if measure == AREA:
        text += f"; of the area that {'it marks' if len(rows) == 1 else 'they mark'}, {_precision(rows)} is defect"
    text = f"Tuning made it WORSE: {text}" if lead.worse else text[0].upper() + text[1:]
    return Find(
        name, lead.title, measure, values, {role: row.name for role, row in rows.items()}, f"{text}.",
        _images(lead.chosen), lead.missing, lead.chosen.present[0].protocol, label(lead.metric), shares, lead.worse,
    )  # fmt: skip


def _statement(measure: str, values: Mapping[str, str], metric: str) -> str:
    (first, value), *others = ((ORDER[role], value) for role, value in values.items())
    more = "".join(f", {name} {each}" for name, each in others)
    if measure == AREA:
        return f"{first} finds {value} of the defect area{more}"
    if measure == OVERLAP:
        return f"the marks of {first} overlap the defect area by {value} (IoU){more.replace(', ', ', those of ')}"
    return f"{first} reaches {label(metric)} {value}{more}"


def _precision(rows: Mapping[str, ScoreRow]) -> str:
    return listed([_share(row.metrics["precision"]) for row in rows.values()])


def _share(value: float) -> str:
    """Print a share in per cent; what rounds to none or all but is not, as such."""
    if 0 < value < 0.005 or 0.995 < value < 1:
        return "under 1 %" if value < 0.5 else "over 99 %"
    return f"{percent(value)} %"


def headline(result: Sequence[Find], by_group: dict[TableKey, list[Answer]]) -> str:
    """Return the answer of all data sets in one sentence; "" if there is nothing to compare.

    One data set that has both, untouched and tuned SAM: its sentence. Several: the range over them. Where tuning made something
    worse, or the measures differ or are no shares, the sentence about the gap, which begins with what is worse.

    Args:
        result: what ``finds`` returned.
        by_group: what it was made of.
    """
    gap = gap_sentence(by_group)
    compared = [find for find in result if {"tuned", "zero_shot"} <= find.shares.keys()]
    measures = {find.measure for find in compared}
    if len(measures) != 1 or LEAD in measures or any(find.worse for find in result):
        return gap
    if len(compared) == 1:
        return compared[0].sentence
    text = f"{_range(compared, 'tuned')} {'of the defect area' if AREA in measures else '(IoU)'}"
    verb = "Tuned SAM finds" if AREA in measures else "The marks of tuned SAM overlap the defect area by"
    text = f"{verb} {text} on {len(compared)} test sets, untouched SAM {_range(compared, 'zero_shot')}"
    known = [find for find in compared if "best" in find.shares]
    if not known:
        return f"{text}; no specialised network can be compared."
    where = "" if len(known) == len(compared) else f" (compared on {len(known)} of them)"
    return f"{text}, the best specialised network {_range(known, 'best')}{where}."


def _range(result: Sequence[Find], role: str) -> str:
    values = [find.shares[role] for find in result]
    return " to ".join(dict.fromkeys(_share(value) for value in (min(values), max(values))))


def basis(result: Sequence[Find]) -> str:
    """Return what the sentences' shares are of, and how the rows were chosen; "" without sentences."""
    if not result:
        return ""
    measures = {find.measure for find in result}
    parts = ["Untouched SAM is SAM before tuning (zero-shot)"]
    if AREA in measures:
        parts.append("share of the defect area found: recall; share of the marks that is defect: precision")
    if measures & {AREA, OVERLAP}:
        marked = dict.fromkeys(MARKED.get(find.protocol, "") for find in result if find.measure != LEAD)
        parts += ["means over the defective images", *filter(None, marked)]
    chosen = listed(list(dict.fromkeys(find.chosen_by for find in result)))
    return f"{'; '.join(parts)}. Each kind is represented by the row that is best by {chosen} on these images."


def _images(chosen: Chosen) -> str:
    """Return escapes and overkill of the rows compared, or that they were not measured."""
    rows = {role: row for role in ORDER if (row := chosen.by_role.get(role)) is not None}
    verdicts = {role: row for role, row in rows.items() if row.verdicts}
    if verdicts:
        parts = [_counts(verdicts, *cells) for cells in _VERDICTS]
        return f"{'; '.join(filter(None, parts))}."
    clean = {role: row.clean or {} for role, row in rows.items()}
    clean = {role: each for role, each in clean.items() if each.get("n_images", 0) >= FEWEST_CLEAN}
    clean = {role: each for role, each in clean.items() if {"kept_clean", "defect_recall"} <= each.keys()}
    if clean:
        detected = listed([f"{_share(each['defect_recall'])} by {ORDER[role]}" for role, each in clean.items()])
        kept = listed([_share(each["kept_clean"]) for each in clean.values()])
        count = max(each["n_images"] for each in clean.values())
        return (
            f"Whole images, each model at its own threshold: of the defective images {detected} are detected; "
            f"of {count:.0f} clean images {kept} stay without a mark."
        )
    return "Escapes and overkill of whole images: not measured in these rows."


_VERDICTS = (
    ("caught", "escaped", "Escapes (defective images called OK)"),
    ("passed", "false_alarms", "overkill (clean images called defective)"),
)
"""Right and wrong cell of the confusion matrix, and what the wrong ones are called."""


def _counts(rows: Mapping[str, ScoreRow], right: str, wrong: str, what: str) -> str:
    counts = {role: row.verdicts["confusion"] for role, row in rows.items()}
    parts = [f"{ORDER[role]} {each[wrong]} of {each[right] + each[wrong]}" for role, each in counts.items()]
    return f"{what}: {', '.join(parts)}" if any(each[right] + each[wrong] for each in counts.values()) else ""
