"""/v1/translate: sentences are translated by the sentence pairs in a memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field, field_validator

from memgpt_rag.limits import MOST_DOCUMENTS
from memgpt_rag.serving.blocks import answered_in_blocks
from memgpt_rag.serving.chat_request import Strict
from memgpt_rag.serving.memories import ServedMemory
from memgpt_rag.serving.service import Service, current_access, current_service
from memgpt_rag.tasks.translation.glossary import Glossary
from memgpt_rag.tasks.translation.pairs import MOST_SIDE, SentencePair, tidy

router = APIRouter(tags=["translation"])
_BLOCK = 4  # texts between which questions to the memories go on
Text = Annotated[str, Field(min_length=1, max_length=MOST_SIDE)]
Language = Annotated[str, Field(min_length=1, max_length=35)]  # RFC 5646, section 4.4.1
Terms = Annotated[dict[Language, Text], Field(min_length=2, max_length=2)]


class TranslateRequest(Strict):
    """The body of POST /v1/translate; `model` is the name of a memory of sentence pairs.

    `to` is the language to translate to; without it, English for a Chinese text, else Chinese. Each object of `glossary` has a term in
    two languages, as {"en": "boathouse", "zh": "船坞"}.
    """

    model: Annotated[str, Field(max_length=200)]
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_DOCUMENTS)]
    to: Language | None = None
    glossary: Annotated[tuple[Terms, ...], Field(max_length=MOST_DOCUMENTS)] = ()

    @field_validator("input")
    @classmethod
    def _says_something(cls, given: str | list[str]) -> str | list[str]:
        if not all(text.strip() for text in ([given] if isinstance(given, str) else given)):
            raise ValueError("a text is empty; give words to translate")
        return given

    @field_validator("glossary")
    @classmethod
    def _names_terms(cls, given: tuple[dict[str, str], ...]) -> tuple[dict[str, str], ...]:
        if not all(term.strip() for terms in given for term in terms.values()):
            raise ValueError("a term of the glossary is empty; give words in both languages")
        return given


@router.post("/v1/translate")
async def translate(request: Request, body: TranslateRequest) -> dict[str, Any]:
    """Translate sentences: the translation of each, the pairs that it leaned on, and whether the glossary's terms are respected.

    Texts that would begin after the server's deadline are left out; then `complete` is false.
    """
    service, access = current_service(request), current_access(request)
    served = service.memories.get(service.memory_name(body.model, None, access), access)
    glossary = Glossary(
        SentencePair({language: tidy(term) for language, term in terms.items()}) for terms in body.glossary
    )
    texts = [body.input] if isinstance(body.input, str) else body.input
    work = partial(_translated, service, served, body.to, glossary)
    data = await answered_in_blocks(request, service, texts, _BLOCK, work)
    return {
        "object": "list",
        "data": [{"object": "translation", "index": number, **one} for number, one in enumerate(data)],
        "complete": len(data) == len(texts),
        "model": served.name,
    }


def _translated(
    service: Service, served: ServedMemory, target: str | None, glossary: Glossary, texts: Sequence[str]
) -> list[dict[str, Any]]:
    """Translate texts in the engine's thread."""
    with served.named(), service.memories.lock:  # the encoder embeds
        translator = service.translators.get(served)
        return [one.to_dict() for one in translator.translate(texts, target, glossary)]
