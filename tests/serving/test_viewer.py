"""The document viewer: opened from a citation, escaped, without scripts, and with a signature where there are keys."""

from __future__ import annotations

import html
import re
import urllib.error
import urllib.request
from urllib.parse import parse_qs, urlsplit

import pytest
from lxml import etree
from served import TEXTS, Served

from memgpt_rag.serving.access import Access, Keys, _digest

KEY = "reader-0123456789"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("served")) as served:
        yield served


def cited(server, question, key="none"):
    """The address of the best citation."""
    answer = server.client(key).chat.completions.create(
        model="park",
        messages=[{"role": "user", "content": question}],
        max_tokens=3,
        extra_body={"memory": {"k": 1}},
    )
    return answer.memory["entries"][0]


def opened(url, status=200):
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            found, headers, body = response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        found, headers, body = error.code, error.headers, error.read().decode()
    assert found == status
    return headers, body


def test_a_citation_opens_its_document_with_the_passage_marked(server):
    entry = cited(server, TEXTS[5])
    headers, body = opened(entry["url"])
    page = etree.HTML(body)
    assert "".join(page.find(".//mark").itertext()).strip() == TEXTS[5]  # with its tags as text
    assert page.find(".//b") is None and page.find(".//script") is None
    assert [html.unescape(text) for text in page.xpath("//section//p/text()")] == TEXTS  # the whole document, in order
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert re.search(r"sha256-[\w+/=]+", policy)


def test_an_entry_that_is_nowhere_is_not_found(server):
    url = cited(server, TEXTS[0])["url"]
    for changed in (
        re.sub("entry=[^&]+", "entry=none", url),
        re.sub("version=1", "version=9", url.replace("text", "no")),
    ):
        _, body = opened(changed, 404)
        assert "No version that is kept has the entry" in body


def test_an_entry_that_was_deleted_is_shown_in_its_version(server):
    from memgpt_rag.memory import Memory
    from memgpt_rag.memory.changes import delete_entries

    entry = cited(server, TEXTS[0])
    folder = server.folder / "park"
    memory = Memory.open(folder)
    row = next(row for row in memory.rows() if memory.passages([row])[0].id == entry["id"])
    delete_entries(folder, memory.rows()[row : row + 1], memory.manifest)
    assert TEXTS[0] in opened(entry["url"])[1]


def test_with_keys_a_signature_opens_one_document_and_no_other(tmp_path):
    keys = Keys({_digest(KEY): Access("reader", frozenset({"park"}), frozenset())})
    with Served(tmp_path, keys=keys) as server:
        url, other = (cited(server, text, KEY)["url"] for text in TEXTS[:2])
        assert TEXTS[0] in opened(url)[1]
        signed = parse_qs(urlsplit(other).query)["signed"][0]
        opened(re.sub("signed=[0-9a-f]+", f"signed={signed}", url), 401)
        opened(re.sub("&signed=[0-9a-f]+", "", url), 401)
        opened(url.replace("/view/park", "/view/books"), 401)
