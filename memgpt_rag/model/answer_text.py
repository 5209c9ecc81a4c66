"""The characters that each of its tokens wrote. Knows tokenizers; knows no models."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"  # what is decoded of a character some of whose bytes are still to come


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
