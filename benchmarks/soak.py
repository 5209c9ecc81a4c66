"""Does a server stay as it is over half a day of use?

    python benchmarks/soak.py                           (twelve hours at a request every five seconds, in fast motion: 30 minutes)
    python benchmarks/soak.py --model NAME              with a language model as people use it

A real server on loopback in a process of its own, with a memory of XQuAD's paragraphs and a new store for uploads. Its language
model has two layers of random weights, unless you name one: what grows, grows in the server, and is easier to see there. Four clients send what applications send, drawn by a seed: questions, streamed or not, some of them left in the middle;
turns of conversations; responses that go on from earlier ones; searches, embeddings and rerankings; malformed requests; files
that are uploaded, found and deleted again.

The requests are divided into twelve parts. After each, when the server is idle: resident memory, open files, threads, size of the
folders on disk, and the median time of the part's first tokens. A table, and one JSON line last, with all statuses; `unexpected`
must be empty, since each request has a status that it must get.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.question_sets import DATA, read_set, sample
from benchmarks.serve import ROOT, resident_mb, served

CLIENTS, PARTS, TOKENS = 4, 12, 6
BUSY = {429}  # may follow any request that generates: the server says so and keeps its place
SHARES = {  # in percent
    "question": 40,
    "streamed": 20,
    "left": 5,
    "turn": 8,
    "response": 5,
    "search": 12,
    "embedding": 3,
    "reranking": 3,
    "malformed": 3,
    "upload": 1,
}


class Traffic:
    """Requests by number, the same each time, and what came of them.

    Attributes:
        statuses: how often each kind of request got each status.
        unexpected: requests that got a status which they must not get.
        firsts: seconds to the first text of streamed answers.
    """

    def __init__(self, port: int, questions: Sequence[str], store: str):
        self.port, self.questions, self.store = port, questions, store
        self.statuses: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self.firsts: list[float] = []
        self._lock, self._uploading = threading.Lock(), threading.Lock()
        self._last_response: str | None = None

    def send(self, number: int) -> None:
        """Send one request, and note its status."""
        random = Random(number)
        kind = random.choices(list(SHARES), list(SHARES.values()))[0]
        question = self.questions[number % len(self.questions)]
        status, allowed = getattr(self, f"_{kind}")(question, random)
        with self._lock:
            self.statuses[f"{kind} {status}"] += 1
            if status not in allowed:
                self.unexpected.append(f"request {number} ({kind}): status {status}")

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        """Send a request over a connection of its own; returns its status and its JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, content, {"content-type": content_type})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"{}")
        finally:
            connection.close()

    def _chat(self, question: str, random: Random, **further: Any) -> dict[str, Any]:
        memory = {"k": random.randint(1, 8), "mode": random.choice(["memory"] * 8 + ["prompt", "closed_book"])}
        memory |= further.pop("memory", {})
        messages = [{"role": "user", "content": question}]
        return {"model": "memory", "messages": messages, "max_tokens": TOKENS, "memory": memory, **further}

    def _question(self, question: str, random: Random) -> tuple[int, set[int]]:
        body = self._chat(question, random, n=random.choice([1, 1, 1, 2]))
        return self.request("POST", "/v1/chat/completions", body)[0], {200} | BUSY

    def _turn(self, question: str, random: Random) -> tuple[int, set[int]]:
        body = self._chat(question, random, memory={"conversation": f"talk-{random.randrange(20)}", "mode": "memory"})
        return self.request("POST", "/v1/chat/completions", body)[0], {200} | BUSY

    def _streamed(self, question: str, random: Random, pieces: int = 10**9) -> tuple[int, set[int]]:
        began, first = time.perf_counter(), 0.0
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        body = self._chat(question, random, stream=True)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
            response = connection.getresponse()
            for at, line in enumerate(response):
                if at >= pieces or line.startswith(b"data: [DONE]"):
                    break
                if not first and line.startswith(b"data: ") and _has_text(json.loads(line[6:])):
                    first = time.perf_counter() - began
            if first:
                with self._lock:
                    self.firsts.append(first)
            return response.status, {200} | BUSY
        finally:
            connection.close()

    def _left(self, question: str, random: Random) -> tuple[int, set[int]]:
        return self._streamed(question, random, pieces=random.randint(0, 1))

    def _response(self, question: str, random: Random) -> tuple[int, set[int]]:
        body = {"model": "memory", "input": question, "max_output_tokens": TOKENS}
        with self._lock:
            if self._last_response is not None and random.random() < 0.7:
                body["previous_response_id"] = self._last_response
        status, answer = self.request("POST", "/v1/responses", body)
        with self._lock:
            # Turns add up; after a few, a conversation begins anew, as those of people do.
            self._last_response = answer.get("id") if random.random() < 0.8 else None
        return status, {200} | BUSY

    def _search(self, question: str, random: Random) -> tuple[int, set[int]]:
        body = {"query": question, "max_num_results": random.randint(1, 20)}
        return self.request("POST", "/v1/vector_stores/memory/search", body)[0], {200}

    def _embedding(self, question: str, random: Random) -> tuple[int, set[int]]:
        body = {"model": "memory", "input": [question] * random.randint(1, 4)}
        return self.request("POST", "/v1/embeddings", body)[0], {200}

    def _reranking(self, question: str, random: Random) -> tuple[int, set[int]]:
        documents = random.sample(self.questions, random.randint(1, 6))
        body = {"model": "memory", "query": question, "documents": documents}
        return self.request("POST", "/v1/rerank", body)[0], {200}

    def _malformed(self, question: str, random: Random) -> tuple[int, set[int]]:
        junk = random.choice([None, True, -1, 2**70, [], {}, "\0", [[]]])
        body = self._chat(question, random) | {random.choice(["messages", "n", "memory", "model", "stop"]): junk}
        content = json.dumps(body).encode()
        cut = content[: random.randrange(len(content))] if random.random() < 0.3 else content
        return self.request("POST", "/v1/chat/completions", cut)[0], {200, 400, 404} | BUSY

    def _upload(self, question: str, random: Random) -> tuple[int | str, set[int]]:
        """Upload a file, find it, delete it; one at a time, as a store has one writer."""
        word = f"pass{random.getrandbits(60):x}"
        text = f"The code of the {random.choice(['north', 'south'])} gate is {word}. {question}"
        part = '--b\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
        form = (
            part.format("purpose", "", "assistants")
            + part.format("file", f'; filename="{word}.txt"', text)
            + "--b--\r\n"
        )
        files = f"/v1/vector_stores/{self.store}/files"
        with self._uploading:
            status, file = self.request("POST", "/v1/files", form.encode(), "multipart/form-data; boundary=b")
            if status != 200:
                return status, {200}
            status, added = self.request("POST", files, {"file_id": file["id"]})
            while status == 200 and added["status"] == "in_progress":
                time.sleep(0.1)
                status, added = self.request("GET", f"{files}/{file['id']}")
            if status != 200 or added["status"] != "completed":
                return f"{status} {added.get('last_error')}", {200}
            _, found = self.request("POST", f"/v1/vector_stores/{self.store}/search", {"query": f"code {word}"})
            if not any(word in content["text"] for one in found["data"] for content in one["content"]):
                return "not found", {200}
            deleted = [self.request("DELETE", f"{path}/{file['id']}")[0] for path in (files, "/v1/files")]
            return max(deleted), {200}


