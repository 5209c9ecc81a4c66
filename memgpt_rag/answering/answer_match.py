"""Whether a text holds an answer: one definition for training, for confidence and for evaluation.

Texts are compared as SQuAD compares answers (Rajpurkar et al. 2016): letter case, width, punctuation, English articles and
white space do not count. Words count as wholes, so that "car" is not in "incarnation"; Chinese does not mark words.
"""

from __future__ import annotations

import re
import string
import unicodedata

from memgpt_rag.model.prompt import HAN

_LETTER = rf"[^\W{HAN}]"  # letters and digits that words are made of
_SPACE_AT_HAN = re.compile(rf"(?<=[{HAN}]) | (?=[{HAN}])")


def normalize_answer(text: str) -> str:
    """Return a text without letter case, punctuation, English articles and superfluous white space, as SQuAD does."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = "".join(
        " " if character in string.punctuation or unicodedata.category(character)[0] == "P" else character
        for character in text
    )
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def holds_answer(text: str, answer: str) -> bool:
    """Whether a text holds an answer as whole words, or as a run of Chinese characters; no text holds one without characters.

    >>> holds_answer("A boat costs 40 yuan.", "40 Yuan"), holds_answer("The incarnation", "car")
    (True, False)
    """
    if normalize_answer(answer):
        text, plain = (_SPACE_AT_HAN.sub("", normalize_answer(one)) for one in (text, answer))
    else:  # nothing but punctuation or an article, as blood group A or the operator &&: as it is written
        plain = answer.strip()
        if not plain:
            return False
    before = rf"(?<!{_LETTER})" if re.match(_LETTER, plain) else ""
    after = rf"(?!{_LETTER})" if re.match(_LETTER, plain[-1]) else ""
    return re.search(before + re.escape(plain) + after, text) is not None
