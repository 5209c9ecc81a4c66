"""Extracts triples from texts with the language model, whose words a grammar constrains (llguidance).

Each line is "subject|property|object". Subject and object are runs of words of the text itself, so that no entity is invented;
the property is a few words in small letters, or Chinese characters. What is not true of the text is not ruled out: a small model
takes many wrong triples. The grammar also bounds their number and length.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor

from memgpt_rag.errors import MissingPackageError, ModelError, first_line
from memgpt_rag.limits import MOST_ENTRY_TOKENS
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.prompt import Prompt, detect_language
from memgpt_rag.passage import Passage
from memgpt_rag.tasks.graph.knowledge import normalized
from memgpt_rag.tasks.graph.tables import COLUMNS

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MOST_FACTS = 8  # of a text
_MOST_TOKENS = 256
_HEADING = {"en": "Facts:", "zh": "事实："}
_EXAMPLES = {
    "en": (
        ("Marie Curie was born in Warsaw in 1867. She won the Nobel Prize in Physics together with her husband Pierre.",
         ("Marie Curie|born in|Warsaw", "Marie Curie|year of birth|1867", "Marie Curie|won|Nobel Prize in Physics",
          "Marie Curie|husband|Pierre")),
        ("The Amazon is the largest river of South America and flows into the Atlantic Ocean.",
         ("Amazon|largest river of|South America", "Amazon|flows into|Atlantic Ocean")),
    ),
    "zh": (
        ("居里夫人1867年出生于华沙，她与丈夫皮埃尔一起获得诺贝尔物理学奖。",
         ("居里夫人|出生于|华沙", "居里夫人|出生年份|1867年", "居里夫人|获得|诺贝尔物理学奖", "居里夫人|丈夫|皮埃尔")),
        ("亚马逊河是南美洲最大的河流，流入大西洋。", ("亚马逊河|位于|南美洲", "亚马逊河|流入|大西洋")),
    ),
}  # fmt: skip


class TripleExtractor:
    """Extracts triples from passages, with the language model as it was pretrained.

    Raises:
        MissingPackageError: llguidance is not installed.
        ModelError: the model's tokenizer cannot be constrained.
    """

    def __init__(self, model: MemoryDecoder, *, most_facts: int = MOST_FACTS):
        self._model, self._most = model.without_reader(), most_facts
        self._tokenizer = _constrainable(model.tokenizer)

    def extract(self, passage: Passage) -> Iterator[dict[str, object]]:
        """Yield the triples of a passage as records of JSON Lines, with its place; none twice, and none to itself."""
        known = set()
        for parts in self._facts(passage):
            subject, property, object = map(normalized, parts)
            if (subject, property, object) not in known and subject != object:
                known.add((subject, property, object))
                yield {**dict(zip(COLUMNS, parts)), "source": passage.source, "line": passage.first}

    def _facts(self, passage: Passage) -> Iterator[tuple[str, str, str]]:
        model, prompt = self._model, Prompt(self._model.tokenizer)
        language = detect_language(passage.text)
        ids = torch.tensor([self._prompt_ids(prompt, passage, language)])
        grammar = _Grammar(self._matcher(passage.text, language), model.tokenizer.eos_token_id)
        with model.reading_with(model.writer):
            sequence = model.generate(
                ids, torch.ones_like(ids), max_new_tokens=_MOST_TOKENS, do_sample=False, logits_processor=[grammar],
                pad_token_id=model.pad_token_id,
            )  # fmt: skip
        lines = model.tokenizer.decode(sequence[0, ids.shape[1] :], skip_special_tokens=True).split("\n")
        for line in lines[: self._most]:  # the last one may be cut short
            parts = [part.strip() for part in line.split("|")]
            if len(parts) == 3 and all(parts):
                yield parts[0], parts[1], parts[2]

    def _prompt_ids(self, prompt: Prompt, passage: Passage, language: str) -> list[int]:
        heading = _HEADING[language]
        examples = "".join(f"{text}\n{heading}\n{chr(10).join(facts)}\n\n" for text, facts in _EXAMPLES[language])
        begin = [] if prompt.tokenizer.bos_token_id is None else [prompt.tokenizer.bos_token_id]
        text = prompt.token_ids(passage.text)[: MOST_ENTRY_TOKENS // 4]
        return [*begin, *prompt.token_ids(examples), *text, *prompt.token_ids(f"\n{heading}\n")]

    def _matcher(self, text: str, language: str) -> LLMatcher:
        """The automaton of the lines that a text allows."""
        from llguidance import LLMatcher

        property = "[a-z]{1,15}( [a-z]{1,15}){0,3}" if language == "en" else "[\\u4e00-\\u9fff]{1,8}"
        # Runs of words; in Chinese, which does not mark words, of characters.
        unit = "substring_words" if language == "en" else "substring_chars"
        grammar = "\n".join(
            [
                f"start: line{{1,{self._most}}}",
                'line: TERM "|" PROPERTY "|" TERM "\\n"',
                "TERM: NAME & /[^|\\n]{2,60}/ & /\\S(.*\\S)?/",
                f"NAME: %regex {json.dumps({unit: ' '.join(text.split())})}",
                f"PROPERTY: /{property}/",
            ]
        )
        matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(grammar))
        if matcher.is_error():
            raise ModelError(f"The text cannot become a grammar: {first_line(matcher.get_error())}.")
        return matcher


def require_llguidance() -> None:
    """Raises MissingPackageError: llguidance is not installed."""
    try:
        import llguidance  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            "llguidance", "graph extract", "pip install -c constraints.txt -e '.[graph]'"
        ) from error


def _constrainable(tokenizer: Any) -> LLTokenizer:
    """The vocabulary of a tokenizer as a grammar needs it."""
    require_llguidance()
    from llguidance.hf import from_tokenizer

    try:
        return from_tokenizer(tokenizer)
    except Exception as error:  # a library of others may raise anything
        raise ModelError(
            f"The model's tokenizer cannot be constrained: {first_line(error)}; name another model."
        ) from error


class _Grammar(LogitsProcessor):  # type: ignore[misc]
    """Rules out every token that the grammar does not allow next."""

    def __init__(self, matcher: LLMatcher, end: int):
        self._matcher, self._end, self._read = matcher, end, -1

    def __call__(self, input_ids: Int[Tensor, "1 tokens"], scores: Float[Tensor, "1 vocabulary"]) -> Tensor:
        if self._read < 0:
            self._read = input_ids.shape[1]
        for token in input_ids[0, self._read :].tolist():
            self._matcher.consume_token(token)
        self._read = input_ids.shape[1]
        allowed: Any = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        mask = torch.zeros(scores.shape[1], dtype=torch.bool)
        count = min(len(allowed), len(mask))
        mask[:count] = torch.from_numpy(allowed[:count].astype(bool))
        if not mask.any():  # the grammar is at its end
            mask[self._end] = True
        return scores.masked_fill(~mask, -torch.inf)
