"""The gap as sentences: one for each group of rows, and one for all data sets."""

from __future__ import annotations

from collections.abc import Sequence

from samis.evaluation.labels import label, plain_name, value_of
from samis.evaluation.rows import TableKey
from samis.evaluation.score_row import ScoreRow
from samis.reporting.analysis.answer import Answer, tested
from samis.reporting.analysis.comparator import best_words, is_ahead, lead_words, training_note
from samis.reporting.analysis.gap import NO_COMPARATOR, percent


def sentence(group: Sequence[Answer]) -> str:
    """Return one group's answer in a sentence, by its first metric; if tuning made that worse, the sentence begins with it.

    The other metrics are mentioned where no tuned row beats zero-shot.
    """
    text = f"{group[0].title}: {_statement(group[0])}"
    worse = [label(answer.metric) for answer in group[1:] if answer.worse]
    if worse and not group[0].worse:
        text += f" But in {', '.join(worse)} no tuned row beats zero-shot."
    return text


def _statement(answer: Answer) -> str:
    metric, chosen = answer.metric, answer.chosen
    zero, tuned = chosen.zero_shot, chosen.tuned

    def reached(row: ScoreRow) -> str:
        return f"{row.name} reaches {label(metric)} {value_of(row, metric)}"

    if zero is None or tuned is None:
        missing = " and ".join(n for n, row in (("zero-shot", zero), ("tuned", tuned)) if row is None)
        return f"{'; '.join(map(reached, chosen.present))}. Without a {missing} row there is nothing to compare."
    before = f"zero-shot SAM ({zero.name}) reaches {label(metric)} {value_of(zero, metric)}"
    after = f"{tuned.name} reaches {value_of(tuned, metric)}"
    best = best_words(chosen.best, answer.repeats, metric) if chosen.best else ""
    unlike = training_note(tuned, chosen.best) if chosen.best else ""
    unlike = f" {unlike}" if unlike else ""
    gap = answer.gap
    if answer.worse:
        ahead = f"; {best} is ahead of both" if gap and gap.closed is not None else ""
        return f"tuning made it WORSE: {before}, and {after} ({answer.gain}){ahead}."
    if gap is None:
        unknown = "No specialised network trained to a plateau was scored on these images: no fair comparator yet."
        return f"{before}; {after} ({answer.gain}). {unknown}"
    if gap.closed is None:
        return (
            f"{before}; {after} ({answer.gain}). Zero-shot is level with or ahead of {best}, so that no share of a way "
            "to it can be stated."
        )
    if gap.closed > 1 and answer.lead:
        return f"{before}; {after}, {lead_words(answer.lead, best)}.{unlike}"
    sure = f" (95 % interval {percent(gap.interval[0])} to {percent(gap.interval[1])} %)" if gap.interval else ""
    return f"{before}; {after}, {percent(gap.closed)} %{sure} of the way to {best}.{unlike}"


def gap_sentence(by_group: dict[TableKey, list[Answer]]) -> str:
    """Return how much of the gap tuning closes, of all data sets in one sentence; "" if there is nothing to compare.

    By each data set's first metric. Test splits only, if there are any; data sets that tuning made worse come first.

    Args:
        by_group: what `answers` returned.
    """
    worse: list[str] = []
    closed: list[str] = []
    past: list[str] = []
    even: list[str] = []
    level: list[str] = []
    unknown: list[str] = []
    for key, group in tested(by_group).items():
        lead = group[0]
        zero, tuned, best = lead.chosen.zero_shot, lead.chosen.tuned, lead.chosen.best
        if zero is None or tuned is None:
            continue
        name = plain_name(key[0])
        before, after = (value_of(row, lead.metric) for row in (zero, tuned))
        values = f"{label(lead.metric)} {before} → {after}"
        if lead.worse:
            worse.append(f"{name} ({values})")
        elif lead.gap is None or best is None:
            unknown.append(f"{name} ({values})")
        elif lead.gap.closed is None:
            level.append(f"{name} ({values}, best {value_of(best, lead.metric)})")
        elif lead.gap.closed > 1:  # a percentage of a small gap that was passed by far is misleading
            (past if is_ahead(lead.lead) else even).append(f"{name} ({values}, best {value_of(best, lead.metric)})")
        else:
            goal = "" if closed else " of the gap to the best specialised network"
            reach = value_of(best, lead.metric)
            closed.append(f"{percent(lead.gap.closed)} %{goal} on {name} ({values}, best {reach})")
    parts = [f"makes it WORSE on {listed(worse)}"] if worse else []
    parts += [f"closes {listed(closed)}"] if closed else []
    parts += [f"comes level with the best specialised network on {listed(even)}"] if even else []
    parts += [f"goes past the best specialised network on {listed(past)}"] if past else []
    parts += [f"starts level with or ahead of the best specialised network on {listed(level)}"] if level else []
    parts += [f"improves {listed(unknown)}, where there is {NO_COMPARATOR}"] if unknown else []
    return f"Tuning SAM {'; it '.join(parts)}." if parts else ""


def listed(parts: Sequence[str]) -> str:
    """Join texts as a sentence does.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
