"""Closed sets of options and their defaults, each once. Imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

from typing import Literal, get_args

# How a question is answered.
Mode = Literal["memory", "prompt", "closed_book"]
UseMemory = Literal["always", "never", "auto"]
Lead = Literal["answer", "quote"]  # what of an answer is shown first
Preset = Literal["quality", "compact"]
MODES: tuple[Mode, ...] = get_args(Mode)
USES_OF_MEMORY: tuple[UseMemory, ...] = get_args(UseMemory)
PRESETS: tuple[Preset, ...] = get_args(Preset)
DEFAULT_K = 4  # entries per question
DEFAULT_MAX_NEW_TOKENS = 48

# How texts are classified.
DEFAULT_NEIGHBORS = 16  # examples of each text
DEFAULT_TEXT_TOKENS = 128  # of a text that the language model reads
DEFAULT_FIT_ON = 100  # examples that weight and temperatures are fitted to

# How sentences are translated.
DEFAULT_PAIRS = 4  # sentence pairs of each text

# How questions are answered over several hops, and pictures found.
DEFAULT_PATHS = 3  # paths that are read
DEFAULT_HOPS = 2  # entries of the longest path
DEFAULT_PICTURES = 5  # that are shown

# How documents are summarised.
Outline = Literal["auto", "headings", "topics"]  # auto: headings where there are several, else topics
OUTLINES: tuple[Outline, ...] = get_args(Outline)
DEFAULT_PARTS = 6  # the most parts of a summary
DEFAULT_PART_TOKENS = 64  # of a part
DEFAULT_RETRIEVE_EVERY = 32  # tokens after which a part goes on with other entries

# How entries are searched.
SearchKind = Literal["dense", "bm25", "hybrid", "sparse"]
# auto: hybrid where the memory has a lexical index or a sparse encoder is named, else dense.
SearchChoice = Literal["auto", "dense", "bm25", "hybrid", "sparse"]
Fusion = Literal["scores", "ranks"]
SEARCH_KINDS: tuple[SearchKind, ...] = get_args(SearchKind)
SEARCH_CHOICES: tuple[SearchChoice, ...] = get_args(SearchChoice)
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)
DEFAULT_LEXICAL_WEIGHT = 0.25  # of BM25 beside cosines, 0 to 1
DEFAULT_SPARSE_WEIGHT = 0.25  # of sparse vectors beside the rest of a hybrid search, 0 to 1
DEFAULT_DEPTH = 20  # entries that a reranker reads

# What a memory holds.
Metric = Literal["cosine", "euclidean"]
StatesType = Literal["int8", "int4", "fp16", "bf16", "fp32"]
ColumnType = Literal["string", "integer", "number", "boolean", "date"]
METRICS: tuple[Metric, ...] = get_args(Metric)
STATES_TYPES: tuple[StatesType, ...] = get_args(StatesType)
COLUMN_TYPES: tuple[ColumnType, ...] = get_args(ColumnType)
DEFAULT_MAX_PASSAGE_TOKENS = 160

# Stores of other programs, which can be imported as memories.
StoreKind = Literal["chroma", "lancedb", "langchain-faiss", "llama-index-faiss", "parquet", "qdrant", "txtai"]
STORE_KINDS: tuple[StoreKind, ...] = get_args(StoreKind)

# Where a memory is built or served, and how its keys are searched.
EngineKind = Literal["local", "ray"]
IndexKind = Literal["auto", "exact", "hnsw", "ivf", "codes"]
ENGINE_KINDS: tuple[EngineKind, ...] = get_args(EngineKind)
INDEX_KINDS: tuple[IndexKind, ...] = get_args(IndexKind)
DEFAULT_RECALL = 0.98  # share of the 10 nearest that an index has to find
DEFAULT_LATENCY = 1.0  # milliseconds of one search on one thread

# What an encoder runs on.
Backend = Literal["torch", "openvino", "onnx"]
Precision = Literal["fp32", "bf16", "int8"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
BACKEND_PRECISIONS: dict[Backend, tuple[Precision, ...]] = {
    "torch": ("fp32", "bf16", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
    "onnx": ("fp32", "int8"),  # ONNX Runtime has no bf16 on a CPU
}
BACKEND_PACKAGES: dict[Backend, tuple[str, ...]] = {
    "torch": (),
    "openvino": ("openvino", "nncf"),
    "onnx": ("onnxruntime", "onnx"),
}

# How a reader is trained.
Trained = Literal["adapter", "delimiters"]
TRAINED: tuple[Trained, ...] = get_args(Trained)
Schedule = Literal["cosine", "linear", "constant_with_warmup"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
