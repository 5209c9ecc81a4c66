"""How many tokens a second does the server write under load, and how soon does the first token of an answer come?

    python benchmarks/serve.py --before ../earlier-checkout             (20 minutes)

A real server on loopback with the bundled models and a memory of XQuAD's paragraphs (English), and clients that each send the
next question when they have their answer: 1, 2, 4, 8 and 16 of them. One client is the server one at a time. `--before` runs the
same against the server of another checkout; the servers take turns. With the package xllamacpp, the HTTP server of llama.cpp answers
the same questions from the same passages in its prompt, with the same model's 4-bit file; its passages are found beforehand, ours
within the time.
The memory holds the states of its entries, as `memgpt-index states` stores them.

`--replicas N` runs the same against N replicas on a Ray cluster of this machine.

Then four times as many clients as the server takes at once, for a minute: what is refused must be refused with status 429, what
is accepted must have its first token before its deadline, and the server's memory must stay where it is.

The first token is the first piece of text that a client gets. A table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.llama_cpp import LlamaCpp
from benchmarks.question_sets import DATA, read_set, sample

ROWS, WAITING, DEADLINE_SECONDS = 8, 16, 60  # of the server
BACKOFF_SECONDS = 0.25  # of a client that was refused


@dataclass(frozen=True)
class Timed:
    """A request: its status, seconds to its first text, and tokens of its answer; a refused one has no text."""

    status: int
    first: float
    tokens: int


Ask = Callable[[int], Timed]  # sends one question, by its number, and reads its answer


def ask_ours(port: int, questions: Sequence[str], k: int, tokens: int) -> Ask:
    """Return what asks the server of this project."""

    def ask(number: int) -> Timed:
        body = {
            "model": "memory",
            "messages": [{"role": "user", "content": questions[number % len(questions)]}],
            "max_tokens": tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "memory": {"k": k},
        }
        return _streamed(port, "/v1/chat/completions", body, _ours)

    return ask


def ask_llama(port: int, prompts: Sequence[list[int]], tokens: int) -> Ask:
    """Return what asks llama.cpp's server."""

    def ask(number: int) -> Timed:
        body = {"prompt": prompts[number % len(prompts)], "n_predict": tokens, "temperature": 0, "stream": True}
        return _streamed(port, "/completion", {**body, "stop": ["\n"], "cache_prompt": True}, _llama)

    return ask


def _ours(event: dict[str, Any]) -> tuple[str, int | None]:
    text = "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))
    return text, (event.get("usage") or {}).get("completion_tokens")


def _llama(event: dict[str, Any]) -> tuple[str, int | None]:
    return event.get("content", ""), event.get("tokens_predicted") if event.get("stop") else None


def _streamed(port: int, path: str, body: dict[str, Any], read: Callable[[dict[str, Any]], tuple[str, Any]]) -> Timed:
    began, first, tokens = time.perf_counter(), 0.0, 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            response.read()
            return Timed(response.status, 0.0, 0)
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                return Timed(int(event.get("status", 500)), first, tokens)
            text, counted = read(event)
            tokens = tokens if counted is None else counted
            if text and not first:
                first = time.perf_counter() - began
        return Timed(200, first or time.perf_counter() - began, tokens)
    finally:
        connection.close()


