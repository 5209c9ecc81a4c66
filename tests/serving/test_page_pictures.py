"""Pictures on the page: a cited entry shows its own, from an address that shows nothing else, signed where there are keys."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request

import pytest
from browser import ask, chromium, opened
from conftest import ROOT
from hashing import HashEncoder
from lxml import etree
from served import TEXTS, Served

from indexing.engines.local import LocalEngine
from indexing.job_log import JobLog
from indexing.jobs.build_memory import build_memory
from indexing.jobs.picture_entries import add_document_pictures
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from indexing.sources.read_options import ReadOptions
from memgpt_rag.memory import Memory
from memgpt_rag.serving.access import Access, Keys, _digest

REPORT = ROOT / "examples" / "images" / "report.pdf"
QUESTION = "Figure 1. Visitors of 2025 by season: how many in summer?"
KEY = "reader-0123456789"


def serve(folder, **settings):
    encoder = HashEncoder()
    Memory.create(folder / "report", TEXTS, encoder)
    add_document_pictures(
        find_files([REPORT]), folder / "report", encoder, options=ReadOptions(), log=JobLog("pictures")
    )
    return Served(folder, memories={"report": folder / "report"}, encoder=encoder, **settings)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("served")) as served:
        yield served


def entries(server, key="none"):
    answer = server.client(key).chat.completions.create(
        model="report",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=3,
        extra_body={"memory": {"k": 8}},
    )
    return answer.memory["entries"]


def fetched(url, status=200):
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.headers, response.read()
    except urllib.error.HTTPError as error:
        assert error.code == status
        return error.headers, error.read()


def test_an_entry_names_its_picture_and_texts_have_none(server):
    found = entries(server)
    memory = Memory.open(server.folder / "report")
    kept = dict(zip([one.id for one in memory.passages(memory.rows())], memory.pictures(memory.rows()), strict=True))
    assert sum(entry["picture"] is not None for entry in found) == 2 and len(found) == 8
    for entry in found:
        if entry["picture"] is None:
            assert kept[entry["id"]] is None
            _, body = fetched(entry["url"].replace("?", "/picture?", 1), 404)
            assert b"This entry has no picture" in body
        else:
            headers, body = fetched(entry["picture"])
            assert body == kept[entry["id"]]
            assert (headers["content-type"], headers["x-content-type-options"]) == ("image/png", "nosniff")
            assert "sandbox" in headers["content-security-policy"]


def test_the_viewer_shows_the_pictures_of_a_document_in_their_places(server):
    entry = next(one for one in entries(server) if one["picture"] and one["place"].endswith("page 2"))
    headers, body = fetched(entry["url"])
    page = etree.HTML(body)
    images = page.xpath("//section//img")
    assert (
        len(images) == 2
        and images[0].get("alt").startswith("Figure 1.")
        and images[1].get("alt").startswith("Figure 2.")
    )
    assert page.find(".//mark").find("img").get("src") == entry["picture"]
    assert "img-src 'self'" in headers["content-security-policy"]
    assert fetched(images[0].get("src"))[1].startswith(b"\x89PNG")


def test_with_keys_an_address_opens_one_picture_only(tmp_path):
    keys = Keys({_digest(KEY): Access("reader", frozenset({"report"}), frozenset())})
    with serve(tmp_path, keys=keys) as server:
        one, other = (entry["picture"] for entry in entries(server, KEY) if entry["picture"])
        assert fetched(one)[1].startswith(b"\x89PNG")
        stolen = one.replace(
            *(urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["signed"][0] for url in (one, other))
        )
        assert b"not signed" in fetched(stolen, 401)[1]
        assert fetched(one.partition("&signed=")[0], 401)


def test_a_cited_figure_is_seen_on_the_page(server):
    with chromium() as browser, opened(browser, server.url) as page:
        turn = ask(page, QUESTION)
        picture = turn.locator(".passage img").first
        picture.wait_for()
        page.wait_for_function("() => [...document.querySelectorAll('.passage img')].every((one) => one.complete)")
        width, height = (picture.evaluate(f"(one) => one.natural{side}") for side in ("Width", "Height"))
        assert width > 500 and abs(width / height - 640 / 360) < 0.02  # decoded, and whole
        box = picture.bounding_box()
        assert box["width"] > 200
        passage = turn.locator(".passage", has=page.locator("img")).first
        assert "report.pdf, page" in passage.inner_text() and "Figure" in picture.get_attribute("alt")
        assert turn.locator(".passage").count() > turn.locator(".passage img").count()


@pytest.mark.slow
@pytest.mark.offline_models
def test_a_question_about_a_report_is_answered_by_its_figure(tmp_path, e5, gemma):
    build_memory(
        find_files([REPORT]),
        tmp_path / "report",
        engine=LocalEngine(e5, PassageSplitter(e5.count_tokens)),
        tokenizer_name="e5",
    )
    add_document_pictures(find_files([REPORT]), tmp_path / "report", e5, options=ReadOptions(), log=JobLog("pictures"))
    memories = {"report": tmp_path / "report"}
    with (
        Served(tmp_path, memories=memories, encoder=e5, decoder=gemma) as server,
        chromium() as browser,
        opened(browser, server.url) as page,
    ):
        turn = ask(page, "How many visitors came in summer?")
        assert "31,800" in turn.locator(".answer").inner_text()
        figure = turn.locator(".passage", has=page.locator("img[alt^='Figure 1']"))
        assert "31,800 visitors came" in figure.locator(".text").inner_text()
        share = figure.locator(".share").inner_text()
        assert int(share.split("%")[0]) >= 20, share  # the page's own text, with the caption in it, has the rest
        assert figure.locator("img").evaluate("(one) => one.naturalWidth") > 500
