"""Tokenizers that read text as plain text: what a document or a question says never becomes a control token.

Tokenizers of language models and encoders look for their control tokens, such as <eos> or [SEP], in every text. A text about a chat
format would end itself that way, and a document could forge a turn. `split_special_tokens` of transformers leaves some through:
added tokens that are not marked as special, and control tokens that the vocabulary itself holds (Unigram takes "</s>" for a word).
So a tokenizer is rebuilt here with its own model: control tokens are not looked for, and a text that spells one is cut inside it.
Texts without control tokens get the tokens that they always had.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from memgpt_rag.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

# Tokens that are control tokens wherever a vocabulary holds them, although the tokenizer does not say so.
_USUAL = (
    *("<s>", "</s>", "<pad>", "<unk>", "<mask>", "<cls>", "<sep>", "<bos>", "<eos>"),
    *("[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]", "[BOS]", "[EOS]"),
)
# Added tokens that look like control tokens, although the tokenizer does not mark them as such. HTML tags, which some models
# have, and runs of spaces and line breaks are text.
_LOOKS_LIKE_CONTROL = re.compile(
    r"<\|.*\|>|<｜.*｜>|<<?/?SYS>?>|\[/?\w+\]|</?(?:bos|eos|pad|unk|mask|cls|sep)>|<(?:start|end|begin)_of_\w+>|<(?:unused|extra_id|reserved)\w*>",
    re.IGNORECASE | re.DOTALL,
)


def plain_tokenizer(tokenizer: Any, *, keep: Iterable[str] = ()) -> Tokenizer:
    """Return a copy of a tokenizer that reads every text as plain text, without truncation and padding.

    Args:
        tokenizer: tokenizer of transformers that runs in Rust, or of the package tokenizers. Its model is shared, since one of
            250,000 pieces takes 240 MB.
        keep: texts, such as prompts of an encoder, whose control tokens keep their meaning.

    Raises:
        ModelError: the tokenizer gave its added tokens ids that cannot be given again.
    """
    from tokenizers import AddedToken, Regex, Tokenizer
    from tokenizers.pre_tokenizers import Sequence, Split

    backend = rust_tokenizer(tokenizer)
    if backend is None:
        raise TypeError(f"{type(tokenizer).__name__} does not run in Rust.")
    control = control_tokens(tokenizer, keep)
    plain = Tokenizer(backend.model)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if (value := getattr(backend, part)) is not None:
            setattr(plain, part, value)
    added = sorted(backend.get_added_tokens_decoder().items())
    same = ("single_word", "lstrip", "rstrip", "normalized")
    again = [
        AddedToken(token.content, special=token.content in control, **{name: getattr(token, name) for name in same})
        for _, token in added
    ]
    plain.add_tokens(again)  # in the order of their ids, and at once: a call for each of thousands takes half a minute
    if plain.get_added_tokens_decoder().keys() != dict(added).keys():
        raise ModelError(
            "The tokenizer's added tokens have ids with gaps between them; save it again with transformers."
        )
    plain.encode_special_tokens = True  # as text, that is
    if spelled := [text for text, token in control.items() if _is_spelled(plain, text, token)]:
        # After all other steps, so that what normalization makes of a text is seen, and no step takes the cut for a new word.
        cut = Split(Regex("|".join(map(_first_letter, spelled))), "merged_with_previous")
        plain.pre_tokenizer = cut if plain.pre_tokenizer is None else Sequence([plain.pre_tokenizer, cut])
    return plain


def plain_ids(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], list[int]]:
    """Return a function that reads a text as plain text and returns its token ids, without special tokens around them."""
    return plain_readers(tokenizer)[0]


def plain_readers(
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[Callable[[str], list[int]], Callable[[str], list[tuple[int, int]]] | None]:
    """Return the function of `plain_ids`, and one that returns the characters of each of these tokens, as (start, end).

    Tokens that share a character, of which each has some bytes, all have its place. The second function is None where the
    tokenizer does not run in Rust: only those know places.
    """
    if rust_tokenizer(tokenizer) is not None:
        plain = plain_tokenizer(tokenizer)
        return partial(_ids, plain), partial(_spans, plain)
    cut = re.compile("|".join(map(_first_letter, control_tokens(tokenizer))) or "(?!)")
    return partial(_ids_of_parts, tokenizer, cut), None


def read_plain_text(model: Any, *, keep: Iterable[str] = ()) -> None:
    """Make a model of sentence-transformers read every text as plain text.

    A model whose tokenizer does not run in Rust, or that puts texts into a chat template, stays as it is.

    Args:
        model: a SentenceTransformer or CrossEncoder.
        keep: texts, such as its prompts, whose control tokens keep their meaning.
    """
    first, tokenizer = model[0], model.tokenizer
    if rust_tokenizer(tokenizer) is None or "message" in getattr(first, "modality_config", {}):
        return
    plain = plain_tokenizer(tokenizer, keep=keep)
    if tokenizer is rust_tokenizer(tokenizer):
        first.tokenizer = plain  # of static embeddings
    else:
        tokenizer.split_special_tokens = True  # else transformers sets that of its backend
        tokenizer._tokenizer = plain


def control_tokens(tokenizer: Any, keep: Iterable[str] = ()) -> dict[str, int]:
    """Return the control tokens of a tokenizer, of two characters and more, with their ids.

    They are the tokens marked as special, those with a name such as "eos_token", those in its chat template, and others that look
    like them.
    """
    backend, template = rust_tokenizer(tokenizer), getattr(tokenizer, "chat_template", None) or ""
    template = template if isinstance(template, str) else " ".join(map(str, dict(template).values()))
    decoder = getattr(tokenizer, "added_tokens_decoder", {}) if backend is None else backend.get_added_tokens_decoder()
    added = {token.content: (number, token.special) for number, token in decoder.items()}
    control = {
        text: number
        for text, (number, special) in added.items()
        if special or _LOOKS_LIKE_CONTROL.fullmatch(text) or (text in template and re.search(r"[^\w\s]", text))
    }
    find = tokenizer.convert_tokens_to_ids if backend is None else backend.token_to_id
    named = set(getattr(tokenizer, "all_special_tokens", ()))
    for text in (*named, *(text for text in _USUAL if text not in added)):
        if (number := find(text)) is not None and (backend is not None or text in named):
            control[text] = number
    kept = [text for text in control if any(text in one for one in keep)]
    return {text: number for text, number in control.items() if len(text) > 1 and text not in kept}


def rust_tokenizer(tokenizer: Any) -> Tokenizer | None:
    """Return the tokenizer of the package tokenizers behind a tokenizer; None where there is none."""
    from tokenizers import Tokenizer

    found = tokenizer if isinstance(tokenizer, Tokenizer) else getattr(tokenizer, "backend_tokenizer", None)
    return found if isinstance(found, Tokenizer) else None


def _ids(plain: Tokenizer, text: str) -> list[int]:
    plain.encode_special_tokens = True  # again, since a pickled tokenizer loses it
    return list(plain.encode(text, add_special_tokens=False).ids)


def _spans(plain: Tokenizer, text: str) -> list[tuple[int, int]]:
    plain.encode_special_tokens = True
    return list(plain.encode(text, add_special_tokens=False).offsets)


def _ids_of_parts(tokenizer: PreTrainedTokenizerBase, cut: re.Pattern[str], text: str) -> list[int]:
    """Tokens of a text that is cut inside each control token, for a tokenizer that does not run in Rust."""
    ends = [match.end() for match in cut.finditer(text)]
    parts = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    return [token for part in parts for token in tokenizer(part, **options)["input_ids"]]


def _is_spelled(tokenizer: Tokenizer, text: str, number: int) -> bool:
    """Whether the model itself makes a token of the letters of its name."""
    try:
        return any(token.id == number for token in tokenizer.model.tokenize(text))
    except Exception:  # a model without a token for unknown letters: these letters come in no text that it reads
        return False


def _first_letter(text: str) -> str:
    """The first letter of a text where the rest follows, as a regular expression."""
    return f"{re.escape(text[0])}(?={re.escape(text[1:])})"
