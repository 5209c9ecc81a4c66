"""Puts triples into words: a sentence in each language that has names for all of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memgpt_rag.model.prompt import detect_language
from memgpt_rag.tasks.graph.knowledge import Knowledge, Triple
from memgpt_rag.tasks.graph.rdf import SUBCLASS, TYPE

# Names of the two properties of RDF that graphs use without naming them.
_USUAL = {TYPE: {"en": "is a", "zh": "是"}, SUBCLASS: {"en": "is a kind of", "zh": "属于"}}
_VERBS = {"is", "are", "was", "were", "has", "have", "had"}
_PREPOSITIONS = {"of", "in", "on", "at", "by", "to", "from", "with", "for", "as", "into", "near", "after", "before"}
_CHINESE_VERBS = ("是", "有", "位于", "属于", "毗邻", "包括", "包含", "来自", "出生于", "毕业于")


@dataclass(frozen=True)
class Worded:
    """A triple in one language.

    Attributes:
        subject, property, object: their names.
        text: the sentence.
        language: "" where names have none, or not the same.
    """

    subject: str
    property: str
    object: str
    text: str
    language: str


def worded(triple: Triple, knowledge: Knowledge) -> Iterator[Worded]:
    """Yield a triple in words, once in every language in which its parts have names.

    A part whose name has no language, such as a number, fits every language; the end of an IRI counts as English. Where parts
    have no language in common, there is one sentence, with the names that there are.
    """
    languages: set[str] | None = None
    for known in _languages(triple, knowledge):
        languages = known if languages is None else languages & known
    for language in sorted(languages or {""}):
        subject, object = knowledge.name(triple.subject, language), " ".join(triple.object.split())
        if not triple.is_literal:
            object = knowledge.name(triple.object, language)
        property = _USUAL.get(triple.property, {}).get(language) or knowledge.name(triple.property, language)
        if triple.property in _USUAL and not language:
            property = _USUAL[triple.property]["en"]
        written = language or detect_language(f"{subject}{property}")
        sentence = (_chinese if written == "zh" else _english)(subject, property, object, triple.negated)
        yield Worded(subject, property, object, sentence, language)


def _languages(triple: Triple, knowledge: Knowledge) -> Iterator[set[str]]:
    """The languages of each part that has any."""
    ids = [triple.subject, triple.property, *(() if triple.is_literal else (triple.object,))]
    for id in ids:
        names = knowledge.names.get(id) or _USUAL.get(id) or {"en": ""}
        if "" not in names:
            yield set(names)
    if triple.is_literal and triple.language:
        yield {triple.language}


def _english(subject: str, property: str, object: str, negated: bool) -> str:
    words = property.lower().split()
    if words[0] in _VERBS:
        verb, _, rest = property.partition(" ")
        said = f"{verb}{' not' if negated else ''}{' ' + rest if rest else ''}"
        return f"{subject} {said} {object}{_end(object)}"
    if len(words) > 1 and words[-1] in _PREPOSITIONS:
        return f"{subject} {'not ' if negated else ''}{property} {object}{_end(object)}"
    return f"The {property} of {subject} is {'not ' if negated else ''}{object}{_end(object)}"


def _chinese(subject: str, property: str, object: str, negated: bool) -> str:
    if property.startswith(_CHINESE_VERBS):
        return f"{subject}{'不' if negated else ''}{property}{object}。"
    return f"{subject}的{property}{'不' if negated else ''}是{object}。"


def _end(text: str) -> str:
    return "" if text.endswith((".", "!", "?")) else "."
