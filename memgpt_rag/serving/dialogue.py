"""From the messages of a conversation to a question and what the language model reads before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from memgpt_rag.model.prompt import Prompt
from memgpt_rag.serving.chat_request import Message
from memgpt_rag.serving.follow_up import Turn, search_query


@dataclass(frozen=True)
class Asked:
    """What a conversation asks.

    Attributes:
        question: the last message.
        context: what the language model reads before it.
        query: what to search for.
        earlier: the finished turns before it.
    """

    question: str
    context: str
    query: str
    earlier: Sequence[Turn] = ()


def asked_of(messages: Sequence[Message], recent: Sequence[Turn], prompt: Prompt) -> Asked:
    """Return what a conversation asks.

    Args:
        recent: turns that the server remembers; they count where the messages hold no turn themselves.

    Raises:
        ValueError: the question is empty.
    """
    if recent and not finished_turns(messages):
        *before, last = messages
        said = [(role, text) for turn in recent for role, text in (("user", turn.question), ("assistant", turn.answer))]
        messages = [*before, *(Message.model_validate({"role": role, "content": text}) for role, text in said), last]
    question, context = question_and_context(messages, prompt)
    earlier = finished_turns(messages)
    return Asked(question, context, search_query(question, earlier), earlier)


def finished_turns(messages: Sequence[Message]) -> list[Turn]:
    """Return the questions that were answered, the latest last."""
    return [
        Turn(first.text.strip(), second.text.strip())
        for first, second in pairwise(messages)
        if first.role == "user" and second.role == "assistant" and first.text.strip()
    ]


def question_and_context(messages: Sequence[Message], prompt: Prompt) -> tuple[str, str]:
    """Return the last user's message, and the earlier ones as text.

    System messages stand first, then the earlier turns in the form in which the model is asked, so that it reads them as
    questions that were answered. All of it is plain text: nothing in it can end a turn.

    Raises:
        ValueError: the question is empty.
    """
    *earlier, last = messages
    if not last.text.strip():
        raise ValueError("The last message is empty; ask something.")
    instructions = [message.text.strip() for message in messages if message.role in ("system", "developer")]
    turns = list[str]()
    for message in earlier:
        text = message.text.strip()
        if message.role == "user" and text:
            turns.append(prompt.asked_text(text))
        elif message.role == "assistant" and text:
            asked = turns.pop() if turns and not turns[-1].endswith("\n\n") else ""
            turns.append(f"{asked}{'' if not asked or asked.endswith('：') else ' '}{text}\n\n")
    dialogue = "".join(turn if turn.endswith("\n\n") else f"{turn}\n\n" for turn in turns)
    return last.text.strip(), "\n\n".join(part for part in (*instructions, dialogue.strip()) if part)
