"""A classifier with the interface of scikit-learn whose knowledge is a memory of labelled examples.

It learns by storing: `fit` writes examples into a memory and fits three numbers (see `Mixture`), `partial_fit` appends examples
and fits nothing. No weight of the language model changes.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from typing_extensions import Self

from memgpt_rag.choices import DEFAULT_FIT_ON, DEFAULT_NEIGHBORS, DEFAULT_TEXT_TOKENS
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.load import load_encoder, load_memory_encoder
from memgpt_rag.errors import MismatchError
from memgpt_rag.memory import Memory
from memgpt_rag.memory.changes import append_entries
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryDecoder
from memgpt_rag.retrieval.retriever import Retriever
from memgpt_rag.tasks.classification.examples import (
    LABEL,
    LabelledText,
    create_memory,
    example_passages,
    memory_labels,
)
from memgpt_rag.tasks.classification.given_texts import as_examples, checked_texts, label_name, labelled
from memgpt_rag.tasks.classification.label_words import words_for
from memgpt_rag.tasks.classification.mixture import Mixture, fit_mixture
from memgpt_rag.tasks.classification.reading import ExampleReader, Neighbor, example_model


@dataclass(frozen=True)
class Classification:
    """The label of a text.

    Attributes:
        choice: the likeliest label.
        confidence: its probability.
        probabilities: of all labels.
        neighbors: the examples that were read, best first.
    """

    choice: Any
    confidence: float
    probabilities: dict[Any, float]
    neighbors: tuple[Neighbor, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as commands and servers write it in JSON."""
        return {
            "choice": self.choice,
            "confidence": self.confidence,
            "probabilities": self.probabilities,
            "neighbors": [one.to_dict() for one in self.neighbors],
        }


class MemoryClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifies texts by labelled examples in a memory.

    Args:
        model: a language model, or its name; None for the default one.
        encoder: embeds texts; None for the default one.
        folder: of the memory that `fit` writes, new or empty; None for a temporary one.
        k: examples of each text.
        words: label → what the language model reads for it; None for the labels themselves.
        max_tokens: tokens of a text that the language model reads.
        fit_on: examples that both weights and the temperature are fitted to, each with all others as its memory; 0 to fit nothing.
        random_state: seed of their choice.

    Attributes:
        classes_: the labels, sorted.
        memory_: the memory of the examples.
        mixture_: the fitted numbers.
        reader_: finds and reads examples.

    Example:
        >>> classifier = MemoryClassifier(k=2, fit_on=0)
        >>> classifier.fit(["A joy from start to end.", "I want my money back."], ["good", "bad"]).predict(["A joy to watch."])
        array(['good'], dtype='<U4')
    """

    def __init__(
        self,
        model: MemoryDecoder | str | None = None,
        encoder: Encoder | None = None,
        folder: str | Path | None = None,
        k: int = DEFAULT_NEIGHBORS,
        words: Mapping[Any, str] | None = None,
        max_tokens: int = DEFAULT_TEXT_TOKENS,
        fit_on: int = DEFAULT_FIT_ON,
        random_state: int = 0,
    ):
        self.model, self.encoder, self.folder, self.k, self.words = model, encoder, folder, k, words
        self.max_tokens, self.fit_on, self.random_state = max_tokens, fit_on, random_state

    def fit(self, X: Sequence[str], y: Sequence[Any]) -> Self:
        """Store labelled texts as entries of a new memory, and fit the mixture to some of them.

        Raises:
            ValueError: no text, an empty one, labels of one class only, or of other classes than `words` names.
            MemoryFormatError: the folder holds something already.
        """
        texts, labels = labelled(X, y)
        return self._fit(as_examples(texts, labels), np.unique(labels))

    def fit_examples(self, examples: Sequence[LabelledText], *, replace: bool = False) -> Self:
        """As `fit`, for examples that know where they stand, such as those of `read_examples`.

        Args:
            replace: start from nothing where the folder holds a memory.
        """
        return self._fit(examples, np.unique([example.label for example in examples]), replace=replace)

    def partial_fit(self, X: Sequence[str], y: Sequence[Any], classes: Sequence[Any] | None = None) -> Self:
        """Append labelled texts to the memory, or begin one, without fitting anything.

        Args:
            classes: all labels that there will be, for the first call; None for those of its examples.

        Raises:
            ValueError: as `fit`, or a label that is not among the classes.
        """
        texts, labels = labelled(X, y)
        known = np.unique(labels if classes is None else np.asarray(classes)) if self._is_new() else self.classes_
        if unknown := sorted({label_name(label) for label in labels} - {label_name(label) for label in known}):
            raise ValueError(
                f"There is no label {unknown[0]!r}; expected one of {', '.join(map(label_name, known))}. Fit again with examples of "
                "every label."
            )
        if self._is_new():
            self.mixture_ = Mixture()
            self._create(as_examples(texts, labels), known)
            return self
        first, column = self.memory_.num_rows + 1, self.reader_.column
        passages = example_passages(as_examples(texts, labels), first=first, column=column)
        before = len(self.memory_)
        append_entries(self.memory_.path, passages, self._encoder, job="partial_fit")
        self._open(Memory.open(self.memory_.path), column)
        if (added := len(self.memory_) - before) != len(texts):
            raise MismatchError(
                f"{added:,} of {len(texts):,} examples were added; their ids are in the memory already."
            )
        return self

    @classmethod
    def from_memory(cls, memory: str | Path | Memory, *, label: str = LABEL, **settings: Any) -> Self:
        """Return a classifier whose examples are the entries of a memory; its mixture is not fitted yet, see `refit`.

        Args:
            label: metadata column of the labels.
            settings: as for `MemoryClassifier`.

        Raises:
            MemoryFormatError: no memory there, or a damaged one.
            MismatchError: it has no such column, an entry has no label, or another encoder embedded it.
            ValueError: all entries have one label.
        """
        opened = memory if isinstance(memory, Memory) else Memory.open(memory)
        classifier = cls(folder=opened.path, **settings)
        labels = memory_labels(opened, label)
        if len(set(labels)) < 2:
            raise ValueError(
                f"All {len(labels):,} entries of {opened.path} have the label {labels[0]!r}; expected two labels at least."
            )
        classifier._set_classes(np.unique(labels))
        classifier.mixture_ = Mixture()
        classifier._load(classifier.encoder or load_memory_encoder(opened.manifest.encoder, memories=[opened.path]))
        classifier._open(opened, label)
        return classifier

    def refit(self) -> Self:
        """Fit the mixture to the examples that the memory has now."""
        check_is_fitted(self, "memory_")
        return self._fit_mixture()

    def classify(self, X: Sequence[str]) -> list[Classification]:
        """Return the label of each text with its confidence and the examples that speak for it.

        Raises:
            ValueError: no text, or an empty one.
        """
        check_is_fitted(self, "memory_")
        texts = checked_texts(X)
        evidence, neighbors = self.reader_.read(texts, self.reader_.neighbors(texts))
        results = []
        for row, near in zip(self.mixture_(evidence), neighbors, strict=True):
            best = int(row.argmax())
            probabilities = dict(zip(self.classes_.tolist(), row.tolist(), strict=True))
            results.append(Classification(self.classes_.tolist()[best], float(row[best]), probabilities, near))
        return results

    def predict_proba(self, X: Sequence[str]) -> np.ndarray:
        """Return the probability of each class of `classes_` for each text; otherwise as `classify`."""
        return np.array([list(one.probabilities.values()) for one in self.classify(X)])

    def predict(self, X: Sequence[str]) -> np.ndarray:
        """Return the likeliest class of each text; otherwise as `classify`."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = True, False, True
        return tags

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted classifier with the same settings, which shares the models."""
        return type(self)(**self.get_params(deep=False))

    def _is_new(self) -> bool:
        return not hasattr(self, "memory_")

    def _set_classes(self, classes: np.ndarray) -> None:
        words = None if self.words is None else {label_name(label): said for label, said in self.words.items()}
        self._label_words = words_for([label_name(label) for label in classes], words)
        self.classes_ = classes

    def _fit(self, examples: Sequence[LabelledText], classes: np.ndarray, *, replace: bool = False) -> Self:
        if len(classes) < 2:
            raise ValueError(
                f"All {len(examples):,} examples have one class, the label {label_name(classes[0])!r}; give examples of two at least."
            )
        self._create(examples, classes, replace=replace)
        return self._fit_mixture()

    def _create(self, examples: Sequence[LabelledText], classes: np.ndarray, *, replace: bool = False) -> None:
        self._set_classes(classes)
        folder = self._temporary_folder() if self.folder is None else Path(self.folder)
        encoder = load_encoder() if self.encoder is None else self.encoder
        self._load(encoder)
        self._open(create_memory(folder, examples, encoder, replace=replace), LABEL)

    def _temporary_folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="memgpt-classifier-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder / "memory"

    def _load(self, encoder: Encoder) -> None:
        name = DEFAULT_GENERATOR if self.model is None else self.model
        model = name if isinstance(name, MemoryDecoder) else MemoryDecoder.from_pretrained(name, reader=None)
        self._encoder, self._model = encoder, example_model(model)

    def _open(self, memory: Memory, column: str) -> None:
        self.memory_ = memory
        retriever = Retriever(memory, self._encoder)
        self.reader_ = ExampleReader(retriever, self._model, self._label_words, column, self.k, self.max_tokens)

    def _fit_mixture(self) -> Self:
        """Fit the mixture to examples, none of which sees itself or another example with the same text."""
        passages = self.memory_.passages(self.memory_.rows())
        copies = Counter(passage.titled_text for passage in passages)
        rng = np.random.default_rng(self.random_state)
        chosen = [passages[row] for row in rng.permutation(len(passages))[: self.fit_on]]
        self.mixture_ = Mixture()
        if not chosen:
            return self
        texts = [passage.titled_text for passage in chosen]
        found = self.reader_.neighbors(texts, spare=max(copies[text] for text in texts))
        evidence, _ = self.reader_.read(texts, found)
        number = {label_name(label): place for place, label in enumerate(self.classes_)}
        labels = np.array([number[passage.metadata[self.reader_.column]] for passage in chosen])
        self.mixture_ = fit_mixture(evidence, labels)
        return self
