"""A fast encoder for jobs at size: static vectors of tokens, made here from the input embeddings of the bundled language model.

A text's vector is the mean of its tokens' vectors, rare tokens before frequent ones (Arora et al. 2017, "A simple but
tough-to-beat baseline for sentence embeddings", without the common component), after a PCA. It finds less than a trained
encoder and takes a hundredth of its time, so that a benchmark of a whole job measures reading, cutting and writing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

_FREQUENT = 1e-4


def make_static_encoder(folder: Path, texts: Sequence[str], dimension: int = 384) -> Path:
    """Save a sentence-transformers model to a folder.

    Args:
        texts: where to count how frequent tokens are.

    Returns:
        The folder.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    from memgpt_rag.hub.bundled import GEMMA
    from memgpt_rag.model import MemoryDecoder

    model = MemoryDecoder.from_pretrained(GEMMA, config="compact")
    vectors = model.decoder.get_input_embeddings().weight.detach().float().numpy()
    tokenizer = model.tokenizer.backend_tokenizer
    tokenizer.post_processor = None
    counts = np.zeros(len(vectors))
    for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        np.add.at(counts, encoded.ids, 1)
    frequency = counts / counts.sum()
    seen = frequency > 0
    centred = vectors - frequency @ vectors
    weighted = centred * (_FREQUENT / (_FREQUENT + frequency))[:, None]
    _, directions = np.linalg.eigh(weighted[seen].T @ weighted[seen])
    reduced = (weighted @ directions[:, ::-1][:, :dimension]).astype(np.float32)
    static = modules.StaticEmbedding(tokenizer, embedding_weights=torch.from_numpy(reduced.copy()))
    SentenceTransformer(modules=[static, modules.Normalize()], device="cpu").save(str(folder))
    return folder
