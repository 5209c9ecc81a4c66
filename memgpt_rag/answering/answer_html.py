"""An answer as HTML for notebooks: cited spans marked, entries below it to open; no script, every text escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgpt_rag.io.printable import printable_html

if TYPE_CHECKING:
    from memgpt_rag.answering.answer import Answer, Citation
    from memgpt_rag.answering.quote import Quote

# Backgrounds that both light and dark pages can be read on; entries beyond the last one share it.
_COLORS = ("#ffd54f80", "#4fc3f780", "#aed58180", "#f48fb180", "#ce93d880", "#b0bec580")


def answer_html(answer: Answer) -> str:
    """Return an answer as HTML: what leads first, then the entries with their share of attention, and the confidence."""
    written = f"<p>{_marked(answer)}</p>" if answer.text else ""
    quotes = [_quoted(one) for one in (answer.quote, answer.second_quote) if one is not None]
    parts = [*quotes, written] if answer.leads == "quote" else [written, *quotes]
    entries = "".join(_entry(number, citation) for number, citation in enumerate(answer.citations))
    notes = [answer.mode.replace("_", " ")]
    if answer.confidence is not None:
        notes.append(f"confidence {answer.confidence:.0%}" + ("" if answer.supported else ": probably not in memory"))
    if answer.nothing_found:
        notes.append("nothing was found in the memory for this question")
    notes.append(f"{answer.timings.complete:.2f} s")
    question = f"<p><b>{printable_html(answer.question)}</b></p>"
    return f"<div>{question}{''.join(parts)}{entries}<p><small>{' · '.join(notes)}</small></p></div>"


def _quoted(quote: Quote) -> str:
    words, place = printable_html(quote.text, lines=True), printable_html(quote.passage.place)
    return f'<blockquote style="white-space: pre-wrap">{words}<br><small>{place}</small></blockquote>'


def _marked(answer: Answer) -> str:
    """Return the answer's text, each cited span marked with the color and the number of its entry."""
    spans = sorted((start, end, number) for number, one in enumerate(answer.citations) for start, end in one.spans)
    parts, at = [], 0
    for start, end, number in spans:
        parts.append(printable_html(answer.text[at:start], lines=True))
        place = printable_html(answer.citations[number].passage.place)
        parts.append(
            f'<mark style="background: {_color(number)}; color: inherit" title="{place}">'
            f"{printable_html(answer.text[start:end], lines=True)}</mark><sup>{number + 1}</sup>"
        )
        at = end
    return "".join([*parts, printable_html(answer.text[at:], lines=True)])


def _entry(number: int, citation: Citation) -> str:
    passage = citation.passage
    title = f"{printable_html(passage.short_title)} — " if passage.title else ""
    share = "" if citation.share is None else f"{citation.share:.0%} of the attention to memory, "
    return (
        f'<details><summary><span style="background: {_color(number)}">[{number + 1}]</span> {title}'
        f"{printable_html(passage.place)} <small>({share}score {citation.score:.3f})</small></summary>"
        f'<p style="white-space: pre-wrap">{printable_html(passage.text, lines=True)}</p></details>'
    )


def _color(number: int) -> str:
    return _COLORS[min(number, len(_COLORS) - 1)]
