"""What each part of a reader adds, and what is lost because entries are read apart.

    python benchmarks/reader_parts.py            (an hour on one core)

All modes see the same four passages: of HotpotQA and MuSiQue those that a question needs, filled up by hybrid search; of how-to questions the
entry with the answer, filled up likewise; of XQuAD those that hybrid search finds, where one of them holds the answer.

* untrained; numbers, delimiters, adapter: one part of the reader that ships, alone; delimiters + adapter; all: the whole reader;
* joined: the whole reader, with the four passages joined to one entry, so that they see each other;
* in front: the whole reader, with the states of each passage computed behind its nearest neighbor in the memory, which is not read itself:
  that can be done when a memory is built, and costs nothing when a question comes;
* prompt: untrained, with the passages in the prompt; trained prompt: with the adapter that was trained for it on the same questions.

NLL is that of the first gold answer per token, "exact" the share of answers of which greedy decoding would write every token. "gap" is the share
of the gap that a mode closes: (NLL of untrained − its own) / (NLL of untrained − that of the trained prompt). Intervals of NLL against untrained
are 95 %, paired per question, by bootstrap. Prints a table a set, and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import PROMPT_READERS, STATES_BYTES, K, gold_places
from benchmarks.answers import REPORTING, build
from benchmarks.graph_sets import hotpot, musique
from benchmarks.how_to_set import build_manuals, read_questions
from benchmarks.kept_answers import KeptAnswers
from benchmarks.question_sets import DATA, SETS, read_set, sample
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory, add_lexical_index
from memgpt_rag.model import DEFAULT_GENERATOR, AttendedMemory, MemoryDecoder
from memgpt_rag.model.attention import MemoryValues
from memgpt_rag.model.reader import SHIPPED
from memgpt_rag.model.reader_files import FILES, READER
from memgpt_rag.model.states import EntryStates
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.retriever import Retrieved, Retriever, Search
from memgpt_rag.training.answer_likelihood import token_losses

PARTS: dict[str, tuple[str, ...]] = {
    "numbers": ("presets",),
    "delimiters": ("delimiters",),
    "adapter": ("adapter",),
    "delimiters + adapter": ("delimiters", "adapter"),
    "all": ("presets", "delimiters", "adapter"),
}
MODES = ("untrained", *PARTS, "joined", "in front", "prompt", "trained prompt")
NAMES = ("xquad-en", "xquad-zh", "hotpotqa", "musique", "how_to")


@dataclass(frozen=True)
class Asked:
    """A question with its answer and the passages that are read, best first, each with its nearest neighbor in the memory."""

    key: str
    question: str
    answer: str
    entries: tuple[Retrieved, ...]
    neighbors: tuple[Passage, ...]


class Sets:
    """The sets, whose memories are built once."""

    def __init__(self, folder: Path, data: Path, count: int):
        self._folder, self._data, self._count, self._encoder = folder, data, count, load_encoder()

    def read(self, name: str) -> list[Asked]:
        if name == "how_to":
            return self._how_to()
        return self._multi_hop(name) if name in ("hotpotqa", "musique") else self._found(name)

    def _found(self, name: str) -> list[Asked]:
        records, questions = read_set(self._data, name, 100)
        memory = build(name, self._folder, self._encoder, records, words=True)
        retriever = Retriever(memory, self._encoder, Search("hybrid"))
        asked: list[Asked] = []
        for question in sample(questions, REPORTING, 2 * self._count):
            found = retriever.retrieve([question.text], K)[0]
            if gold_places(question, found) and len(asked) < self._count:
                asked.append(self._asked(memory, question.text, question.text, question.answers[0], found))
        return asked

    def _multi_hop(self, name: str) -> list[Asked]:
        passages, questions = (hotpot if name == "hotpotqa" else musique)(self._data)
        if not (self._folder / name / "manifest.json").exists():
            add_lexical_index(Memory.create(self._folder / name, passages, self._encoder))
        memory = Memory.open(self._folder / name)
        rows = {passage.id: row for row, passage in zip(memory.rows(), memory.passages(memory.rows()), strict=True)}
        retriever = Retriever(memory, self._encoder, Search("hybrid"))
        return [
            self._asked(
                memory,
                question.key,
                question.text,
                question.answers[0],
                self._filled(memory, retriever, question.text, [rows[one] for one in question.supporting]),
            )
            for question in questions[: self._count]
        ]

    def _how_to(self) -> list[Asked]:
        memory = build_manuals(self._folder / "how_to", self._data, EncoderConfig())
        rows = memory.rows()
        passages = dict(zip(rows, memory.passages(rows), strict=True))
        retriever, asked = Retriever(memory, self._encoder, Search("hybrid")), []
        for one in read_questions()[: self._count]:
            needed = [row for row, passage in passages.items() if one.is_named(passage)][:1]
            found = self._filled(memory, retriever, one.question, needed)
            asked.append(self._asked(memory, one.name, one.question, "\n".join(one.reference), found))
        return asked

    def _filled(self, memory: Memory, retriever: Retriever, question: str, needed: Sequence[int]) -> list[Retrieved]:
        """The passages that are needed and the best of the others, in the order of the search, with the same score for all."""
        found = [entry.row for entry in retriever.retrieve([question], 100)[0]]
        rows = [*needed, *(row for row in found if row not in needed)][:K]
        rows.sort(key=lambda row: found.index(row) if row in found else len(found))
        return [Retrieved(row, passage, 0.0, 0.0) for row, passage in zip(rows, memory.passages(rows), strict=True)]

    def _asked(self, memory: Memory, key: str, question: str, answer: str, entries: Sequence[Retrieved]) -> Asked:
        keys = memory.keys([entry.row for entry in entries])
        near = memory.search(keys, 2).rows.tolist()
        rows = [next(one for one in own if one != entry.row) for own, entry in zip(near, entries, strict=True)]
        return Asked(key, question, answer, tuple(entries), tuple(memory.passages(rows)))


def reader_with(parts: Sequence[str], folder: Path) -> Path:
    """Write a reader that has some parts of the one that ships, and return its folder."""
    folder.mkdir()
    shipped = SHIPPED / DEFAULT_GENERATOR
    for name in FILES:
        if (shipped / name).exists():
            shutil.copyfile(shipped / name, folder / name)
    fields = json.loads((folder / READER).read_text(encoding="utf-8"))
    fields["parts"] = [part for part in parts if part != "presets"]
    if "presets" not in parts:
        fields["presets"] = {}
    (folder / READER).write_text(json.dumps(fields), encoding="utf-8")
    return folder


def joined(entries: Sequence[Retrieved]) -> Retrieved:
    """One entry of several, the best one last, as a prompt has them."""
    text = "\n\n".join(entry.passage.titled_text for entry in reversed(entries))
    first = entries[0]
    return replace(first, passage=replace(first.passage, title="", text=text))


def in_front(model: MemoryDecoder, asked: Asked) -> AttendedMemory:
    """The memory of a question whose entries were read behind their neighbors; a neighbor's own states are left out."""
    prompt, states, shifts = model.prompt, [], []
    for entry, neighbor in zip(asked.entries, asked.neighbors, strict=True):
        before, own = prompt.entry_ids(neighbor), prompt.entry_ids(entry.passage)
        (whole,) = model.entry_states([[*before, *own]])
        keys = {layer: one[:, len(before) :] for layer, one in whole.keys.items()}
        values = {
            layer: MemoryValues(
                one.codes[:, len(before) :], None if one.scales is None else one.scales[:, len(before) :]
            )
            for layer, one in whole.values.items()
        }
        states.append(EntryStates(keys, values))
        shifts += [len(before)] * states[-1].num_tokens
    memory = model.memory_from_states([states], [[entry.normalized_score for entry in asked.entries]])
    shift = torch.tensor([shifts])
    return replace(memory, position=memory.position + shift, gap=memory.gap + max(shifts))


