"""/v1/classify: texts are classified by the labelled examples in a memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field, field_validator

from memgpt_rag.limits import MOST_CHARACTERS, MOST_DOCUMENTS
from memgpt_rag.serving.blocks import answered_in_blocks
from memgpt_rag.serving.chat_request import Strict
from memgpt_rag.serving.memories import ServedMemory
from memgpt_rag.serving.service import Service, current_access, current_service

router = APIRouter(tags=["classification"])
_BLOCK = 4  # texts between which questions to the memories go on
Text = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]


class ClassifyRequest(Strict):
    """The body of POST /v1/classify; `model` is the name of a memory that a classifier was fitted to."""

    model: Annotated[str, Field(max_length=200)]
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_DOCUMENTS)]

    @field_validator("input")
    @classmethod
    def _says_something(cls, given: str | list[str]) -> str | list[str]:
        if not all(text.strip() for text in ([given] if isinstance(given, str) else given)):
            raise ValueError("a text is empty; give words to classify")
        return given


@router.post("/v1/classify")
async def classify(request: Request, body: ClassifyRequest) -> dict[str, Any]:
    """Classify texts: the likeliest label of each, its probability, those of all labels, and the examples that were read.

    Texts that would begin after the server's deadline are left out; then `complete` is false.
    """
    service, access = current_service(request), current_access(request)
    served = service.memories.get(service.memory_name(body.model, None, access), access)
    texts = [body.input] if isinstance(body.input, str) else body.input
    data = await answered_in_blocks(request, service, texts, _BLOCK, partial(_classified, service, served))
    return {
        "object": "list",
        "data": [{"object": "classification", "index": number, **one} for number, one in enumerate(data)],
        "complete": len(data) == len(texts),
        "model": served.name,
    }


def _classified(service: Service, served: ServedMemory, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Classify texts in the engine's thread."""
    with served.named(), service.memories.lock:  # the encoder embeds
        classifier = service.classifiers.get(served)
        return [one.to_dict() for one in classifier.classify(texts)]
