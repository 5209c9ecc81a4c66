"""memgpt-rag pretrain: what it prints, with which exit status, and what it leaves."""

from __future__ import annotations

import re

from click.testing import CliRunner, Result

from memgpt_rag.cli.main import main
from memgpt_rag.model import MemGPT

SMALL = ["--vocab-size", "256", "--d-model", "16", "--heads", "2", "--steps", "10"]


def pretrain(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["pretrain", *map(str, arguments), *SMALL])


def test_plain_text_becomes_a_model(tmp_path):
    for name, letters in (("first", "abcdefgh"), ("second", "hgfedcba")):
        (tmp_path / f"{name}.txt").write_text(letters * 300)
    texts, model, vectors = [tmp_path / "first.txt", tmp_path / "second.txt"], tmp_path / "model", tmp_path / "vectors"
    vectors.write_text("".join(f"{word}{' 1' * 16}\n" for word in ("a", "b", "lamp")))
    done = pretrain(*texts, "--model", model, "--word-vectors", vectors)
    assert done.exit_code == 0, done.output
    shown = re.fullmatch(
        r"2 of 256 tokens start from a word's vector\.\nPerplexity (.*) per token on the last tenth of the text, held out; kept in (.*)\.\n",
        done.stdout,
    )
    assert shown, done.stdout
    assert 1 < float(shown[1]) < 256
    assert isinstance(MemGPT.from_pretrained(shown[2]), MemGPT)
    again = pretrain(*texts, "--model", model)
    assert (again.exit_code, again.stderr) == (1, f"Error: {model} already holds a model; name another folder.\n")


def test_what_cannot_be_learned_from_is_one_sentence(tmp_path):
    short, gone, model = tmp_path / "short.txt", tmp_path / "gone.txt", ["--model", tmp_path / "model"]
    short.write_text("a few words")
    for arguments, sentence in (
        ([short, *model], "The text has 11 tokens; expected at least 257"),
        ([gone, *model], "gone.txt cannot be read: No such file or directory; name a text file."),
        ([short, *model, "--word-vectors", short], "short.txt, line 1: expected a word and 2 numbers"),
        ([short, *model, "--heads", "3"], "d_model is 16 and nhead 3; expected heads of equal size."),
    ):
        done = CliRunner().invoke(main, ["pretrain", *SMALL, *map(str, arguments)])
        assert done.exit_code == 1
        assert done.stderr.startswith("Error: ") and sentence in done.stderr
    assert not (tmp_path / "model").exists()
