"""Does an encoder that is trained in minutes find pictures by words that it was not trained on, in two languages?

    python benchmarks/images.py --kept images          (goes on where it was stopped; half an hour on one busy core)

The emoji pairs: 1,359 pictures with a name and keywords in English and in Chinese. 360 pictures, drawn by a seed, are held out of the
training of `memgpt-rag images train`, and become a memory. Queries are their names, and their keywords without what the name says.
Compared are the search by pictures, which sees no word of the memory; chance; and searches by words over the names as captions: BM25 and
the text encoder (E5), each in the language of the query and in the other one. The name in its own language is its own caption, so that
these searches need only find equal texts there. Intervals are 95 %, by bootstrap, of differences paired. A table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.kept_answers import KeptAnswers, Row
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.dual_encoder import SETTINGS, DualEncoder
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.encoders.truncated import TruncatedEncoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.cache_folder import cache_folder
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.io.pictures import read_picture
from memgpt_rag.memory import Memory, add_lexical_index
from memgpt_rag.memory.pictures import add_pictures
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.retriever import Retriever, Search
from memgpt_rag.tasks.images.search import PictureSearch
from memgpt_rag.training.dual_encoder import DualTraining, train_dual_encoder

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "emoji_pairs"
LANGUAGES, OTHER = ("en", "zh"), {"en": "zh", "zh": "en"}
JOIN = {"en": ", ", "zh": "，"}
Emoji = dict[str, str]
Ranks = Callable[[Sequence[str]], Iterable[Row]]


class OnceEach(TruncatedEncoder):
    """A text encoder that embeds each query once, whatever searches ask for it."""

    def __init__(self, encoder: Encoder):
        super().__init__(encoder, encoder.fingerprint.dimension)
        self._known: dict[str, np.ndarray] = {}

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        if missing := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known |= dict(zip(missing, super().encode_queries(missing), strict=True))
        return np.stack([self._known[text] for text in texts])


def keywords(emoji: Emoji, language: str, *, without_name: bool) -> str:
    """The keywords of an emoji as one text; without those that are its name, or a part of it."""
    words = [word.strip() for word in emoji[f"{language}_keywords"].split("|")]
    if without_name:
        words = [word for word in words if word.casefold() not in emoji[language].casefold()]
    return JOIN[language].join(words)


def split(held_out: int) -> tuple[list[Emoji], list[Emoji]]:
    """The emoji to train on, and those that are held out."""
    emoji = json.loads((DATA / "pairs.json").read_text(encoding="utf-8"))
    random.Random(0).shuffle(emoji)
    return emoji[held_out:], emoji[:held_out]


def trained(folder: Path, emoji: Sequence[Emoji], text_encoder: Encoder, epochs: int) -> tuple[DualEncoder, float]:
    """The encoder in a folder, trained where it is not there yet; and the seconds of processor time that the training took."""
    times = folder / "seconds.json"
    if not ((folder / SETTINGS).is_file() and times.is_file()):
        texts = [
            [text for language in LANGUAGES for text in (one[language], keywords(one, language, without_name=False))]
            for one in emoji
        ]
        pictures = [picture(one) for one in emoji]
        losses: list[float] = []
        with tqdm(total=epochs, desc="epochs", disable=None) as bar:

            def on_epoch(loss: float) -> None:
                if not losses:
                    bar.unpause()
                losses.append(loss)
                bar.update()
                print(f"epoch {len(losses)}: {loss:.3f}", file=sys.stderr, flush=True)

            began = time.process_time()
            got = train_dual_encoder(
                pictures,
                texts,
                text_encoder,
                DualTraining(epochs=epochs),
                cache=cache_folder("text-vectors"),
                on_epoch=on_epoch,
            )
        got.encoder.save(folder)
        times.write_text(json.dumps(time.process_time() - began), encoding="utf-8")
    return DualEncoder.load(folder, text_encoder=text_encoder), json.loads(times.read_text(encoding="utf-8"))


def picture(emoji: Emoji) -> bytes:
    return read_picture(DATA / "png" / emoji["file"], emoji["file"])


def passage(emoji: Emoji, text: str) -> Passage:
    return Passage(emoji["file"], text, "", emoji["file"], "", "picture", 1, 1, 0, len(text))


def queries(held: Sequence[Emoji]) -> dict[str, list[tuple[str, str]]]:
    """By name of the kind: pairs of the picture and the text to search with."""
    found = {}
    for language in LANGUAGES:
        found[f"names, {language}"] = [(one["file"], one[language]) for one in held]
        others = [(one["file"], keywords(one, language, without_name=True)) for one in held]
        found[f"keywords, {language}"] = [(file, text) for file, text in others if text]
    return found


class Systems:
    """The searches that are compared; each returns how the pictures of queries rank."""

    def __init__(self, held: Sequence[Emoji], encoder: DualEncoder, text_encoder: Encoder, folder: Path):
        entries = [(passage(one, f"{one['en']}\n{one['zh']}"), picture(one)) for one in held]
        self.pictures = PictureSearch(add_pictures(folder / "pictures", entries, encoder), encoder)
        self.count, self.text_encoder = len(held), text_encoder
        self.captions = {}
        for language in LANGUAGES:
            Memory.create(folder / language, [passage(one, one[language]) for one in held], text_encoder)
            add_lexical_index(Memory.open(folder / language))
            self.captions[language] = Memory.open(folder / language)

    def by_pictures(self, texts: Sequence[str]) -> list[list[str]]:
        return [[one.passage.id for one in found] for found in self.pictures.by_texts(texts, self.count)]

    def by_words(self, kind: Any, language: str) -> Callable[[Sequence[str]], list[list[str]]]:
        retriever = Retriever(self.captions[language], self.text_encoder, Search(kind))
        return lambda texts: [
            [one.passage.id for one in found if one.score] for found in retriever.retrieve(texts, self.count)
        ]

    def for_language(self, language: str) -> dict[str, Callable[[Sequence[str]], list[list[str]]]]:
        other = OTHER[language]
        return {
            "pictures": self.by_pictures,
            f"BM25 over {other} captions": self.by_words("bm25", other),
            f"E5 over {other} captions": self.by_words("dense", other),
            f"BM25 over {language} captions": self.by_words("bm25", language),
            f"E5 over {language} captions": self.by_words("dense", language),
        }


def ranked(search: Callable[[Sequence[str]], list[list[str]]]) -> Callable[[Sequence[tuple[str, str]]], Iterable[Row]]:
    """Make rows of a search: the rank of the right picture, or none where it is not found."""

    def rows(batch: Sequence[tuple[str, str]]) -> Iterable[Row]:
        for (file, _), found in zip(batch, search([text for _, text in batch]), strict=True):
            yield {"rank": found.index(file) + 1 if file in found else None}

    return rows


def hits(rows: Sequence[Row]) -> list[float]:
    """1 where the right picture is among the ten best."""
    return [float(row["rank"] is not None and row["rank"] <= 10) for row in rows]


def rounded(numbers: Sequence[float]) -> list[float]:
    return [round(number, 4) for number in numbers]


def measured(systems: Systems, held: Sequence[Emoji], kept: KeptAnswers) -> dict[str, Any]:
    results: dict[str, Any] = {}
    chance = 10 / systems.count
    for kind, asked in queries(held).items():
        language = kind[-2:]
        found = {
            name: hits(
                kept.fill(
                    [(f"{kind}|{name}|{file}", (file, text)) for file, text in asked],
                    ranked(search),
                    f"{kind}: {name}",
                    64,
                )
            )
            for name, search in systems.for_language(language).items()
        }
        mine = found["pictures"]
        results[kind] = {
            "queries": len(asked),
            "chance": round(chance, 4),
            "recall@10": {name: rounded(interval(own)) for name, own in found.items()},
            "pictures against": {
                name: rounded(interval([one - other for one, other in zip(mine, own, strict=True)]))
                for name, own in {"chance": [chance] * len(mine), **found}.items()
                if name != "pictures"
            },
        }
    return results


def words_of_pictures(systems: Systems, held: Sequence[Emoji], kept: KeptAnswers) -> dict[str, list[float]]:
    """Recall@10 of a picture's own names among the names of all pictures, both languages together: image to text."""

    def search(batch: Sequence[Emoji]) -> Iterable[Row]:
        for one, found in zip(batch, systems.pictures.words([picture(one) for one in batch], 10), strict=True):
            yield {"rank": next((place for place, text in enumerate(found, 1) if text.passage.id == one["file"]), None)}

    rows = kept.fill([(f"words|{one['file']}", one) for one in held], search, "words of pictures", 64)
    return {"recall@10": rounded(interval(hits(rows))), "chance": rounded([1 - (1 - 1 / systems.count) ** 10])}