@torch.inference_mode()
def figures(model: MemoryDecoder, mode: str, asked: Asked) -> dict[str, float]:
    """NLL per token of the answer, and whether greedy decoding would write it."""
    prompt, entries = model.prompt, list(asked.entries)
    words, end = prompt.answer_ids(asked.question, asked.answer)
    pasted = [entry.passage for entry in entries] if "prompt" in mode else []
    ids, mask = model.pad_left([[*prompt.question_row(asked.question, pasted), *words, *end]])
    if pasted:
        memory = model.make_memory([[]])
    elif mode == "in front":
        memory = in_front(model, asked)
    else:
        read = [joined(entries)] if mode == "joined" else entries
        memory = model.make_memory(
            [[prompt.entry_ids(entry.passage) for entry in read]], [[entry.normalized_score for entry in read]]
        )
    count = len(words) + len(end)
    kept = torch.arange(ids.shape[1] - count - 1, ids.shape[1] - 1)
    logits = model(ids, mask, memory=memory, logits_to_keep=kept).logits[0].float()
    losses, _ = token_losses([logits], [(words, end)])
    exact = bool((logits[: len(words)].argmax(-1) == torch.tensor(words)).all())
    return {"nll": float(losses[0]), "exact": float(exact)}


def measured(model: MemoryDecoder, mode: str, part: Sequence[Asked]) -> list[dict[str, float]]:
    return [figures(model, mode, one) for one in part]


