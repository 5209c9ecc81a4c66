"""Measures the answers of a memory on questions with known answers: exact match, F1, containment, and retrieval success."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from memgpt_rag.answering.options import AskOptions
from memgpt_rag.evaluation.data.answered_questions import AnsweredQuestion
from memgpt_rag.evaluation.machine import machine, packages
from memgpt_rag.evaluation.metrics.answer_measures import exact_match, f1, holds_any
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.evaluation.reports.tables import Table, compared
from memgpt_rag.evaluation.retrieval import SystemComparison, compare_systems

if TYPE_CHECKING:
    from memgpt_rag.answering.answer import Answer
    from memgpt_rag.choices import Mode
    from memgpt_rag.rag import RAG

KIND, VERSION = "memgpt_rag answers report", 1
FIGURES = ("em", "f1", "contains")
FOUND = "found"

_BATCH = 8


@dataclass(frozen=True)
class JudgedAnswer:
    """An answer and its measures.

    Attributes:
        language: language of the question: "en" is measured in words, "zh" in characters.
        quote, second_quote: words of entries that are shown beside the answer; None where there are none.
        values: "em", "f1", "contains": 0 to 1; "found", where entries were read: whether one of them contains a gold answer.
    """

    asked: AnsweredQuestion
    text: str
    language: str
    values: dict[str, float]
    quote: str | None = None
    second_quote: str | None = None


def judge(asked: AnsweredQuestion, answer: Answer) -> JudgedAnswer:
    """Compare an answer with the gold answers, in the question's language."""
    from memgpt_rag.model.prompt import detect_language

    language, gold = detect_language(asked.question), asked.answers
    values = {
        "em": exact_match(answer.text, gold, language),
        "f1": f1(answer.text, gold, language),
        "contains": holds_any(answer.text, gold),
    }
    if answer.citations:
        entries = (citation.passage.titled_text for citation in answer.citations)
        values[FOUND] = max(holds_any(entry, gold) for entry in entries)
    quotes = [None if quote is None else quote.text for quote in (answer.quote, answer.second_quote)]
    return JudgedAnswer(asked, answer.text, language, values, *quotes)


def evaluate_answers(
    rag: RAG,
    questions: Sequence[AnsweredQuestion],
    *,
    modes: Sequence[Mode] = ("memory",),
    options: AskOptions = AskOptions(),
    on_answers: Callable[[int], object] = lambda answers: None,
) -> dict[str, list[JudgedAnswer]]:
    """Ask every question in every mode.

    Args:
        options: options of each question; the mode is replaced.
        on_answers: called with the number of answers in each batch.

    Returns:
        Mode → answers, in the order of the questions.

    Raises:
        ValueError: no question or no mode.
    """
    if not questions or not modes:
        raise ValueError(f"There are {len(questions)} questions and {len(modes)} modes; expected 1 or more of each.")
    answers: dict[str, list[JudgedAnswer]] = {}
    for mode in modes:
        judged_answers = answers[mode] = []
        for start in range(0, len(questions), _BATCH):
            block = questions[start : start + _BATCH]
            answered = rag.answer_all([asked.question for asked in block], replace(options, mode=mode))
            judged_answers += [judge(asked, answer) for asked, answer in zip(block, answered, strict=True)]
            on_answers(len(block))
    return answers


def answers_report(
    answers: Mapping[str, Sequence[JudgedAnswer]], *, command: str, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a JSON report: means with intervals of each mode and language, differences, and every answer.

    Args:
        about: models and memory.
    """
    first, *others = answers
    differences = compare_systems(
        [
            (mode, first, figure, _by_question(answers[mode], figure), _by_question(answers[first], figure))
            for mode in others
            for figure in FIGURES
        ]
    )
    languages = sorted({one.language for one in answers[first]})
    return {
        "kind": KIND,
        "version": VERSION,
        "about": dict(about),
        "questions": len(answers[first]),
        "modes": {
            mode: {
                "all": _means(judged_answers),
                **{
                    language: _means([one for one in judged_answers if one.language == language])
                    for language in languages
                },
            }
            for mode, judged_answers in answers.items()
        },
        "comparisons": [_comparison(one) for one in differences],
        "answers": [
            {
                "id": asked.asked.id,
                "question": asked.asked.question,
                "golden_answers": list(asked.asked.answers),
                "language": asked.language,
                "modes": {
                    mode: {
                        "answer": answered[place].text,
                        "quote": answered[place].quote,
                        "second_quote": answered[place].second_quote,
                        **answered[place].values,
                    }
                    for mode, answered in answers.items()
                },
            }
            for place, asked in enumerate(answers[first])
        ],
        "provenance": {
            "command": command,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": machine(),
            "packages": packages(),
        },
    }


def answers_table(report: Mapping[str, Any]) -> Table:
    """Return a table of each mode's means, over all questions and, where there are two languages, over each."""
    rows = []
    for mode, parts in report["modes"].items():
        for part, means in parts.items():
            if part != "all" and len(parts) == 2:
                continue
            cells = [_cell(means.get(figure)) for figure in (*FIGURES, FOUND)]
            rows.append([mode if part == "all" else f"  {part}", f"{means['questions']:,}", *cells])
    note = (
        "Means in per cent with their 95 % bootstrap intervals. EM and F1 as SQuAD has them, of words in English and of "
        "characters in Chinese; contains: a right answer stands in the answer; found: one stands in an entry that was read."
    )
    return Table(
        "How right answers are", note, ["mode", "questions", "EM, %", "F1, %", "contains, %", "found, %"], rows
    )


def comparisons_table(report: Mapping[str, Any]) -> Table:
    """Return a table of the differences between the first mode and the others, in points."""
    comparisons = report["comparisons"]
    rows = [{**item, "system": item["mode"], "measure": item["figure"]} for item in comparisons]
    return compared(rows, f"Compared with {comparisons[0]['against']}", "", per_cent=True)


def _by_question(answers: Sequence[JudgedAnswer], figure: str) -> dict[str, float]:
    return {one.asked.id: one.values[figure] for one in answers}


def _means(answers: Sequence[JudgedAnswer]) -> dict[str, Any]:
    means: dict[str, Any] = {"questions": len(answers)}
    for figure in (*FIGURES, FOUND):
        if values := [one.values[figure] for one in answers if figure in one.values]:
            means[figure] = dict(zip(("mean", "low", "high"), interval(values)))
    return means


def _cell(figures: Mapping[str, float] | None) -> str:
    return (
        "–"
        if figures is None
        else f"{figures['mean']:.1%} [{figures['low']:.1%}, {figures['high']:.1%}]".replace("%", "")
    )


def _comparison(found: SystemComparison) -> dict[str, Any]:
    return {
        "mode": found.system,
        "against": found.against,
        "figure": found.measure,
        **asdict(found.figures),
    }
