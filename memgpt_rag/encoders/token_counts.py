"""Tokens of a text as the sum over its words, where a tokenizer never looks across white space.

Cutting documents counts the tokens of each text some four times. BERT's way (Devlin et al. 2018) cuts at white space before
anything else, XLM-RoBERTa's (Conneau et al. 2020) once white space is plain, so that words which were counted once need not be
tokenized again; other tokenizers are asked each time. Long texts are counted in parts, since a tokenizer takes a hundred bytes
for each character.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

# Words that are remembered, and the longest of them; then all are forgotten, since few texts have that many.
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
    """Counts tokens as a BERT or XLM-RoBERTa tokenizer does, without the marks that it adds.

    Args:
        tokenizer: of the package tokenizers.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = whole(tokenizer)
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return sum(map(self._count, _parts(text)))

    def _count(self, text: str) -> int:
        # Only what these tokenizers, too, take for white space: Python would split at some characters that they remove.
        words = text.replace("\n", " ").replace("\t", " ").split(" ")
        known = self._known
        missing = [word for word in set(words) if word not in known]
        if not missing:
            return sum(map(known.__getitem__, words))
        if len(known) > _MOST_WORDS:
            known.clear()
            missing = list(set(words))
        counted = dict(zip(missing, map(len, self._tokenizer.encode_batch(missing, add_special_tokens=False))))
        known.update((word, tokens) for word, tokens in counted.items() if len(word) <= _LONGEST_WORD)
        return sum(counted[word] if word in counted else known[word] for word in words)


def counter(tokenizer: Any) -> Callable[[str], int]:
    """Counts the tokens of a text, without prompts and marks.

    Args:
        tokenizer: of transformers; or of the package tokenizers, which static embeddings have.
    """
    if not callable(tokenizer):
        return lambda text: sum(len(tokenizer.encode(part, add_special_tokens=False).ids) for part in _parts(text))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if _cuts_at_white_space(backend):
        return WordCounts(backend)
    read = partial(tokenizer, add_special_tokens=False, verbose=False)
    return lambda text: sum(len(read(part)["input_ids"]) for part in _parts(text))


def whole(tokenizer: Any) -> Any:
    """A tokenizer that reads texts to their end, whatever length another one, with the same pieces, is told to stop at.

    Args:
        tokenizer: of the package tokenizers; its model is shared, since one of 250,000 pieces takes 240 MB.
    """
    from tokenizers import Tokenizer

    other = Tokenizer(tokenizer.model)
    for part in ("normalizer", "pre_tokenizer", "post_processor"):
        if (value := getattr(tokenizer, part)) is not None:
            setattr(other, part, value)
    added = [token for _, token in sorted(tokenizer.get_added_tokens_decoder().items())]
    other.add_special_tokens([token for token in added if token.special])
    other.add_tokens([token for token in added if not token.special])
    return other


def _cuts_at_white_space(tokenizer: Any) -> bool:
    kinds = [type(getattr(tokenizer, part, None)).__name__ for part in ("normalizer", "model")]
    if kinds not in (["BertNormalizer", "WordPiece"], ["Sequence", "Unigram"]):
        return False
    wanted = _BERT if kinds[1] == "WordPiece" else _XLM_ROBERTA
    return bool(json.loads(tokenizer.pre_tokenizer.__getstate__()) == wanted)


def _parts(text: str) -> Iterator[str]:
    """A text as it is, or, where it is long, in parts that end before a space, or, where there is none, anywhere."""
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
