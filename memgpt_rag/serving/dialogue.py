"""From the messages of a conversation to a question and what the language model reads before it."""

from __future__ import annotations

from collections.abc import Sequence

from memgpt_rag.model.prompt import Prompt
from memgpt_rag.serving.chat_request import Message


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
