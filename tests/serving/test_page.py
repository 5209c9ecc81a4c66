"""The page's files: open to all, nothing from elsewhere, strict headers; and the PDF files that the viewer links."""

from __future__ import annotations

import io
import re
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from conftest import ROOT
from lxml import etree
from served import Served

from memgpt_rag.cli.main import main as memgpt_rag
from memgpt_rag.serving.access import EVERYTHING, Access, Keys, _digest
from memgpt_rag.serving.originals import original_pdf
from memgpt_rag.serving.stores import FileInStore

FILES = sorted(path for path in (ROOT / "memgpt_rag" / "serving" / "page").iterdir())
KEY = "reader-0123456789"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with Served(folder, files=folder / "files") as served:
        yield served


def got(url, status=200, **headers):
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            found = response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        found = error.code, error.headers, error.read()
    assert found[0] == status
    return found[1], found[2]


def test_the_page_and_its_files_are_served_under_a_strict_policy(server):
    for address, file in (("/", "index.html"), *((f"/page/{path.name}", path.name) for path in FILES)):
        headers, body = got(server.url + address)
        assert body == (FILES[0].parent / file).read_bytes()
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-type"].partition(";")[0] in {
            "text/html",
            "text/css",
            "text/javascript",
            "image/svg+xml",
        }
        again, _ = got(server.url + address, 304, **{"if-none-match": headers["etag"]})
        assert again["etag"] == headers["etag"]


def test_the_page_takes_nothing_from_elsewhere_and_has_no_script_within():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert re.sub(r'xmlns="http://www.w3.org/2000/svg"|"http:"|"https:"', "", text).count("://") == 0, path
        for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert sink not in text, f"{sink} in {path}"
    page = etree.HTML((FILES[0].parent / "index.html").read_text(encoding="utf-8"))
    assert page.xpath("//script/text()") == page.xpath("//style") == page.xpath("//@style") == []
    assert page.xpath("//@*[starts-with(name(), 'on')]") == []
    assert sum(path.stat().st_size for path in FILES) < 80_000


def test_both_languages_have_every_string():
    text = (FILES[0].parent / "strings.js").read_text(encoding="utf-8")
    english, chinese = (
        set(re.findall(r"(?:^|, |\{ |  )(\w+): (?=\"|\()|(?<=, )(\w+): (?=\"|\()", part))
        for part in re.search(r"const ENGLISH = (\{.*?\n\};).*const CHINESE = (\{.*?\n\};)", text, re.DOTALL).groups()
    )
    assert english == chinese and len(english) > 100


def test_unknown_files_and_ways_out_of_the_folder_are_not_found(server):
    for name in ("nothing.js", "..%2Fapp.py", "%2e%2e%2fgate.py", "__init__.py"):
        _, body = got(f"{server.url}/page/{name}", 404)
        assert b"error" in body


def test_with_keys_the_page_is_open_and_the_data_are_not(tmp_path):
    keys = Keys({_digest(KEY): Access("reader", frozenset({"park"}), frozenset())})
    with Served(tmp_path, keys=keys) as server:
        got(f"{server.url}/")
        got(f"{server.url}/page/app.js")
        assert b'"files":false' in got(f"{server.url}/page/settings.json")[1]
        got(f"{server.url}/v1/vector_stores", 401)
        got(f"{server.url}/v1/vector_stores", authorization=f"Bearer {KEY}")


def test_a_server_without_the_page_has_the_api_alone(tmp_path):
    with Served(tmp_path, page=False) as server:
        for path in ("/", "/page/app.js", "/page/settings.json"):
            assert b"There is no GET" in got(server.url + path, 404)[1]
        got(f"{server.url}/v1/models")
    assert "--no-page" in CliRunner().invoke(memgpt_rag, ["serve", "--help"]).output


def test_only_an_uploaded_pdf_is_an_original(server):
    stores = server.service.stores
    store = stores.create("manuals", {}, EVERYTHING)
    passage = server.service.memories.opened("park").memory.passages([0])[0]

    def kept(name, content):
        file = stores.files.create(name, io.BytesIO(content), "assistants", EVERYTHING)
        store.files[file.id] = FileInStore(file.id, file.filename, 0, file.bytes, status="completed")
        return replace(passage, source=f"{file.id}/{file.filename}", unit="page", first=3, last=3)

    pdf = kept("manual.pdf", b"%PDF-1.7 ...")
    path = original_pdf(stores, store.id, pdf)
    assert path is not None and path.read_bytes() == b"%PDF-1.7 ..."
    assert original_pdf(stores, store.id, kept("page.pdf", b"<!doctype html><script>alert(1)</script>")) is None
    assert original_pdf(stores, store.id, replace(pdf, unit="line")) is None
    assert original_pdf(stores, store.id, replace(pdf, source=f"{pdf.source}/inside.pdf")) is None
    assert original_pdf(stores, "park", pdf) is None
    assert original_pdf(stores, store.id, passage) is None
    Path(path).unlink()
    assert original_pdf(stores, store.id, pdf) is None


def test_an_entry_without_a_pdf_has_no_file(server):
    entry = server.service.memories.opened("park").memory.passages([0])[0].id
    _, body = got(f"{server.url}/view/park/file?entry={quote(entry)}", 404)
    assert b"No PDF file of this entry is kept here" in body


def test_a_found_entry_has_the_address_of_its_document(server):
    found = server.client().vector_stores.search("park", query="boats", max_num_results=1).data[0]
    _, body = got(found.entry["url"])
    assert b"<mark" in body
