"""A real server on a free port of this machine, with tiny models, and its clients."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
from hashing import HashEncoder
from tiny import TinyReader, tiny_bert, tiny_decoder

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.serving.access import Keys
from memgpt_rag.serving.app import create_app
from memgpt_rag.serving.memories import Models
from memgpt_rag.serving.server import http_server
from memgpt_rag.serving.settings import ServerSettings

TEXTS = [
    "A rowing boat costs 40 yuan an hour.",
    "The park opens at six in the morning.",
    "Children under twelve may borrow a kite.",
    "Dogs must be kept on a lead. 遛狗必须牵绳。",
    "Metro line 3 goes to the park.",
    "The tea house sells <b>green tea</b> & cakes.",
]
BOOKS = ["The library lends books for four weeks.", "A lost book costs its price."]


class Served:
    """A server with the memories "park" and "books", or with others; for use in a `with` block."""

    def __init__(
        self,
        folder: Path,
        *,
        keys: Keys | None = None,
        encoder: Encoder | None = None,
        decoder: MemoryDecoder | None = None,
        memories: dict[str, Path] | None = None,
        telemetry: Any = None,
        **settings: Any,
    ):
        self.folder = folder
        self.encoder = encoder or HashEncoder()
        if memories is None:
            for name, texts in (("park", TEXTS), ("books", BOOKS)):
                Memory.create(folder / name, texts, self.encoder)
            memories = {"park": folder / "park", "books": folder / "books"}
        port = free_port()
        self.settings = ServerSettings(memories, port=port, **{"refresh_seconds": 0.05, **settings})
        self.models = Models(decoder or TinyReader()(), lambda memory: self.encoder)
        self.app = create_app(self.settings, self.models, keys or Keys({}), telemetry)
        self.server = http_server(self.app, self.settings)
        self.url = f"http://127.0.0.1:{port}"
        self._clients: list[openai.OpenAI] = []
        self._thread = threading.Thread(target=self.server.run, daemon=True)

    @property
    def service(self) -> Any:
        return self.app.state.service

    def __enter__(self) -> Served:
        self._thread.start()
        wait_until(lambda: self.server.started or not self._thread.is_alive())
        assert self.server.started
        return self

    def __exit__(self, *error: object) -> None:
        for client in self._clients:
            client.close()
        self.server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    def client(self, key: str = "none", **settings: Any) -> openai.OpenAI:
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **settings)
        self._clients.append(client)
        return client

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the engine from beginning anything inside the block."""
        go, waits = threading.Event(), threading.Event()
        self.service.engine.call(lambda: (waits.set(), go.wait(120)))
        assert waits.wait(60)
        try:
            yield
        finally:
            go.set()

    def wait_for_waiting(self, count: int) -> None:
        wait_until(lambda: self.service.engine.waiting == count)


def open_files() -> list[str]:
    """Paths of the files that this process holds open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            found.append(str(descriptor.readlink()))
    return found


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until(holds: Any, seconds: float = 60.0) -> None:
    """Wait for a condition that must come true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


def saved_models(folder: Path) -> list[str]:
    """Save tiny models, and return the options that name them, for a server in a process of its own."""
    tokenizer, decoder = byte_tokenizer(), tiny_decoder("llama")
    decoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    decoder.save_pretrained(folder / "decoder")
    tokenizer.save_pretrained(folder / "decoder")
    return ["--model", str(folder / "decoder"), "--encoder", str(tiny_bert(folder / "bert"))]


def make_client(port: int) -> openai.OpenAI:
    """Return a client of a server in a process of its own; it tries everything once."""
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=60)


def wait_until_ready(process: subprocess.Popen[Any], port: int, log: Path) -> None:
    """Wait for a server in a process of its own; one that ends is reported with the end of its log."""

    def ready() -> bool:
        assert process.poll() is None, log.read_text()[-3000:]
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as got,
        ):
            return bool(got.status == 200)
        return False

    wait_until(ready, 300)