def load(ask: Ask, streams: int, requests: range, seconds: float = 1e9) -> tuple[list[Timed], float]:
    """Have so many clients ask, each its next question once it has its answer.

    Args:
        requests: numbers of the questions, of all clients together.
        seconds: after which none begins another one.

    Returns:
        What came of the requests, and the seconds that all took.
    """
    done: list[Timed] = []
    numbers, lock, began = iter(requests), threading.Lock(), time.perf_counter()

    def client() -> None:
        while time.perf_counter() - began < seconds:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            timed = ask(number)
            with lock:
                done.append(timed)
            if timed.status == 429:
                time.sleep(BACKOFF_SECONDS)

    threads = [threading.Thread(target=client) for _ in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done, time.perf_counter() - began


def measured(asks: Mapping[str, Ask], streams: Sequence[int], requests: int, rounds: int) -> dict[str, Any]:
    """Return what each server gives to each number of clients, over all rounds.

    Servers take turns, so that the machine is as busy for one as for another. Each round gives a number of clients another part of
    the questions; after as many rounds as there are numbers of clients, each number has had all of them.
    """
    cells: dict[tuple[str, int], list[tuple[list[Timed], float]]] = {}
    for round_number in range(rounds):
        for place, count in enumerate(streams):
            begin = (round_number + place) % len(streams) * requests
            for name, ask in asks.items():
                part = load(ask, count, range(begin, begin + max(requests, 2 * count)))
                cells.setdefault((name, count), []).append(part)
    return {name: {str(count): _row(cells[name, count], cells[name, streams[0]]) for count in streams} for name in asks}


def _row(parts: Sequence[tuple[list[Timed], float]], fewest: Sequence[tuple[list[Timed], float]]) -> dict[str, Any]:
    """Return the figures of one server and number of clients; `times` compares with the fewest clients, round by round."""
    answered = [sum(one.status == 200 for one in done) / seconds for done, seconds in parts]
    alone = [sum(one.status == 200 for one in done) / seconds for done, seconds in fewest]
    firsts = sorted(one.first for done, _ in parts for one in done if one.status == 200)
    times = sorted(here / there for here, there in zip(answered, alone, strict=True))
    row: dict[str, Any] = {
        "tokens_per_second": round(
            statistics.median(sum(one.tokens for one in done) / seconds for done, seconds in parts), 1
        ),
        "answers_per_second": round(statistics.median(answered), 2),
        "times": round(statistics.median(times), 2),
        "times_range": [round(times[0], 2), round(times[-1], 2)],
    }
    for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        row[f"first_token_{name}_ms"] = round(1000 * firsts[min(len(firsts) - 1, int(part * len(firsts)))])
    return row


def print_table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Print the figures of each server."""
    for name, rows in results.items():
        print(f"{name}: clients, tokens/s, answers/s, times the fewest clients, first token p50, p95, p99 (ms)")
        for count, row in rows.items():
            print(f"  {count:>3}" + "".join(f"{value!s:>14}" for value in row.values()), flush=True)


def overloaded(ask: Ask, pid: int, seconds: float) -> dict[str, Any]:
    """Ask four times as much at once as the server takes."""
    clients, peaks, over = 4 * (ROWS + WAITING), [resident_mb(pid)], threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            peaks.append(resident_mb(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    done, _ = load(ask, clients, range(10**9), seconds)
    over.set()
    watcher.join()
    firsts = [one.first for one in done if one.status == 200]
    half = len(peaks) // 2
    return {
        "clients": clients,
        "statuses": dict(Counter(one.status for one in done)),
        "first_token_p50_ms": round(1000 * statistics.median(firsts)),
        "first_token_most_ms": round(1000 * max(firsts)),
        "deadline_ms": 1000 * DEADLINE_SECONDS,
        "resident_mb": {"before": peaks[0], "first half": max(peaks[: half + 1]), "second half": max(peaks[half:])},
    }


def resident_mb(pid: int) -> int:
    """Memory of a process that is in RAM."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024


@contextlib.contextmanager
def served(checkout: Path, memory: Path, *engine: str) -> Iterator[tuple[int, int]]:
    """Run a checkout's server, with options that choose its engine; yields its port and process."""
    port = _free_port()
    command = [sys.executable, "-m", "memgpt_rag", "serve", "--memory", f"memory={memory}", "--port", str(port)]
    limits = ["--max-rows", str(ROWS), "--max-waiting", str(WAITING), "--deadline", str(DEADLINE_SECONDS)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    process = subprocess.Popen([*command, *limits, *engine], cwd=checkout, env=environment, stderr=subprocess.DEVNULL)
    try:
        while not _is_ready(port):
            if process.poll() is not None:
                sys.exit(f"The server of {checkout} has ended with {process.returncode}; start it by hand to see why.")
            time.sleep(0.5)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.suppress(OSError), contextlib.closing(connection):
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def prompts(memory: Path, questions: Sequence[str], k: int) -> list[list[int]]:
    """Return the tokens of each question with its passages before it, for a model that has no memory."""
    from memgpt_rag.encoders.load import load_encoder
    from memgpt_rag.memory import Memory
    from memgpt_rag.model import DEFAULT_GENERATOR
    from memgpt_rag.model.prompt import Prompt
    from memgpt_rag.model.tokenizer import load_tokenizer
    from memgpt_rag.retrieval.retriever import Retriever

    prompt = Prompt(load_tokenizer(DEFAULT_GENERATOR))
    found = Retriever(Memory.open(memory), load_encoder()).retrieve(questions, k)
    return [
        [*prompt.prefix_ids, *prompt.question_row(question, [entry.passage for entry in entries])]
        for question, entries in zip(questions, found, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout, whose server is measured, too")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--requests", type=int, default=16, help="of each number of clients and round")
    parser.add_argument("--rounds", type=int, default=5, help="as many as numbers of clients, or a multiple")
    parser.add_argument("--replicas", type=int, help="replicas on a Ray cluster, which are measured, too")
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=48, help="longest answer")
    parser.add_argument("--overload-seconds", type=float, default=60)
    parser.add_argument(
        "--no-states", action="store_true", help="do not store the states of entries: they are computed when needed"
    )
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
    results: dict[str, Any] = {"k": options.k, "cores": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory() as scratch:
        memory = Path(scratch) / "memory"
        Memory.create(memory, [record["text"] for record in records], load_encoder())
        if not options.no_states:
            compute_states(memory, MemoryDecoder.from_pretrained())
        servers: dict[str, tuple[Path, tuple[str, ...]]] = {"this": (ROOT, ())}
        if options.before is not None:
            servers["before"] = options.before.resolve(), ()
        if options.replicas:
            servers["replicas"] = ROOT, ("--engine", "ray", "--replicas", str(options.replicas))
        with contextlib.ExitStack() as running:
            started = {
                name: running.enter_context(served(checkout, memory, *engine))
                for name, (checkout, engine) in servers.items()
            }
            asks = {name: ask_ours(port, questions, options.k, options.tokens) for name, (port, _) in started.items()}
            known = range(len(options.streams) * options.requests)
            for ask in asks.values():  # so that no round is the first to meet a question
                load(ask, 2, known)
            results |= measured(asks, options.streams, options.requests, options.rounds)
            print_table({name: results[name] for name in servers})
            if options.overload_seconds:
                results["overload"] = overloaded(asks["this"], started["this"][1], options.overload_seconds)
                print(f"overload: {results['overload']}", flush=True)
            try:
                served_llama = LlamaCpp(Path(scratch), results["cores"], port=_free_port(), slots=ROWS)
                llama = ask_llama(served_llama.port, prompts(memory, questions, options.k), options.tokens)
                name = "llama.cpp, passages in the prompt"
                load(llama, 2, range(len(questions) - 4, len(questions)))
                # One round, and each question once: it remembers what it has read, and has no states to read instead.
                results |= measured({name: llama}, options.streams, options.requests, 1)
                print_table({name: results[name]})
            except ImportError as error:
                results["llama.cpp"] = f"skipped: {error}"
    print(json.dumps(results))


if __name__ == "__main__":
    main()
