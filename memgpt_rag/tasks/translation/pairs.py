"""Sentence pairs, read from files, and the memory whose entries they are.

A pair becomes two entries, one for each direction: the text of an entry, and so its key, is the side to translate from; the
other side is metadata. One memory translates both ways, and a search finds entries of one direction only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memgpt_rag.choices import ColumnType
from memgpt_rag.errors import MismatchError, SourceError
from memgpt_rag.evaluation.data.text_source import DELIMITERS, json_lines, place, table_rows, text_field
from memgpt_rag.io.printable import shortened
from memgpt_rag.memory import Memory
from memgpt_rag.memory.memory import PassageEncoder
from memgpt_rag.passage import Passage

LANGUAGES = ("en", "zh")
# Metadata columns of an entry: the language of its text, that of its translation, and the translation.
LANGUAGE, TARGET, TRANSLATION = "language", "target_language", "translation"
MOST_SIDE = 1_000  # characters of one side of a pair
_TABLE_ADVICE = "Name the languages of its columns with --languages."


@dataclass(frozen=True)
class SentencePair:
    """A sentence in two languages, and where it stands.

    Attributes:
        texts: language → the sentence, in the order of the languages that were asked for.
        source: name of the file.
        line: number of its line there, or of the line at which its unit begins; 0 for none.
    """

    texts: Mapping[str, str]
    source: str = "pair"
    line: int = 0

    @property
    def directions(self) -> tuple[tuple[str, str, str, str], tuple[str, str, str, str]]:
        """A language, the sentence in it, the other language and its sentence; once from each of them."""
        (one, first), (other, second) = self.texts.items()
        return (one, first, other, second), (other, second, one, first)


def read_pairs(path: str | Path, languages: Sequence[str] = LANGUAGES) -> list[SentencePair]:
    """Read sentence pairs: TMX, or comma- or tab-separated values under a line of names, by the file's name, else JSON Lines.

    Args:
        languages: two; the names of the columns or fields, and the languages of TMX, where "zh" stands for "zh-CN", too.

    Raises:
        ValueError: these are not two languages.
        SourceError: the file cannot be read or holds no pair, or one of them lacks a side or has a longer one than `MOST_SIDE`.
    """
    path = Path(path)
    if len(languages) != 2 or not all(languages) or languages[0].lower() == languages[1].lower():
        raise ValueError(f"The languages are {', '.join(languages) or 'none'}; expected two, such as en and zh.")
    if path.suffix.lower() == ".tmx":
        from memgpt_rag.tasks.translation.tmx import read_tmx

        records = read_tmx(path, languages)
    elif path.suffix.lower() in DELIMITERS:
        records = table_rows(path, languages, _TABLE_ADVICE)
    else:
        records = _json_records(path, languages)
    pairs = [_pair(record, path, line, languages) for line, record in records]
    if not pairs:
        raise SourceError(f"{path.name} holds no pair; expected {_expected(languages)}.")
    return pairs


def distinct(pairs: Sequence[SentencePair]) -> list[SentencePair]:
    """Return pairs without those whose both sides an earlier one has."""
    first: dict[tuple[tuple[str, str], ...], SentencePair] = {}
    for pair in pairs:
        first.setdefault(tuple(pair.texts.items()), pair)
    return list(first.values())


def create_memory(
    folder: str | Path, pairs: Sequence[SentencePair], encoder: PassageEncoder, *, replace: bool = False
) -> Memory:
    """Embed pairs into a new memory, two entries each; everything else as `Memory.create`."""
    columns: dict[str, ColumnType] = dict.fromkeys((LANGUAGE, TARGET, TRANSLATION), "string")
    return Memory.create(folder, pair_passages(pairs), encoder, metadata=columns, replace=replace)


def pair_passages(pairs: Sequence[SentencePair]) -> Iterator[Passage]:
    """Yield pairs as entries: each one as it is translated from its first language, then from the second."""
    for number, pair in enumerate(pairs, 1):
        for language, text, target, translation in pair.directions:
            known = {LANGUAGE: language, TARGET: target, TRANSLATION: translation}
            unit, line = ("line", pair.line) if pair.line else ("pair", number)
            yield Passage(
                f"{pair.source}#{number}-{language}", text, "", pair.source, "", unit, line, line, 0, len(text), known
            )


def require_pairs(memory: Memory) -> None:
    """Raises MismatchError: the entries of a memory are no sentence pairs."""
    if missing := [name for name in (LANGUAGE, TARGET, TRANSLATION) if memory.manifest.metadata.get(name) != "string"]:
        raise MismatchError(
            f"{memory.path} has no column {missing[0]!r} of words, so its entries are no sentence pairs; build a memory of some with: "
            "memgpt-rag translate build"
        )


def tidy(text: str) -> str:
    """Return a sentence as the memory holds it: in one line, without white space around it."""
    return " ".join(text.split())


def _pair(record: Mapping[str, Any], path: Path, line: int, languages: Sequence[str]) -> SentencePair:
    where, texts = place(path, line), {}
    for language in languages:
        texts[language] = tidy(text_field(dict(record), language, where, _expected(languages)))
        if len(texts[language]) > MOST_SIDE:
            raise SourceError(
                f"{where}: its {language} has {len(texts[language]):,} characters, {shortened(texts[language], 40)!r}; expected at "
                f"most {MOST_SIDE:,}: divide it into sentences."
            )
    return SentencePair(texts, path.name, line)


def _json_records(path: Path, languages: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield objects with a field for each language; they may lie in a field "translation", as in sets of Hugging Face."""
    for where, record in json_lines(path, f"an object with {_expected(languages)}"):
        inner = record.get("translation")
        yield int(where.rpartition(" ")[2]), inner if isinstance(inner, dict) else record


def _expected(languages: Sequence[str]) -> str:
    return f"a sentence in {languages[0]} and one in {languages[1]}"
