"""The user's cache folder: the user's alone, and where it cannot be used, a temporary one in its place."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hashing import HashEncoder
from tiny import tiny_decoder
from transformers import BertConfig

from memgpt_rag.answering.confidence import read_confidence
from memgpt_rag.errors import ModelError
from memgpt_rag.hub.bundled import _holds_model as holds_model
from memgpt_rag.io.cache_folder import (
    CacheWarning,
    cache_folder,
    made_once,
    make_private,
)
from memgpt_rag.memory.caches.keys import KeyCache
from memgpt_rag.model.presets import calibrated_preset, confidence_file, general_preset
from memgpt_rag.model.tokenizer import byte_tokenizer

superuser = pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give a folder away")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    """The user's cache folder, which is not there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("memgpt_rag.io.cache_folder._TEMPORARY", {})
    # A process of tests that is ended at once leaves no temporary folders behind this way.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "home" / "memgpt_rag"


class Making:
    """Writes two files, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "weights").write_text("weights" * 1000)
        (folder / "config").write_text("config")


def is_whole(folder: Path) -> bool:
    return (folder / "weights").stat().st_size == 7000


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


WHOLE = {"weights": "weights" * 1000, "config": "config"}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_it_is_private_and_becomes_so_where_an_earlier_release_made_it(root):
    make_private(cache_folder("keys"))
    assert (mode(root), mode(root / "keys")) == (0o700, 0o700)
    root.chmod(0o755)
    (root / "keys").chmod(0o775)
    make_private(cache_folder("keys"))
    assert (mode(root), mode(root / "keys")) == (0o700, 0o700)


def test_a_folder_that_the_user_names_keeps_its_mode(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o755)
    make_private(mine)
    assert mode(mine) == 0o755
    mine.chmod(0o777)
    with pytest.raises(PermissionError, match="every user may write there"):
        make_private(mine)


@superuser
def test_a_folder_of_another_user_is_not_used(root):
    make_private(cache_folder("keys"))
    os.chown(root, 12345, -1)
    with pytest.raises(PermissionError, match="it belongs to another user"):
        make_private(cache_folder("keys"))


def test_no_folder_is_made_where_there_is_no_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What some releases of platformdirs say where an account has no home.
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: Path("~/.cache") / name)
    with pytest.raises(FileNotFoundError, match="no home folder"):
        make_private(cache_folder("keys"))
    assert list(tmp_path.iterdir()) == []


def test_files_are_made_once_and_made_anew_where_they_are_damaged(root):
    make = Making()
    folder = cache_folder("models", "mine")
    assert made_once(folder, make, is_whole) == made_once(folder, make, is_whole) == root / "models" / "mine"
    assert (files(folder), make.calls) == (WHOLE, 1)
    (folder / "weights").write_text("cut short")
    (folder / "calibrated").write_text("numbers of the user's")
    with pytest.warns(CacheWarning, match="mine is not as it was made; it is made anew"):
        made_once(folder, make, is_whole)
    assert (files(folder), make.calls) == (WHOLE | {"calibrated": "numbers of the user's"}, 2)
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def file_in_place_of_home(home: Path) -> None:
    home.write_text("")


def file_in_place_of_the_folder(home: Path) -> None:
    (home / "memgpt_rag" / "models").mkdir(parents=True)
    (home / "memgpt_rag" / "models" / "mine").write_text("")


def link_to_nowhere(home: Path) -> None:
    home.symlink_to("/proc/nowhere")


def others_folder(home: Path) -> None:
    (home / "memgpt_rag").mkdir(parents=True)
    os.chown(home / "memgpt_rag", 12345, -1)


@pytest.mark.parametrize(
    "spoil",
    [
        file_in_place_of_home,
        file_in_place_of_the_folder,
        link_to_nowhere,
        pytest.param(others_folder, marks=superuser),
    ],
)
def test_where_they_cannot_be_kept_they_are_made_for_this_process_with_one_warning(root, spoil):
    spoil(root.parent)
    make, folder = Making(), cache_folder("models", "mine")
    with pytest.warns(CacheWarning, match="cannot be used as a cache .*, and work goes on without it") as shown:
        first, second = (made_once(folder, make, is_whole) for _ in range(2))
    assert len(shown) == 1
    assert first == second != folder
    assert files(first) == WHOLE
    assert make.calls == 1


@superuser
def test_files_of_another_users_folder_are_not_taken(root):
    made_once(cache_folder("models", "mine"), Making(), is_whole)
    os.chown(root, 12345, -1)
    make = Making()
    with pytest.warns(CacheWarning, match="memgpt_rag cannot be used as a cache .it belongs to another user"):
        assert made_once(cache_folder("models", "mine"), make, is_whole) != cache_folder("models", "mine")
    assert make.calls == 1


@pytest.fixture
def home(monkeypatch) -> Iterator[Path]:
    """The home of a user who is not the superuser."""
    monkeypatch.setattr(tempfile, "tempdir", None)  # the folder of a test is closed to that user
    folder, before = Path(tempfile.mkdtemp()), os.geteuid()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "home" / "caches"))
    if before == 0:
        os.chown(folder, 12345, -1)
        os.seteuid(12345)
    for part in ("home", "temporary"):
        (folder / part).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    try:
        yield folder / "home"
    finally:
        os.seteuid(before)
        subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
        shutil.rmtree(folder)


def test_files_in_a_home_that_is_read_only_now_are_taken_and_others_are_made_for_this_process(home):
    kept, make = cache_folder("models", "mine"), Making()
    made_once(kept, make, is_whole)
    for folder in home.rglob("*/"):
        folder.chmod(0o500)
    assert made_once(kept, make, is_whole) == kept
    assert make.calls == 1
    with pytest.warns(CacheWarning, match="memgpt_rag cannot be used as a cache .it cannot be written") as shown:
        other = made_once(cache_folder("models", "other"), make, is_whole)
        KeyCache(cache_folder("keys"), HashEncoder().fingerprint)
    assert files(other) == WHOLE
    assert len({str(one.message) for one in shown}) == 1, "of which a command prints one"


def test_a_home_that_is_closed_to_this_user_holds_nothing(home):
    """As the home of another account is, where HOME still names it."""
    make_private(cache_folder("keys"))
    home.chmod(0)
    model = "somebody/model"
    assert calibrated_preset("quality", model, BertConfig()) == general_preset("quality")
    assert read_confidence(confidence_file(model)) == {}
    make = Making()
    with pytest.warns(CacheWarning, match="cannot be used as a cache .Permission denied") as shown:
        folder = made_once(cache_folder("models", "mine"), make, is_whole)
        assert KeyCache(cache_folder("keys"), HashEncoder().fingerprint).get(["text"]) == [None]
    assert files(folder) == WHOLE
    assert len({str(one.message) for one in shown}) == 1


def test_files_that_are_too_large_for_the_folder_are_made_elsewhere(root):
    """A limit on the size of files stands for a full disk; a program may tell of it in an error of its own."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        if len(made) > 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            (folder / "weights").write_bytes(bytes(2**20))
            return
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, before[1]))
        try:
            (folder / "weights").write_bytes(bytes(2**20))
        except OSError as error:
            raise RuntimeError("cannot serialize") from error

    try:
        with pytest.warns(CacheWarning, match=rf"{root}/models cannot be used as a cache \(File too large\)"):
            folder = made_once(cache_folder("models", "mine"), make, is_whole)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (folder / "weights").stat().st_size == 2**20
    assert list((root / "models").iterdir()) == []


@pytest.mark.parametrize("error", [ModelError("no such model"), OSError("the package lacks a file"), RuntimeError("x")])
def test_a_failure_that_is_not_the_folders_comes_out_and_leaves_nothing(root, error):
    def make(folder: Path) -> None:
        (folder / "weights").write_text("begun")
        raise error

    with pytest.raises(type(error), match=str(error)):
        made_once(cache_folder("models", "mine"), make, is_whole)
    assert list((root / "models").iterdir()) == []


def test_a_converted_model_that_was_cut_short_is_not_whole(tmp_path):
    tiny_decoder("llama").save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    assert holds_model(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    whole = weights.read_bytes()
    for content in (whole[:-1], whole[:100], b""):
        weights.write_bytes(content)
        assert not holds_model(tmp_path / "model")
    weights.write_bytes(whole)
    (tmp_path / "model" / "config.json").unlink()
    assert not holds_model(tmp_path / "model")
    assert not holds_model(tmp_path / "nowhere")
