"""Which causal language models of transformers read memory as they read their prompt?

    python benchmarks/decoder_types.py                      all types (one minute)
    python benchmarks/decoder_types.py --types llama jamba
    python benchmarks/decoder_types.py --page docs/reference/decoders.md      also writes the page

Of each type, a model with few random weights (benchmarks/small_decoders.py) is given memory. "Exact" means that the probabilities
after an entry in memory differ from those after the same text in the prompt by 1e-4 at most, in fp32, and that what is generated
with a cache is what reading the prompt anew for each token gives. What is refused is refused with a sentence. Types that cannot be
configured with few weights are named and not counted. A table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.small_decoders import TYPES, small_decoder
from memgpt_rag.errors import ModelError
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder

PREFIX, ENTRY, QUESTION = [1, 20, 30, 31, 32], [40, 41, 42, 50, 51, 52, 53], [60, 61, 62, 63]
TOKENS, TOLERANCE, SECONDS = 6, 1e-4, 120
EXACT, REFUSED, WRONG, CRASHED, UNKNOWN = "exact", "refused", "wrong", "crashed", "not configured"


@dataclass(frozen=True)
class Found:
    """What came of a type: the largest difference of probabilities, the reason why it is refused, or what its layers are."""

    status: str
    difference: float | None = None
    reason: str = ""
    layers: str = ""


def try_type(model_type: str) -> Found:
    """Return what comes of a type."""
    try:
        decoder = small_decoder(model_type)
        with torch.no_grad():
            decoder(input_ids=torch.tensor([PREFIX]))
    except Exception as error:  # by whatever a configuration of few weights may fail
        return Found(UNKNOWN, reason=_line(error))
    try:
        model = MemoryDecoder(decoder, None, config=MemoryAttentionConfig(), prefix_ids=PREFIX)
        difference, is_same = compared(model)
    except ModelError as error:
        return Found(REFUSED, reason=str(error))
    except Exception as error:
        return Found(CRASHED, reason=f"{type(error).__name__}: {_line(error)}")
    right = difference <= TOLERANCE and is_same
    return Found(EXACT if right else WRONG, difference, layers=layer_names(decoder, model))


@torch.no_grad()
def compared(model: MemoryDecoder) -> tuple[float, bool]:
    """Return the largest difference between memory and prompt, and whether both write the same."""
    plain = model.decoder(input_ids=torch.tensor([PREFIX + ENTRY + QUESTION]), use_cache=False).logits[
        0, -len(QUESTION) :
    ]
    found = model(torch.tensor([QUESTION]), memory=model.make_memory([[ENTRY]])).logits[0]
    difference = float((found.softmax(-1) - plain.softmax(-1)).abs().max())
    written = model.generate(
        torch.tensor([QUESTION]),
        memory=model.make_memory([[ENTRY]]),
        max_new_tokens=TOKENS,
        do_sample=False,
        eos_token_id=None,
        forced_eos_token_id=None,
        pad_token_id=0,
    )[0, len(QUESTION) :].tolist()
    anew: list[int] = []
    for _ in range(TOKENS):
        ids = torch.tensor([PREFIX + ENTRY + QUESTION + anew])
        anew.append(int(model.decoder(input_ids=ids, use_cache=False).logits[0, -1].argmax()))
    return difference, written == anew


def layer_names(decoder: PreTrainedModel, model: MemoryDecoder) -> str:
    """Return the kinds of a decoder's layers in words."""
    config = decoder.config.get_text_config(decoder=True)
    kinds = Counter(getattr(config, "layer_types", None) or ["full_attention"])
    names = [name.removesuffix("_attention").replace("_", " ") for name in kinds]
    if getattr(config, "kv_lora_rank", None):
        names.append("latent")
    if model.is_recurrent and not {"linear", "conv", "hybrid"} & set(names):
        names.append("recurrent")
    return ", ".join(dict.fromkeys(names))


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]


def page(results: dict[str, Found]) -> str:
    """Return the table as a page of the documentation."""
    tried = {name: found for name, found in results.items() if found.status != UNKNOWN}
    exact = [name for name, found in tried.items() if found.status == EXACT]
    lines = [
        "# Decoders",
        "",
        f"Every causal language model of transformers {transformers.__version__} that can be configured with few weights, tried with",
        "random ones. *Exact* means that memory gives what the same text in the prompt gives: probabilities differ by 1e-4 at most in",
        "fp32, and generation with a cache equals reading the prompt anew for each token. On loading, a model of yours is compared in",
        "the same way, once for its class and configuration.",
        "",
        f"Of {len(tried)} types, {len(exact)} are exact and {len(tried) - len(exact)} are refused with the reason. This page is written by "
        "`python benchmarks/decoder_types.py --page docs/reference/decoders.md`.",
        "",
        "## Exact",
        "",
        "| type | layers | largest difference |",
        "|---|---|---|",
        *(f"| `{name}` | {tried[name].layers} | {tried[name].difference:.0e} |" for name in exact),
        "",
        "## Refused",
        "",
        "| type | reason |",
        "|---|---|",
        *(f"| `{name}` | {_short(found.reason)} |" for name, found in tried.items() if found.status != EXACT),
        "",
        "## Not tried",
        "",
        "No configuration with few weights was found for these types, most of which read pictures or sound as well: "
        + ", ".join(f"`{name}`" for name, found in results.items() if found.status == UNKNOWN)
        + ". The comparison on loading holds for them, too.",
        "",
    ]
    return "\n".join(lines)


def _short(reason: str) -> str:
    """Return a reason without the class that it begins with and the advice that it ends with."""
    return reason.partition("; ")[0].partition(" ")[2].partition(", so memory")[0].rstrip(".")


def measure(types: Sequence[str]) -> dict[str, Found]:
    """Try types one after the other, and print what comes of each."""

    def give_up(*_: Any) -> None:
        raise TimeoutError(f"took more than {SECONDS} s")

    signal.signal(signal.SIGALRM, give_up)
    results = {}
    for name in types:
        signal.alarm(SECONDS)
        results[name] = found = try_type(name)
        signal.alarm(0)
        difference = "" if found.difference is None else f"{found.difference:.1e}"
        print(f"{name:<28}{found.status:<16}{difference:<10}{found.layers or found.reason}"[:180], flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", nargs="+", choices=TYPES, default=TYPES, metavar="TYPE")
    parser.add_argument("--page", type=Path, help="page of the documentation to write")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    quiet_libraries()
    torch.set_num_threads(1)
    results = measure(arguments.types)
    counts = Counter(found.status for found in results.values())
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    if arguments.page:
        arguments.page.write_text(page(results), encoding="utf-8")
    print(json.dumps({name: asdict(found) for name, found in results.items()}))


if __name__ == "__main__":
    main()