def load(mode: str, folder: Path) -> MemoryDecoder:
    readers: dict[str, Any] = {"untrained": None, "prompt": None, "trained prompt": PROMPT_READERS / DEFAULT_GENERATOR}
    reader = reader_with(PARTS[mode], folder / mode) if mode in PARTS else readers.get(mode, "auto")
    model = MemoryDecoder.from_pretrained(DEFAULT_GENERATOR, reader=reader, states_cache_bytes=STATES_BYTES // 4)
    model.prefix_ids = model.prompt.prefix_ids  # worked examples, where no reader was trained to do without
    return model


def compared(name: str, rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Print and return the figures of each mode, and how they differ from those of the untrained decoder."""
    nll = {mode: [row["nll"] for row in found] for mode, found in rows.items()}
    means, result = {mode: statistics.fmean(one) for mode, one in nll.items()}, {}
    print(
        f"\n{name}: {len(next(iter(nll.values())))} questions\n{'':<24}{'NLL':>6}{'exact':>8}{'gap':>8}   against untrained"
    )
    for mode, found in rows.items():
        change = interval([one - other for one, other in zip(nll[mode], nll["untrained"], strict=True)])
        gap = (means["untrained"] - means[mode]) / (means["untrained"] - means["trained prompt"])
        exact = statistics.fmean(row["exact"] for row in found)
        result[mode] = {
            "nll": round(means[mode], 3),
            "exact": round(exact, 3),
            "gap": round(gap, 3),
            "against untrained": [round(one, 3) for one in change],
        }
        print(
            f"{mode:<24}{means[mode]:>6.2f}{exact:>8.0%}{gap:>8.0%}   {change[0]:+.2f} [{change[1]:+.2f}, {change[2]:+.2f}]",
            flush=True,
        )
    return {"questions": len(next(iter(nll.values()))), "modes": result}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(NAMES), choices=[*SETS, *NAMES[2:]])
    parser.add_argument("--questions", type=int, default=200, help="questions a set, at most")
    parser.add_argument("--answers", type=Path, help="file that keeps the figures; a run goes on with what is there")
    parser.add_argument("--memories", type=Path, help="folder to keep memories in (a temporary one)")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    kept = KeptAnswers(arguments.answers)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.memories or Path(temporary) / "memories"
        folder.mkdir(parents=True, exist_ok=True)
        sets = Sets(folder, arguments.data, arguments.questions)
        asked = {name: sets.read(name) for name in arguments.sets}
        rows: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in asked}
        for mode in MODES:
            model = load(mode, Path(temporary))
            for name, questions in asked.items():
                items = [(f"{name}: {mode}: {one.key}", one) for one in questions]
                rows[name][mode] = kept.fill(items, partial(measured, model, mode), f"{name}, {mode}", 1)
    results = {name: compared(name, found) for name, found in rows.items()}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