def print_table(results: dict[str, Any]) -> None:
    for kind, one in results.items():
        print(f"\n{kind}: {one['queries']} queries, chance {one['chance']:.3f}")
        print(f"{'search':<26}{'recall@10 (95 %)':>24}{'pictures against it':>28}")
        for name, figures in one["recall@10"].items():
            own = "{:.3f} [{:.3f}, {:.3f}]".format(*figures)
            less = one["pictures against"].get(name)
            print(f"{name:<26}{own:>24}{'' if less is None else '{:+.3f} [{:+.3f}, {:+.3f}]'.format(*less):>28}")
        print("pictures against chance: " + "{:+.3f} [{:+.3f}, {:+.3f}]".format(*one["pictures against"]["chance"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, required=True, help="folder that keeps the trained encoder and the ranks")
    parser.add_argument("--held-out", type=int, default=360)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"There is no {DATA}; put the emoji pairs there.")
    quiet_libraries()
    text_encoder = OnceEach(load_encoder())
    training, held = split(arguments.held_out)
    encoder, seconds = trained(arguments.kept / "encoder", training, text_encoder, arguments.epochs)
    kept = KeptAnswers(arguments.kept / "ranks.jsonl")
    with tempfile.TemporaryDirectory() as folder:
        systems = Systems(held, encoder, text_encoder, Path(folder))
        results = measured(systems, held, kept)
        words = words_of_pictures(systems, held, kept)
    print_table(results)
    print(
        "\nwords by a picture, names of both languages: "
        + "{:.3f} [{:.3f}, {:.3f}]".format(*words["recall@10"])
        + ", chance about {:.3f}".format(*words["chance"])
    )
    print(f"{len(training):,} pictures trained on, {seconds:.0f} s of processor time with the texts' vectors")
    parameters = sum(int(np.prod(one.shape)) for one in encoder.network.parameters())
    print(
        json.dumps(
            {
                "benchmark": "images",
                "trained on": len(training),
                "parameters": parameters,
                "seconds": round(seconds),
                "queries": results,
                "words": words,
            }
        )
    )


if __name__ == "__main__":
    main()
