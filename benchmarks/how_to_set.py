"""Sixty questions about four Debian manuals, in English and Chinese: what a usable answer says, and where it stands.

    python benchmarks/how_to_set.py --memories FOLDER        checks that every reference answer stands in the entry named

The questions lie in benchmarks/how_to/questions.jsonl; the manuals do not come with the project, see benchmarks/how_to/README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.question_sets import DATA
from indexing.jobs.build import BuildOptions, build
from memgpt_rag.answering.answer_match import holds_answer, normalize_answer
from memgpt_rag.choices import PRECISIONS
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.memory import Memory
from memgpt_rag.model import DEFAULT_GENERATOR
from memgpt_rag.passage import Passage

QUESTIONS = Path(__file__).with_name("how_to") / "questions.jsonl"
MANUALS = "debian_docs"


@dataclass(frozen=True)
class HowTo:
    """A question about a manual.

    Attributes:
        name: language and number, such as "en-07".
        reference: the answer as it stands in the manual, a command or sentence a line.
        file: the manual's file.
        record: page of the handbook; empty for the others.
        find: words that stand in the entry with the answer, and in no other entry of the file.
        facts: what a usable answer has to say, each in one of several ways.
    """

    name: str
    question: str
    reference: tuple[str, ...]
    file: str
    record: str
    find: str
    facts: tuple[tuple[str, ...], ...]

    @property
    def language(self) -> str:
        """Return "en" or "zh"."""
        return self.name[:2]

    def is_usable(self, text: str) -> bool:
        """Whether a text says all that a usable answer has to say, letter case, width and punctuation aside."""
        return all(any(holds_answer(text, way) for way in fact) for fact in self.facts)

    def is_named(self, passage: Passage) -> bool:
        """Whether a passage is the entry that the question names."""
        return (
            Path(passage.source).name == self.file
            and self.record in ("", passage.record)
            and squeezed(self.find) in squeezed(passage.titled_text)
        )

    def is_held(self, passage: Passage) -> bool:
        """Whether a passage holds the answer: the entry named, or one with the whole reference, in either language."""
        return self.is_named(passage) or all(squeezed(line) in squeezed(passage.titled_text) for line in self.reference)


def squeezed(text: str) -> str:
    """A text as answers are compared, without white space: manuals wrap their lines in the middle of words."""
    return normalize_answer(text).replace(" ", "")


def read_questions(file: Path = QUESTIONS) -> list[HowTo]:
    """Read the questions, in order."""
    questions = []
    for line in file.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        facts = tuple(tuple(ways) for ways in one["facts"])
        questions.append(
            HowTo(one["id"], one["question"], tuple(one["reference"]), one["file"], one["record"], one["find"], facts)
        )
    return questions


def build_manuals(folder: Path, data: Path, encoder: EncoderConfig, files: Sequence[str] = ()) -> Memory:
    """Build one memory of all manuals, with a lexical index; a build that was stopped goes on, and one that is there is opened.

    Args:
        files: only these, for a smaller memory.
    """
    sources = [data / MANUALS / name for name in files] or [data / MANUALS]
    build(
        sources,
        folder,
        BuildOptions(encoder=encoder, generator=DEFAULT_GENERATOR, lexical=True, exclude=("README.md", "*.copyright")),
        progress=True,
    )
    return Memory.open(folder)


def faults(questions: Sequence[HowTo], memory: Memory) -> list[str]:
    """What is wrong with the questions, one sentence a fault; questions about files that the memory lacks are left out."""
    passages = memory.passages(memory.rows())
    files = {Path(passage.source).name for passage in passages}
    found = []
    for question in questions:
        if question.file not in files:
            continue
        named = [passage for passage in passages if question.is_named(passage)]
        if not named:
            found.append(f"{question.name}: no entry of {question.file} holds {question.find!r}.")
        elif not any(
            all(squeezed(line) in squeezed(passage.titled_text) for line in question.reference) for passage in named
        ):
            found.append(f"{question.name}: the reference does not stand in the entry named, {named[0].place}.")
        if not question.is_usable("\n".join(question.reference)):
            found.append(f"{question.name}: the reference does not say all key facts.")
        if question.is_usable(question.question):
            found.append(f"{question.name}: the question says all key facts itself.")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=Path, help="folder to keep the memory in for the next time")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS, help="numbers that passages are embedded in")
    parser.add_argument("--files", nargs="+", default=[], help="only these manuals")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.memories or Path(scratch)) / "how_to"
        memory = build_manuals(folder, arguments.data, EncoderConfig(precision=arguments.precision), arguments.files)
        found = faults(read_questions(), memory)
    print("\n".join(found) or "Every reference answer stands in the entry named.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
