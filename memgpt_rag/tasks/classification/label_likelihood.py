"""Log-likelihood of label words under the language model, which attends to the states of labelled examples.

Examples that are read independently at the same positions are the parallel context windows of Ratner et al. 2023
(arXiv 2212.10947), with one example a window.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from memgpt_rag.model import AttendedMemory, MemoryDecoder
from memgpt_rag.model.whole_cache import repeated


@torch.inference_mode()
def label_log_likelihoods(
    model: MemoryDecoder,
    texts: Sequence[Sequence[int]],
    memory: AttendedMemory,
    labels: Sequence[Sequence[int]],
) -> Float[Tensor, "texts labels"]:
    """Return the log-likelihood of each label's tokens after each text, summed over the tokens.

    Texts are read once, as one batch. The tokens of a label that has several are read after them, from the same cache.

    Args:
        texts: tokens of each text.
        memory: what each text attends to.
        labels: tokens of each label.
    """
    ids, mask = model.pad_left(texts)
    read = model(ids, mask, memory=memory, use_cache=True, logits_to_keep=1)
    first = read.logits[:, -1].float().log_softmax(-1)

    def rest(label: Sequence[int]) -> Float[Tensor, " texts"]:
        """Return the log-likelihood of a label's tokens after its first one."""
        given, target = (torch.tensor(part, device=ids.device).expand(len(ids), -1) for part in (label[:-1], label[1:]))
        seen = torch.cat([mask, mask.new_ones(given.shape)], dim=1)
        cache = repeated(read.past_key_values, len(ids))
        logits: Tensor = model(given, seen, memory=memory, past_key_values=cache, use_cache=True).logits
        return logits.float().log_softmax(-1).gather(-1, target[..., None])[..., 0].sum(-1)

    return torch.stack([first[:, label[0]] + (rest(label) if len(label) > 1 else 0) for label in labels], dim=1)
