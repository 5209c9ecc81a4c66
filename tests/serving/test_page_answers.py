"""The page in a browser with the bundled models: questions in English and Chinese, words that light up, uploads."""

from __future__ import annotations

import io
import re

import pytest
from browser import ask, chromium, opened
from reportlab.pdfgen.canvas import Canvas
from served import Served, wait_until

pytestmark = pytest.mark.offline_models
ENGLISH, CHINESE = "How much is a rowing boat?", "划船每小时多少钱？"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory, memory, e5, gemma):
    folder = tmp_path_factory.mktemp("served")
    with Served(folder, encoder=e5, decoder=gemma, memories={"demo": memory}, files=folder / "files") as served:
        yield served


def lit(turn):
    """The words that a turn's passages light up, the brightest first."""
    script = """(turn) => [...turn.querySelectorAll('.part.lit')]
        .map((part) => [Number(part.style.getPropertyValue('--light')), part.textContent]).sort((a, b) => b[0] - a[0])"""
    return turn.evaluate(script)


def test_answers_stream_in_both_languages_and_words_show_what_they_looked_at(browser, server):
    with opened(browser, server.url) as page:
        for question, passage, word in ((ENGLISH, "40 yuan an hour", "40"), (CHINESE, "划船每小时四十元", "元")):
            turn = ask(page, question)
            answer = turn.locator(".answer")
            assert word in answer.inner_text()
            assert passage in " ".join(turn.locator(".passage .text").all_inner_texts())
            assert turn.locator(".passage.e1 .explains q").count() >= 1
            assert "%" in turn.locator(".verdict").inner_text()
            assert lit(turn) == []
            turn.locator(".word", has_text=word).first.hover()
            bright = lit(turn)
            assert bright[0][0] == 1 and any(
                text.strip() and text.strip() in "40 yuan 四十元" for _, text in bright[:3]
            )
        page.mouse.move(0, 0)
        # With the keyboard alone: back from the question to the answer, then from word to word.
        for _ in range(20):
            page.keyboard.press("Shift+Tab")
            if page.evaluate("() => document.activeElement.matches('.turn:last-child .answer')"):
                break
        first = turn.locator(".word.now").inner_text()
        spoken = page.locator("#live").inner_text()
        assert first in spoken and "passage 1" in spoken and lit(turn)
        page.keyboard.press("ArrowRight")
        assert page.locator("#live").inner_text() != spoken
        page.keyboard.press("Escape")
        assert lit(turn) == []


def test_quotes_of_two_passages_lead_where_the_memory_does_not_support_the_answer(browser, server):
    with opened(browser, server.url) as page:
        turn = ask(page, "Where can I eat?")
        first, second = turn.locator(".quote").all_inner_texts()
        assert first != second
        places = [turn.locator(name).first.bounding_box()["y"] for name in (".quote", ".answer")]
        assert places[0] < places[1]
        quoted = [turn.locator(f".passage.e{number} .quoted").count() > 0 for number in range(1, 5)]
        assert sum(quoted) == 2


@pytest.mark.slow
def test_three_ways_to_answer_stand_side_by_side(browser, server):
    with opened(browser, f"{server.url}/#compare") as page:
        page.fill("#question", ENGLISH)
        page.keyboard.press("Enter")
        page.locator(".times").nth(2).wait_for()
        for column, tokens in zip(
            page.locator(".column").all(), ("in memory", "tokens read", "tokens read"), strict=True
        ):
            assert column.locator(".answer").inner_text()
            assert column.locator(".times dd").count() == 2
            assert tokens in column.inner_text()
        assert "40" in page.locator(".column .answer").first.inner_text()
        tops = {round(column.bounding_box()["y"]) for column in page.locator(".column").all()}
        assert len(tops) == 1


@pytest.mark.slow
def test_a_pdf_is_uploaded_asked_about_and_opened_at_its_page(browser, server):
    pdf = io.BytesIO()
    canvas = Canvas(pdf)
    for text in (
        "The harbour of Port Ellis was built in 1902.",
        "The ferry to Gull Island leaves at seven in the morning.",
    ):
        canvas.drawString(72, 720, text)
        canvas.showPage()
    canvas.save()
    with opened(browser, f"{server.url}/#documents") as page:
        page.fill("#store-name", "harbour")
        page.get_by_role("button", name="Create").click()
        page.get_by_role("heading", name="Upload into “harbour”").wait_for()
        page.set_input_files("#files", {"name": "port.pdf", "mimeType": "application/pdf", "buffer": pdf.getvalue()})
        page.locator(".progress .done").wait_for(timeout=120_000)
        assert "port.pdf" in page.locator("tbody tr").inner_text()
        page.locator("nav a").first.click()
        turn = ask(page, "When does the ferry to Gull Island leave?")
        source = turn.locator(".source").filter(has_text="page").first
        first = re.search(r"pages? (\d+)", source.locator("small").inner_text())[1]
        with page.expect_popup() as popup:
            source.locator("a").click()
        viewer = popup.value
        assert "Gull Island" in viewer.locator("mark").inner_text()
        link = viewer.get_by_role("link", name=f"page {first}, PDF").get_attribute("href")
        assert link.endswith(f"#page={first}")
        response = page.request.get(f"{server.url}/view/{link.partition('#')[0]}")
        assert response.headers["content-type"] == "application/pdf" and response.body() == pdf.getvalue()
        assert "sandbox" in response.headers["content-security-policy"]
        page.locator("nav a").nth(3).click()
        page.set_input_files("#files", {"name": "bad.pdf", "mimeType": "application/pdf", "buffer": b"no pdf"})
        page.locator(".progress .fault").wait_for(timeout=120_000)
        assert page.locator(".progress .fault").inner_text().endswith(".")
    wait_until(
        lambda: not any(store.to_json(0)["status"] == "in_progress" for store in server.service.stores._stores.values())
    )
