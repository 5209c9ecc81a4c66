"""Measures of translations, as sacrebleu computes them: chrF (Popović 2015) and BLEU (Papineni et al. 2002; Post 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memgpt_rag.errors import MissingPackageError

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric


def translation_measures(target: str) -> dict[str, Metric]:
    """Return chrF and BLEU, by name; BLEU splits Chinese into characters, and other languages as WMT's script 13a does.

    Args:
        target: language of the translations.

    Raises:
        MissingPackageError: sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise MissingPackageError("sacrebleu", "Measuring translations", "pip install 'memgpt_rag[measure]'") from error
    # Effective order: a sentence that is shorter than four words has a score of its own.
    return {"chrF": CHRF(), "BLEU": BLEU(tokenize="zh" if target.startswith("zh") else "13a", effective_order=True)}


def corpus_scores(
    translations: Sequence[str], references: Sequence[Sequence[str]], target: str
) -> dict[str, tuple[float, list[float]]]:
    """Return, by measure, the score of all translations together, and that of each, 0 to 100.

    Args:
        references: the right translations of each text, one or several.

    Raises:
        ValueError: no translation, or another number of references.
        MissingPackageError: sacrebleu is not installed.
    """
    if not translations or len(translations) != len(references) or not all(references):
        raise ValueError(
            f"There are {len(translations):,} translations and {len(references):,} of references; expected some of each for all."
        )
    # sacrebleu takes the first references of all texts, then the second ones; a text without that many repeats its last one.
    streams = [
        [text_references[min(place, len(text_references) - 1)] for text_references in references]
        for place in range(max(map(len, references)))
    ]
    scores = {}
    for name, measure in translation_measures(target).items():
        whole: Any = measure.corpus_score(list(translations), streams)
        each = [
            float(measure.sentence_score(one, list(text_references)).score)
            for one, text_references in zip(translations, references, strict=True)
        ]
        scores[name] = float(whole.score), each
    return scores
