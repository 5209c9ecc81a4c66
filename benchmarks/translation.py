"""Does a memory of sentence pairs translate better than a prompt with the same pairs, and than the best hit itself?

    python benchmarks/translation.py --folder translation --texts 300      (goes on where it was stopped; hours on a busy core)

English to Chinese and back, on sentences of Tatoeba. Sentences that share a translation, in any number of steps, are one group; whole
groups are drawn to translate, so that no sentence of theirs is in the memory, and each has all translations of its group as
references. Compared are the language model with the nearest pairs in its memory, as `memgpt-rag translate` has it; the same pairs in the
prompt, nearest last; the language model with neither ("closed book"); and the best hit, which is the translation of the nearest
pair. The language model reads the same few worked pairs first in every case, and batches have the same size. chrF and BLEU of all texts
together are by sacrebleu; intervals are 95 %, by bootstrap, of paired differences of the scores of single sentences; seconds are compared
batch by batch, search included. Bands are thirds of the texts by the similarity of the best hit. Memory and rows lie in the folder.
Tables, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.kept_answers import KeptAnswers, Row
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.evaluation.metrics.translation_measures import corpus_scores
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.tasks.translation.decoding import write
from memgpt_rag.tasks.translation.pairs import LANGUAGES, SentencePair, create_memory, tidy
from memgpt_rag.tasks.translation.translator import Translator, most_tokens

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "tatoeba_cmn_eng" / "cmn.txt"
MODELS = ("memory", "prompt", "closed book")
ARMS = (*MODELS, "best hit")
_BATCH = 4
_BLOCK = 12  # texts that all arms translate before the next ones, so that a run can be reported before its end
_SHORTEST, _LONGEST = 4, 80  # English characters of a sentence to translate


@dataclass(frozen=True)
class Asked:
    """A text to translate, with its right translations."""

    text: str
    references: list[str]


def tatoeba() -> list[tuple[str, str]]:
    lines = DATA.read_text(encoding="utf-8").splitlines()
    return [(tidy(english), tidy(chinese)) for english, chinese in (line.split("\t")[:2] for line in lines)]


def groups(pairs: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Return pairs in groups, of which no two share a sentence."""
    import networkx as nx

    graph = nx.Graph(((0, english), (1, chinese)) for english, chinese in pairs)
    number = {node: place for place, nodes in enumerate(nx.connected_components(graph)) for node in nodes}
    found: dict[int, list[tuple[str, str]]] = {}
    for pair in pairs:
        found.setdefault(number[0, pair[0]], []).append(pair)
    return list(found.values())


def drawn(texts: int, entries: int) -> tuple[dict[str, list[Asked]], list[SentencePair]]:
    """Return the texts to translate into each language, and the pairs of the memory."""
    by_group = groups(tatoeba())
    random.Random(0).shuffle(by_group)
    fits = [group for group in by_group if _SHORTEST <= len(group[0][0]) <= _LONGEST]
    held = fits[:texts]
    into_chinese = [Asked(group[0][0], sorted({zh for en, zh in group if en == group[0][0]})) for group in held]
    into_english = [Asked(group[0][1], sorted({en for en, zh in group if zh == group[0][1]})) for group in held]
    out = {id(group) for group in fits[:_MOST_TEXTS]}  # the memory is the same for any number of texts
    rest = [pair for group in by_group if id(group) not in out for pair in group]
    pairs = [SentencePair(dict(zip(LANGUAGES, pair, strict=True)), "tatoeba") for pair in rest[:entries]]
    return {"zh": into_chinese, "en": into_english}, pairs


_MOST_TEXTS = 300


class Arms:
    """The systems, each of which translates a batch of texts.

    Args:
        folder: of the memory.
        k: pairs of each text.
    """

    def __init__(self, folder: Path, pairs: Sequence[SentencePair], k: int, int8: bool):
        self._folder, self._pairs, self._k, self._int8 = folder, pairs, k, int8

    @cached_property
    def translator(self) -> Translator:
        """The memory and the models, which are not needed where all rows are kept."""
        encoder = load_encoder()
        memory = (
            Memory.open(self._folder) if self._folder.exists() else create_memory(self._folder, self._pairs, encoder)
        )
        model = MemoryDecoder.from_pretrained(reader=None, int8_weights=self._int8)
        return Translator(memory, encoder, model, k=self._k)

    def rows(self, arm: str, texts: Sequence[str], target: str) -> Iterator[Row]:
        translator, began = self.translator, time.perf_counter()
        if arm == "memory":
            done = translator.translate(texts, target)
            assert not any(one.is_exact for one in done), "a held-out sentence is in the memory"
            rows: list[Row] = [
                {
                    "said": one.translation,
                    "shares": [pair.share for pair in one.pairs],
                    "hit": one.pairs[0].translation,
                    "score": one.pairs[0].found.score,
                }
                for one in done
            ]
        else:
            found = translator.nearest(texts, target, self._k) if arm == "prompt" else [[] for _ in texts]
            rows = [{"said": said} for said in self._prompted(texts, found, target)]
        seconds = (time.perf_counter() - began) / len(texts)
        yield from ({**row, "seconds": seconds} for row in rows)

    def _prompted(self, texts: Sequence[str], found: Sequence[Sequence[Retrieved]], target: str) -> list[str]:
        translator = self.translator
        asked = [translator.text_ids(text, target) for text in texts]
        pasted = [[token for one in reversed(near) for token in translator.pair_ids(one)] for near in found]
        rows = [[*before, *text] for before, text in zip(pasted, asked, strict=True)]
        nothing = translator.model.make_memory([[] for _ in rows])
        return write(translator.model, rows, nothing, most_tokens(asked))


