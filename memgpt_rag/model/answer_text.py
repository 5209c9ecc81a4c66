"""The text of an answer in a model's output: where it ends, and the characters that each of its tokens wrote.

Knows tokenizers and texts; knows no models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"  # what is decoded of a character some of whose bytes are still to come
# What begins the next worked example.
_NEXT_EXAMPLE = tuple(word + colon for word in ("Question", "Answer", "问题", "答案") for colon in ":：")
ITEM = re.compile(
    r"\s*(?:[-*+•‣▪◦·]|\(?\d{1,3}[.)）]|\(?[a-zA-Z][.)])\s+\S|\s*(?:\d{1,3}、|[（(]\d{1,3}[）)]|[①-⑳])\s*\S"
)  # the first line of a list item, with a first word
_COMMAND = re.compile(r"\s*(?:[$#%>]|C:\\\S*>)\s+\S|(?: {4}|\t)\s*\S")  # after a prompt sign, or indented
FENCE = re.compile(r"\s*(```|~~~)")  # around code
_BEGINNING = 12  # characters of a line that show what it is
# Tokens in which a line break matters: later ones have shown whether the answer goes on behind it.
_LATEST = 64


@dataclass(frozen=True)
class AnswerEnd:
    """Where an answer ends.

    A model that ends its answers itself says all that it says. One that was shown worked examples would go on to the next one:
    its answer ends with its line, or with the list, the commands or the code that it began.

    Args:
        itself: whether the model ends its answers itself, by a token that ends the text.
    """

    tokenizer: PreTrainedTokenizerBase
    itself: bool

    def text(self, token_ids: Sequence[int]) -> str:
        """The answer in a model's output, without what follows it."""
        written = self._written(token_ids)
        return written.strip() if self.itself else written[: answer_end(written)[0]].strip()

    def tokens(self, token_ids: Sequence[int]) -> list[int]:
        """The tokens of a model's output that wrote the answer."""
        written = self._written(token_ids)
        end, _ = (len(written), False) if self.itself else answer_end(written)
        if end == len(written):
            return list(token_ids)
        spans = written_spans(self.tokenizer, token_ids, written)
        return [token for token, (start, _) in zip(token_ids, spans, strict=True) if start < end]

    def settled(self, token_ids: Sequence[int]) -> int:
        """How many of the first tokens are part of the answer for certain, while it is being written."""
        is_open = self.itself or "\n" not in self._written(token_ids[-_LATEST:])
        return len(token_ids) if is_open else len(self.tokens(token_ids))

    def is_reached(self, token_ids: Sequence[int]) -> bool:
        """Whether an answer is over, whatever a model would write behind these tokens."""
        if self.itself or "\n" not in self._written(token_ids[-_LATEST:]):
            return False
        return answer_end(self._written(token_ids))[1]

    def _written(self, token_ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(token_ids, skip_special_tokens=True)
        return text


def answer_end(written: str) -> tuple[int, bool]:
    """Return where an answer ends in what was written so far, in characters, and whether that is certain already.

    Lines go on where they belong together: behind a colon, up to a blank line; item by item of a list, command by command; within
    a fence of code. Any other answer ends with its line.

    >>> answer_end("40 yuan\\nThe lake")
    (7, True)
    >>> answer_end("Run:\\n\\napt update"), answer_end("- tea\\n- milk\\n\\nQuestion:")
    ((16, False), (12, True))
    """
    start = len(written) - len(written.lstrip())
    if breaks := written.count("\n", 0, start):  # nothing in the line of the question
        line = written[start:].split("\n", 1)[0]
        if breaks > 1 or not _is_laid_out(line):
            return 0, breaks > 1 or _is_known(written, start)
    fenced = introduced = listed = False
    while (stop := written.find("\n", start)) >= 0:
        line, rest = written[start:stop], written[stop:]
        begin = stop + rest.rfind("\n", 0, len(rest) - len(rest.lstrip())) + 1
        following, is_blank = written[begin:].split("\n", 1)[0], written.count("\n", stop, begin) > 1
        fenced ^= bool(FENCE.match(line))
        introduced = line.rstrip().endswith((":", "：")) or (introduced and not is_blank)
        listed = listed or _is_laid_out(line)
        if following.startswith(_NEXT_EXAMPLE):
            return stop, True
        if any(example.startswith(following) for example in _NEXT_EXAMPLE):  # nothing yet, or its beginning
            return stop, not (fenced or introduced or listed)
        if not (fenced or introduced):
            is_more = _is_laid_out(following) or (not is_blank and following[:2] == "  ")
            if not (listed and is_more):
                return stop, not listed or _is_known(written, begin)
        start = begin
    return len(written), False


def _is_laid_out(line: str) -> bool:
    return bool(ITEM.match(line) or _COMMAND.match(line) or FENCE.match(line))


def _is_known(written: str, begin: int) -> bool:
    """Whether enough of the line that begins there was written to tell what it is."""
    return len(written) - begin >= _BEGINNING or "\n" in written[begin:]


def written_spans(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], text: str) -> list[tuple[int, int]]:
    """Return the characters of an answer's text that each of its tokens wrote, as (start, end), one after the other.

    Of tokens that write one character together, the last one has it.

    Args:
        text: part of what the tokens decode to, such as all of it without the white space around it.
    """
    ends, written, begin, read = [], "", 0, 0
    for place in range(1, len(token_ids) + 1):
        # Decoded with the few tokens before it, since a token's text may depend on them: all at once would take quadratic time.
        known = tokenizer.decode(token_ids[begin:read], skip_special_tokens=True)
        both = tokenizer.decode(token_ids[begin:place], skip_special_tokens=True)
        if not both.endswith(_UNFINISHED):
            written += both[len(known) :]
            begin, read = read, place
        ends.append(len(written))
    before = max(0, (written + _UNFINISHED * len(text)).find(text))
    clipped = [min(max(end - before, 0), len(text)) for end in ends]
    return list(zip([0, *clipped], clipped, strict=False))
