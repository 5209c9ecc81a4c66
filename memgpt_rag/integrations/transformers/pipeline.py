"""Answers from a memory as the task "memory-question-answering" of `transformers.pipeline`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, Pipeline, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pipelines import PIPELINE_REGISTRY

from memgpt_rag.answering.answer import Answer
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.reader import load_reader, reader_folder
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import open_memories

TASK = "memory-question-answering"
_OPTIONS = frozenset(field.name for field in fields(AskOptions))


def register_pipeline() -> None:
    """Let `transformers.pipeline` know the task "memory-question-answering".

    Example:
        >>> register_pipeline()
        >>> ask = pipeline("memory-question-answering", model="my-decoder", memory="my-memory")
        >>> ask("How much is a rowing boat?")["answer"]
        '40 yuan'
    """
    if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
        PIPELINE_REGISTRY.register_pipeline(
            TASK, pipeline_class=MemoryQuestionAnsweringPipeline, pt_model=AutoModelForCausalLM, type="text"
        )


class MemoryQuestionAnsweringPipeline(Pipeline):  # type: ignore[misc]
    """A pipeline from questions to answers with citations.

    Args:
        model: a causal language model, which is given memory in its attention.
        tokenizer: its tokenizer.
        memory: folder of the memory, or several, which are searched as one.
        encoder: name or folder of the memory's encoder; needed where that does not come as a package.
        reader: folder or repository of a reader that was trained for this model; None for the model as it was pretrained.
        preset: "quality" or "compact".
        settings: fields of `AskOptions`, as defaults of every call, and what every pipeline takes.

    Raises:
        MemoryFormatError: no memory there, or a damaged one.
        ModelError: the model cannot take memory.
        MismatchError: another encoder embedded the memory, or the reader was trained for another model.
    """

    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_video_processor = False

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        memory: str | Path | Sequence[str | Path],
        encoder: str | None = None,
        reader: str | Path | None = None,
        preset: str = "quality",
        **settings: Any,
    ):
        super().__init__(model=model, tokenizer=tokenizer, **settings)
        decoder = MemoryDecoder(self.model, tokenizer, config=preset)
        if (folder := reader_folder(reader, decoder.name)) is not None:
            trained = load_reader(decoder, folder)
            decoder.config = trained.presets.get(preset, decoder.config)
        self.rag = RAG(*open_memories(memory, encoder), decoder)

    def __call__(self, questions: str | list[str], **options: Any) -> Any:
        """Answer a question, or each of a list.

        Args:
            options: fields of `AskOptions`, such as k, where or max_new_tokens.

        Returns:
            {"answer", "score", "supported", "citations"}: `score` is how likely the memory supports the answer, 0 to 1 (None where
            attention did not read it), and each citation has "text", "source", "score", "share" of the attention and "spans" of the
            answer. A list of these for a list.

        Raises:
            ValueError: an empty question, or an option that does not exist.
        """
        return super().__call__(questions, **options)

    def _sanitize_parameters(self, **settings: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        unknown = sorted(settings.keys() - _OPTIONS)
        if unknown:
            raise ValueError(
                f"There is no option {', '.join(unknown)}; expected some of {', '.join(sorted(_OPTIONS))}."
            )
        return {}, settings, {}

    def preprocess(self, question: str) -> dict[str, Any]:
        """Return a question as `_forward` takes it."""
        return {"question": question}

    def _forward(self, inputs: dict[str, Any], **options: Any) -> dict[str, Answer]:
        return {"answer": self.rag.answer(inputs["question"], AskOptions(**options))}

    def postprocess(self, outputs: dict[str, Answer]) -> dict[str, Any]:
        """Return an answer as a dictionary."""
        answer = outputs["answer"]
        return {
            "answer": answer.text,
            "score": answer.confidence,
            "supported": answer.supported,
            "citations": [
                {
                    "text": one.passage.text,
                    "source": one.passage.place,
                    "score": one.score,
                    "share": one.share,
                    "spans": [list(span) for span in one.spans],
                }
                for one in answer.citations
            ],
        }
