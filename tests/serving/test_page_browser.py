"""The page in a browser, with tiny models: access keys, hostile texts, errors, conversations, narrow and dark, and axe."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import ask, chromium, opened
from hashing import HashEncoder
from served import TEXTS, Served

from memgpt_rag.memory import Memory
from memgpt_rag.serving.access import Access, Keys, _digest

KEY = "reader-0123456789"
HOSTILE = "</script><img src=x onerror=\"document.title='stolen'\"> \u202etxet\u202c <b>bold</b> 🏞️ end"
VIEWS = ("ask", "compare", "search", "documents", "memory")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    encoder = HashEncoder()
    Memory.create(folder / "park", TEXTS, encoder)
    Memory.create(folder / "hostile", [HOSTILE, "A second text."], encoder)
    memories = {"park": folder / "park", "hostile": folder / "hostile"}
    with Served(folder, memories=memories, encoder=encoder, files=folder / "files") as served:
        yield served


@pytest.fixture
def page(browser, server):
    with opened(browser, server.url) as shown:
        yield shown


def show(page, view):
    page.locator("nav a").nth(VIEWS.index(view)).click()
    page.locator("main h1").first.wait_for(state="attached")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_view(browser, server, scheme):
    with opened(browser, server.url, color_scheme=scheme) as page:
        ask(page, TEXTS[0])
        paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 3 * 64) == (scheme == "dark")
        for view in VIEWS:
            if view != "ask":
                show(page, view)
            if view == "search":
                page.get_by_role("button", name="Add a condition").click()
                page.fill("#query", "boats")
                page.get_by_role("button", name="Search", exact=True).click()
                page.locator(".results li").first.wait_for()
            found = Axe().run(page)
            assert found.violations_count == 0, f"{view}: {found.generate_report()}"


@pytest.mark.slow
def test_a_phone_needs_no_scrolling_sideways(browser, server):
    for locale in ("en-GB", "zh-CN"):
        with opened(browser, server.url, locale=locale, viewport={"width": 360, "height": 740}) as page:
            ask(page, TEXTS[3])
            for view in VIEWS:
                show(page, view)
                page.wait_for_timeout(100)
                assert page.evaluate("() => document.documentElement.scrollWidth") <= 360, (locale, view)
            assert page.locator("html").get_attribute("lang") == ("en" if locale == "en-GB" else "zh-Hans")


@pytest.mark.slow
def test_the_language_can_be_switched_and_stays(page):
    assert page.locator("nav a").first.inner_text() == "Ask"
    page.get_by_role("button", name="中文").click()
    assert page.locator("nav a").first.inner_text() == "提问"
    page.reload()
    assert page.locator("nav a").first.inner_text() == "提问"


@pytest.mark.slow
def test_a_key_is_asked_for_and_kept_in_this_tab_only(browser, tmp_path):
    keys = Keys({_digest(KEY): Access("reader", frozenset({"park"}), frozenset())})
    with Served(tmp_path, keys=keys) as server, opened(browser, server.url) as page:
        page.locator("#key").wait_for()
        assert "No key was given" in page.locator("#key-reason").inner_text()
        page.fill("#key-value", "wrong-0123456789")
        page.keyboard.press("Enter")
        page.get_by_text("The key is not one of this server's").wait_for()
        page.fill("#key-value", KEY)
        page.keyboard.press("Enter")
        turn = ask(page, TEXTS[0])
        assert page.locator("#memory-name option").all_inner_texts() == ["park"]
        assert page.evaluate("() => JSON.stringify(localStorage)").count(KEY) == 0
        with page.expect_popup() as popup:  # signed: it opens without a key
            turn.locator(".source a").first.click()
        assert popup.value.locator("mark").inner_text() in TEXTS


def test_what_a_document_says_is_text(browser, server):
    with opened(browser, server.url) as page:
        page.select_option("#memory-name", "hostile")
        turn = ask(page, HOSTILE[:40])
        passage = turn.locator(".passage .text").filter(has_text="onerror")
        # The emoji counts as one character here and as two in JavaScript; a cut within it would leave halves.
        assert any("🏞" in part for part in passage.locator(".part").all_inner_texts())
        assert passage.inner_text() == HOSTILE.replace("\u202e", r"\u202e").replace("\u202c", r"\u202c")
        assert page.locator("main img, main script, main b").count() == 0
        show(page, "search")
        page.fill("#query", "<img src=x onerror=alert(1)>")
        page.keyboard.press("Enter")
        page.locator(".results li").first.wait_for()
        assert page.locator("main img, main script, main b").count() == 0
        assert "stolen" not in page.title()


def test_errors_are_shown_with_the_sentence_of_the_server(page):
    page.locator(".options summary").click()
    page.get_by_label("Only where").fill("year >")
    page.get_by_label("Only where").press("Tab")
    page.fill("#question", "When?")
    page.keyboard.press("Enter")
    said = page.locator(".turn .fault").inner_text()
    assert said.startswith("The filter 'year >' cannot be read")
    assert page.locator("#question").input_value() == "When?"  # to be corrected and asked again
    page.get_by_label("Only where").fill("")
    page.get_by_label("Only where").press("Tab")
    ask(page, "When?")


def test_a_stream_that_breaks_off_is_named(page):
    begun = 'data: {"choices": [{"index": 0, "delta": {"content": "It opens"}}]}\n\n'
    page.route("**/v1/chat/completions", lambda route: route.fulfill(body=begun, content_type="text/event-stream"))
    page.fill("#question", "When does it open?")
    page.keyboard.press("Enter")
    assert "broke off" in page.locator(".turn .fault").inner_text()
    assert page.locator(".turn .answer").inner_text() == "It opens"


@pytest.mark.slow
def test_earlier_turns_are_sent_and_conversations_are_kept_until_deleted(browser, server):
    with opened(browser, server.url, viewport={"width": 1280, "height": 800}) as page:
        ask(page, TEXTS[0])
        with page.expect_request("**/v1/chat/completions") as waited:
            ask(page, "And the kites?")
        roles = [message["role"] for message in waited.value.post_data_json["messages"]]
        assert roles == ["user", "assistant", "user"]
        page.reload()
        page.locator(".past .open").click()
        assert page.locator(".question").all_inner_texts() == [TEXTS[0], "And the kites?"]
        assert page.locator(".passage").count() > 0
        page.locator(".past .remove").click()
        page.get_by_role("button", name="Delete", exact=True).click()
        page.locator(".turn").first.wait_for(state="detached")
        assert page.evaluate("() => localStorage.getItem('memgpt_rag.conversations')") == "[]"


@pytest.mark.slow
def test_an_answer_can_be_stopped(page, server):
    with server.held():
        page.fill("#question", TEXTS[0])
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped.").wait_for()
    ask(page, TEXTS[1])


@pytest.mark.slow
def test_a_version_is_restored(browser, tmp_path):
    from memgpt_rag.memory.changes import delete_entries

    with Served(tmp_path) as server:
        memory = Memory.open(tmp_path / "park")
        delete_entries(tmp_path / "park", memory.rows()[:1], memory.manifest)
        with opened(browser, f"{server.url}/#memory") as page:
            rows = page.locator("tbody tr")
            rows.nth(1).wait_for()
            page.get_by_role("button", name="Restore: 1").click()
            page.locator("#sure-yes").click()
            rows.nth(2).wait_for()
            assert page.locator("tbody tr").first.inner_text().split()[:2] == ["3", str(len(TEXTS))]
