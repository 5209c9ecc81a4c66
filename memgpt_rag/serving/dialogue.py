"""From the messages of a conversation to a question and what the language model reads before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memgpt_rag.answering.dialogue import Turn, finished_turns, question_and_context, search_query
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.serving.chat_request import Message


@dataclass(frozen=True)
class Asked:
    """What a conversation asks.

    Attributes:
        question: the last message.
        context: what the language model reads before it.
        query: what to search for.
        earlier: the finished turns before it.
        pictures: those of all messages, which are seen with the question.
    """

    question: str
    context: str
    query: str
    earlier: Sequence[Turn] = ()
    pictures: Sequence[bytes] = ()


def read_conversation(messages: Sequence[Message], recent: Sequence[Turn], prompt: Prompt) -> Asked:
    """Return what a conversation asks.

    Args:
        recent: turns that the server remembers; they count where the messages hold no turn themselves.

    Raises:
        ValueError: the question is empty, or a picture is not encoded.
    """
    if recent and not finished_turns(messages):
        *before, last = messages
        said = [(role, text) for turn in recent for role, text in (("user", turn.question), ("assistant", turn.answer))]
        messages = [*before, *(Message.model_validate({"role": role, "content": text}) for role, text in said), last]
    question, context = question_and_context(messages, prompt)
    earlier = finished_turns(messages)
    pictures = [picture for message in messages for picture in message.pictures()]
    return Asked(question, context, search_query(question, earlier), earlier, pictures)
