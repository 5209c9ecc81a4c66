"""Is a reply of a dialogue likelier when the turns before it are read from memory than without them, or from the prompt?

    python benchmarks/dialogue_replies.py                      200 dialogues of KdConv

Of each dialogue one reply is chosen at random that follows six turns or more. Its NLL per token under the default model is compared with
nothing read before the question, with the last two turns in the prompt, with all turns in a memory of which the best four are
read by attention, and with both, as the server does: two in the prompt, older ones from memory. Differences are paired by dialogue, with
95 % intervals by bootstrap. Prints a table and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.dialogue import dialogues
from memgpt_rag.answering.dialogue import Turn
from memgpt_rag.answering.entry_states import ComputedStates, make_memory
from memgpt_rag.choices import DEFAULT_K
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.serving.access import EVERYTHING
from memgpt_rag.serving.chat_request import Message
from memgpt_rag.serving.conversations import Conversations
from memgpt_rag.serving.dialogue import read_conversation

LEAST_TURNS = 6
NONE, PROMPT, MEMORY, BOTH = (
    "no earlier turns",
    "last two turns in the prompt",
    "turns in memory",
    "both, as the server",
)


def turns_and_reply(messages: Sequence[dict[str, str]], chosen: random.Random) -> tuple[list[Turn], Turn] | None:
    """Return the turns before a reply, and the turn that it ends; None for a dialogue that is too short."""
    said = [message["message"] for message in messages]
    turns = [Turn(*pair) for pair in zip(said[::2], said[1::2], strict=False)]
    if len(turns) <= LEAST_TURNS:
        return None
    place = chosen.randrange(LEAST_TURNS, len(turns))
    return turns[:place], turns[place]


@torch.no_grad()
def reply_loss(rag: RAG, turn: Turn, context: str, recalled: Sequence[Retrieved]) -> float:
    """Return the NLL per token of a reply, after a context, with turns that are read from memory."""
    words, _ = rag.prompt.answer_ids(turn.question, turn.answer)
    row = [*rag.prompt.question_row(turn.question, [], context), *words]
    memory = make_memory(rag.model, ComputedStates(rag.model, rag.prompt), [recalled])
    logits = rag.model(torch.tensor([row]), memory=memory, logits_to_keep=len(words) + 1).logits[0, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(words)))


def losses(rag: RAG, conversations: Conversations, name: str, earlier: list[Turn], turn: Turn) -> dict[str, float]:
    """Return the NLL of a reply by what is read before it."""
    encoder, conversation = rag.retriever.encoder, conversations.begun(name, EVERYTHING, "")
    for one in earlier:
        conversation.add(one, "kdconv", encoder)
    message = [Message(role="user", content=turn.question)]
    alone = read_conversation(message, [], rag.prompt)
    recent = read_conversation(message, conversation.recent(), rag.prompt)
    every = conversation.recalled([turn.question, recent.query], encoder, [], DEFAULT_K)
    read = [one.question for one in recent.earlier]
    older = conversation.recalled([turn.question, recent.query], encoder, read, DEFAULT_K // 2)
    return {
        NONE: reply_loss(rag, turn, alone.context, []),
        PROMPT: reply_loss(rag, turn, recent.context, []),
        MEMORY: reply_loss(rag, turn, alone.context, every),
        BOTH: reply_loss(rag, turn, recent.context, older),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=200)
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument(
        "--reader", default="auto", help='reader of the language model; "none" for the pretrained weights alone'
    )
    options = parser.parse_args()
    quiet_libraries()
    chosen = random.Random(0)
    found = (turns_and_reply(messages, chosen) for messages in dialogues(options.split))
    asked = [one for one in found if one is not None][: options.dialogues]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        Memory.create(Path(folder) / "kdconv", ["这里没有事实。"], load_encoder())
        rag = RAG.open(Path(folder) / "kdconv", reader=options.reader)
        conversations = Conversations(Path(folder) / "conversations")
        for number, (earlier, turn) in enumerate(tqdm(asked, disable=None)):
            rows.append(losses(rag, conversations, f"dialogue-{number}", earlier, turn))
    before = np.mean([len(earlier) for earlier, _ in asked])
    print(f"{len(rows)} replies, each after {before:.1f} turns on average; NLL per token\n")
    print(f"{'read before the question':32}{'NLL':>7}   {'against ' + NONE:30} against {PROMPT}")
    report = {}
    for name in (NONE, PROMPT, MEMORY, BOTH):
        differences = [interval([row[name] - row[base] for row in rows]) for base in (NONE, PROMPT)]
        report[name] = {"nll": float(np.mean([row[name] for row in rows])), "differences": differences}
        shown = (f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]" for mean, low, high in differences)
        print(f"{name:32}{report[name]['nll']:7.3f}   " + " ".join(f"{one:30}" for one in shown))
    print(json.dumps({"replies": len(rows), "turns": before, **report}))


if __name__ == "__main__":
    main()
