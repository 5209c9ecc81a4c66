"""Turns the pictures of a question into what its decoder takes, with the processor that comes with the decoder.

Knows no question and no memory. What the processor returns is compared with the decoder's own prompt before the first answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoProcessor

from memgpt_rag.errors import ModelError, first_line
from memgpt_rag.hub.bundled import generator_folder
from memgpt_rag.hub.model_files import loading
from memgpt_rag.io.pictures import pixels, require_pillow
from memgpt_rag.model.equality import require_equal
from memgpt_rag.model.picture_inputs import Pictures
from memgpt_rag.model.prompt import MARK
from memgpt_rag.model.tokenizer import KIND

if TYPE_CHECKING:
    from PIL.Image import Image

    from memgpt_rag.model.decoder import MemoryDecoder

# A mask would tell rows of different lengths apart; there is one.
_UNUSED = {"input_ids", "attention_mask"}


class PictureReader:
    """Reads pictures for the questions of one decoder.

    Args:
        processor: of the decoder; None to load what its name or folder holds.

    Raises:
        ValueError: the decoder reads text only.
        ModelError: it reads pictures in another way with memory than in its prompt, or has no processor.
        MissingPackageError: Pillow is not installed.
    """

    def __init__(self, model: MemoryDecoder, processor: Any = None):
        decoder = model.writer
        if "pixel_values" not in inspect.signature(decoder.forward).parameters:
            raise ValueError(
                f"The language model {model.name!r} ({type(decoder).__name__}) reads text only; ask without pictures, or name a "
                "model that reads them, such as Gemma 3 4B, Qwen3-VL or SmolVLM."
            )
        require_pillow()
        self._name, self._decoder = model.name, decoder
        self._processor = _load(model.name) if processor is None else processor
        self._place = self._picture_place()
        from PIL import Image

        shades = Image.linear_gradient("L").convert("RGB")
        require_equal(decoder, model.windows, model.num_heads, self._read([shades.resize((96, 64)), shades]))

    def read(self, pictures: Sequence[bytes]) -> Pictures:
        """Return the pictures of a question.

        Args:
            pictures: as `memgpt_rag.io.pictures.kept_picture` returns them.

        Raises:
            ModelError: the processor cannot read them.
        """
        return self._read([pixels(one, "A picture of the question") for one in pictures])

    def _read(self, pictures: Sequence[Image]) -> Pictures:
        try:
            found = self._processor(
                text=[self._place * len(pictures)], images=list(pictures), add_special_tokens=False, return_tensors="pt"
            )
        except Exception as error:  # a processor is configured by files of others, and may raise anything
            raise self._unreadable(first_line(error)) from error
        ids = tuple(found["input_ids"][0].tolist())
        tensors = {name: one for name, one in found.items() if isinstance(one, torch.Tensor) and name not in _UNUSED}
        kinds = {name: one for name, one in tensors.items() if name.endswith("token_type_ids")}
        others = {name: one for name, one in tensors.items() if name not in kinds}
        return Pictures(ids, kinds, others).to(self._decoder)

    def _picture_place(self) -> str:
        """Return the text that stands for a picture: what the chat template writes, or the processor's own token."""
        parts = [{"type": "text", "text": MARK}, {"type": "image"}, {"type": "text", "text": MARK}]
        try:
            turn = str(self._processor.apply_chat_template([{"role": "user", "content": parts}], tokenize=False))
        except Exception:  # there is no template, or it is a program that knows no pictures
            turn = ""
        _, *place = turn.split(MARK)
        if len(place) == 2 and place[0].strip():
            return place[0].strip()
        token = getattr(self._processor, "image_token", None)
        if not token:
            raise self._unreadable("it says no token for them")
        return f"{token}\n"  # so that two pictures do not become one

    def _unreadable(self, reason: str) -> ModelError:
        return ModelError(
            f"The processor of the language model {self._name!r} cannot read pictures ({reason}); ask without them, or name "
            "another model."
        )


def _load(name: str) -> Any:
    given = generator_folder(name) or name
    with loading(KIND, name, given):
        return AutoProcessor.from_pretrained(given, trust_remote_code=False)
