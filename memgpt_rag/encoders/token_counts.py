"""Token counts of a text as sums over its words, for tokenizers whose tokens never cross white space.

Splitting documents counts the tokens of each text about four times. BERT's tokenizer (Devlin et al. 2018) first splits at white
space, XLM-RoBERTa's (Conneau et al. 2020) after normalizing it, so that counts of words can be cached; for other tokenizers,
each text is tokenized. Long texts are counted in parts, since a tokenizer takes a hundred bytes for each character.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from memgpt_rag.plain_text import plain_ids, plain_tokenizer

# Number of cached words, and the longest one; a full cache is cleared, since few texts have that many words.
_MOST_WORDS, _LONGEST_WORD = 200_000, 100
# Longest part of a text that is tokenized at once, in characters.
_PART = 1_000_000

_BERT = {"type": "BertPreTokenizer"}
_XLM_ROBERTA = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
    ],
}


class WordCounts:
    """Counts tokens as a BERT or XLM-RoBERTa tokenizer does, without special tokens.

    Args:
        tokenizer: tokenizer of the package tokenizers that reads plain text.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return sum(map(self._count, _parts(text)))

    def _count(self, text: str) -> int:
        # Only the white space of these tokenizers: Python also splits at some characters that they remove.
        words = text.replace("\n", " ").replace("\t", " ").split(" ")
        known = self._known
        missing = [word for word in set(words) if word not in known]
        if not missing:
            return sum(map(known.__getitem__, words))
        if len(known) > _MOST_WORDS:
            known.clear()
            missing = list(set(words))
        self._tokenizer.encode_special_tokens = True  # again, since a pickled tokenizer loses it
        counted = dict(zip(missing, map(len, self._tokenizer.encode_batch(missing, add_special_tokens=False))))
        known.update((word, tokens) for word, tokens in counted.items() if len(word) <= _LONGEST_WORD)
        return sum(counted[word] if word in counted else known[word] for word in words)


def counter(tokenizer: Any) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text, without prompts and special tokens; it is read as plain text.

    Args:
        tokenizer: tokenizer of transformers, or of the package tokenizers, as static embeddings have.
    """
    if _cuts_at_white_space(getattr(tokenizer, "backend_tokenizer", None)):
        return WordCounts(plain_tokenizer(tokenizer))
    read = plain_ids(tokenizer)
    return lambda text: sum(len(read(part)) for part in _parts(text))


def _cuts_at_white_space(tokenizer: Any) -> bool:
    kinds = [type(getattr(tokenizer, part, None)).__name__ for part in ("normalizer", "model")]
    if kinds not in (["BertNormalizer", "WordPiece"], ["Sequence", "Unigram"]):
        return False
    wanted = _BERT if kinds[1] == "WordPiece" else _XLM_ROBERTA
    return bool(json.loads(tokenizer.pre_tokenizer.__getstate__()) == wanted)


def _parts(text: str) -> Iterator[str]:
    """Yield a text, or, if it is long, parts of it that end before a space if there is one."""
    if len(text) <= _PART:
        yield text
        return
    start = 0
    while start < len(text):
        end = start + _PART
        if end < len(text) and (space := text.rfind(" ", start + _PART // 2, end)) > 0:
            end = space
        yield text[start:end]
        start = end