def measured(asked: Sequence[Asked], rows: dict[str, list[Row]], target: str) -> dict[str, Any]:
    """Figures of all arms on some texts: scores, differences of memory to the others, and seconds."""
    references = [one.references for one in asked]
    scores = {arm: corpus_scores([row["said"] for row in rows[arm]], references, target) for arm in ARMS}
    arms: dict[str, Any] = {
        arm: {
            **{name: round(whole, 2) for name, (whole, _) in scores[arm].items()},
            "seconds": round(statistics.median(row["seconds"] for row in rows[arm]), 3) if arm in MODELS else None,
        }
        for arm in ARMS
    }
    for other in ARMS[1:]:
        arms["memory"][f"against {other}"] = {
            name: _rounded(interval([mine - theirs for mine, theirs in zip(each, scores[other][name][1], strict=True)]))
            for name, (_, each) in scores["memory"].items()
        }
    ratios = [mine["seconds"] / theirs["seconds"] for mine, theirs in zip(rows["memory"], rows["prompt"], strict=True)]
    arms["memory"]["seconds of prompt"] = round(statistics.median(ratios), 3)
    return {"texts": len(asked), "arms": arms}


def _rounded(numbers: Sequence[float]) -> list[float]:
    return [round(number, 2) for number in numbers]


def bands(rows: Sequence[Row]) -> dict[str, list[int]]:
    """Return the places of texts in three bands of equal size, by the similarity of the best hit."""
    order = sorted(range(len(rows)), key=lambda place: rows[place]["score"])
    cuts = [len(order) * part // 3 for part in range(4)]
    parts = [order[low:high] for low, high in pairwise(cuts)]
    return {
        f"{name} ({rows[part[0]]['score']:.3f} to {rows[part[-1]]['score']:.3f})": sorted(part)
        for name, part in zip(("far", "middle", "near"), parts, strict=True)
    }


def print_table(name: str, result: dict[str, Any]) -> None:
    print(f"\n{name}: {result['texts']} texts")
    print(f"{'':<14}{'chrF':>6}{'BLEU':>7}{'s a text':>10}   memory against it: chrF, BLEU of a sentence (95 %)")
    for arm, one in result["arms"].items():
        against = result["arms"]["memory"].get(f"against {arm}", {})
        differences = "  ".join("{:+.1f} [{:+.1f}, {:+.1f}]".format(*numbers) for numbers in against.values())
        seconds = "" if one["seconds"] is None else f"{one['seconds']:.2f}"
        print(f"{arm:<14}{one['chrF']:>6.1f}{one['BLEU']:>7.1f}{seconds:>10}   {differences}")
    print(f"memory takes {result['arms']['memory']['seconds of prompt']:.2f} of the prompt's seconds", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="of the memory and of the rows that are kept")
    parser.add_argument("--texts", type=int, default=_MOST_TEXTS, help=f"of each direction, at most {_MOST_TEXTS}")
    parser.add_argument("--pairs", type=int, default=6000, help="in the memory")
    parser.add_argument("-k", type=int, default=4, help="pairs of each text")
    parser.add_argument("--int8", action="store_true", help="weights in int8, for all arms")
    arguments = parser.parse_args()
    quiet_libraries()
    asked, pairs = drawn(min(arguments.texts, _MOST_TEXTS), arguments.pairs)
    kept = KeptAnswers(arguments.folder / "rows.jsonl")
    arms = Arms(arguments.folder / "memory", pairs, arguments.k, arguments.int8)
    rows: dict[str, dict[str, list[Row]]] = {target: {arm: [] for arm in MODELS} for target in asked}
    for start in range(0, arguments.texts, _BLOCK):
        for target, texts in asked.items():
            for arm in MODELS:
                items = [
                    (f"{target}|{arm}|{place}", texts[place].text)
                    for place in range(start, min(start + _BLOCK, len(texts)))
                ]
                rows[target][arm] += kept.fill(
                    items,
                    lambda batch, arm=arm, target=target: arms.rows(arm, batch, target),
                    f"{target}: {arm}",
                    _BATCH,
                )
    results: dict[str, Any] = {}
    for target, texts in asked.items():
        rows[target]["best hit"] = [{"said": row["hit"], "score": row["score"]} for row in rows[target]["memory"]]
        results[target] = {"all": measured(texts, rows[target], target)}
        for name, places in bands(rows[target]["best hit"]).items():
            part = {arm: [per_arm[place] for place in places] for arm, per_arm in rows[target].items()}
            results[target][name] = measured([texts[place] for place in places], part, target)
        for name, result in results[target].items():
            print_table(f"into {target}, {name}", result)
    settings = {"pairs": arguments.pairs, "k": arguments.k, "int8": arguments.int8}
    print(json.dumps({"benchmark": "translation", **settings, "into": results}, ensure_ascii=False))


if __name__ == "__main__":
    main()
