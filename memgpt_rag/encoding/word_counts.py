"""Tokens of a text as the sum over its words, where a tokenizer never looks across white space.

Cutting documents counts the tokens of each text some four times. BERT's way (Devlin et al. 2018) cuts at white space before
anything else, so that words which were counted once need not be tokenized again; other tokenizers are asked each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Words that are remembered; then all are forgotten, since few texts have that many.
_MOST_WORDS = 200_000


class WordCounts:
    """Counts tokens as a BERT tokenizer does, without the marks that it adds.

    Args:
        tokenizer: of the package tokenizers; it is copied, since its owner changes how it truncates.
    """

    def __init__(self, tokenizer: Any):
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        # Only what a BERT tokenizer, too, takes for white space: Python would split at some characters that it removes.
        words = text.replace("\n", " ").replace("\t", " ").split(" ")
        known = self._known
        missing = [word for word in set(words) if word not in known]
        if missing:
            if len(known) > _MOST_WORDS:
                known.clear()
                missing = list(set(words))
            encoded = self._tokenizer.encode_batch(missing, add_special_tokens=False)
            known.update(zip(missing, map(len, encoded)))
        return sum(map(known.__getitem__, words))


def counter(tokenizer: Any) -> Callable[[str], int]:
    """Counts the tokens of a text, without prompts and marks.

    Args:
        tokenizer: of transformers; or of the package tokenizers, which static embeddings have.
    """
    if not callable(tokenizer):
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
    parts = getattr(tokenizer, "backend_tokenizer", None)
    kinds = [type(getattr(parts, part, None)).__name__ for part in ("normalizer", "pre_tokenizer", "model")]
    if kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]:
        return WordCounts(parts)
    return lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