def _has_text(event: dict[str, Any]) -> bool:
    return any(choice["delta"].get("content") for choice in event.get("choices", ()))


def small_model(folder: Path, texts: Sequence[str]) -> Path:
    """Save a decoder of two layers, with a tokenizer of the texts."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from memgpt_rag.model.tokenizer import bpe_tokenizer

    tokenizer = bpe_tokenizer(texts, 2000)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=8192, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def state(pid: int, folder: Path) -> dict[str, float]:
    """What the idle server holds: MB of memory, open files, threads, MB of its folders."""
    process = Path(f"/proc/{pid}")
    return {
        "resident_mb": resident_mb(pid),
        "open_files": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
        "disk_mb": round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=8640)
    parser.add_argument("--model", help="language model, by folder or name (default: a small one with random weights)")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    from indexing.jobs.compute_states import compute_states
    from memgpt_rag.encoders.load import load_encoder
    from memgpt_rag.io.console import quiet_libraries
    from memgpt_rag.memory import Memory
    from memgpt_rag.model import MemoryDecoder

    quiet_libraries()
    records, asked = read_set(options.data, "xquad-en")
    questions = [question.text for question in sample(asked, 0, 600)]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        memory, files = Path(scratch) / "memory", Path(scratch) / "files"
        texts = [record["text"] for record in records]
        model = options.model or str(small_model(Path(scratch) / "model", texts))
        Memory.create(memory, texts, load_encoder())
        compute_states(memory, MemoryDecoder.from_pretrained(model))
        chosen = ["--model", model, "--files", str(files), "--remember", str(Path(scratch) / "turns")]
        with served(ROOT, memory, *chosen) as (port, pid):
            traffic = Traffic(port, questions, "")
            traffic.store = traffic.request("POST", "/v1/vector_stores", {"name": "uploads"})[1]["id"]
            print("part, requests, seconds, resident MB, open files, threads, MB on disk, first token (ms)")
            for part in range(PARTS):
                began, size = time.perf_counter(), options.requests // PARTS
                with ThreadPoolExecutor(CLIENTS) as pool:
                    list(pool.map(traffic.send, range(part * size, (part + 1) * size)))
                seconds = time.perf_counter() - began
                time.sleep(2)  # what was left in the middle is noticed by then
                firsts, traffic.firsts = traffic.firsts, []
                row = {"requests": size, "seconds": round(seconds), **state(pid, Path(scratch))}
                row["first_token_ms"] = round(1000 * statistics.median(firsts)) if firsts else 0
                rows.append(row)
                print(f"  {part + 1:>3}" + "".join(f"{value:>10,}" for value in row.values()), flush=True)
    report = {"parts": rows, "statuses": dict(sorted(traffic.statuses.items())), "unexpected": traffic.unexpected}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
