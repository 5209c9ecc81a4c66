"""Texts and labels as users of scikit-learn give them, checked before anything is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from memgpt_rag.tasks.classification.examples import LabelledText


def checked_texts(given: Sequence[str]) -> list[str]:
    """Return texts as a list.

    Raises:
        ValueError: it is one text and not several, there is none, or one is no text or empty.
    """
    if isinstance(given, str) or np.ndim(given) != 1:
        raise ValueError("Expected texts as a list or an array of one dimension, such as ['A good film.'].")
    texts = list(given)
    if not texts:
        raise ValueError("There are no texts; give at least one.")
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"Text {number:,} is {'empty' if isinstance(text, str) else repr(text)}; expected words.")
    return [str(text) for text in texts]


def labelled(texts: Sequence[str], labels: Sequence[Any] | None) -> tuple[list[str], np.ndarray]:
    """Return texts as a list and their labels as an array.

    Raises:
        ValueError: as `checked_texts`; a text has no label, or a label is no word and no whole number.
    """
    if labels is None:
        raise ValueError("MemoryClassifier requires y to be passed, but the target y is None; give each text a label.")
    checked, column = checked_texts(texts), column_or_1d(labels, warn=True)
    check_classification_targets(column)
    if len(column) != len(checked):
        raise ValueError(f"There are {len(checked):,} texts and {len(column):,} labels; give each text one.")
    for number, label in enumerate(column.tolist(), 1):
        if label is None or not label_name(label).strip():
            raise ValueError(f"Text {number:,} has no label, but {label!r}; expected a word or a number.")
    return checked, column


def as_examples(texts: Sequence[str], labels: np.ndarray) -> list[LabelledText]:
    """Return texts with their labels as examples."""
    return [LabelledText(text, label_name(label)) for text, label in zip(texts, labels, strict=True)]


def label_name(label: Any) -> str:
    """Return a label as the memory holds it."""
    return str(label)
