"""Mail and mailboxes: headers, character sets, forms of a text, attachments, quotations, damaged messages."""

from __future__ import annotations

import base64
import io
import tracemalloc
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from reading import Reading, texts

from indexing.sources import inflation
from indexing.sources.find_files import find_files
from indexing.sources.read_documents import read_documents
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import SourceError


def mail(path: Path, body: bytes | str, *headers: str) -> Path:
    body = body.encode() if isinstance(body, str) else body
    path.write_bytes("\r\n".join(["From: ann@example.org", *headers, "", ""]).encode() + body)
    return path


def test_a_message_has_readable_headers_a_title_and_its_text(tmp_path):
    body = base64.b64encode("渡船每日八点开。\r\n\r\n逢周一停航。\r\n".encode("gb18030"))
    path = mail(
        tmp_path / "ferry.eml",
        body,
        "To: =?gb2312?B?1cXI/Q==?= <z@example.org>",
        "Date: Mon, 2 Mar 2026 10:00:00 +0800",
        "Subject: =?utf-8?Q?=E6=B8=A1?= =?utf-8?B?6Ii5?=",
        "Content-Type: text/plain; charset=gb2312",
        "Content-Transfer-Encoding: base64",
    )
    (document,) = Reading(path).documents
    assert (document.title, document.source, document.record, document.unit) == ("渡船", "ferry.eml", "", "line")
    assert [(block.text, block.first, block.last) for block in document.blocks] == [
        (
            "From: ann@example.org\nTo: 张三 <z@example.org>\nDate: Mon, 2 Mar 2026 10:00:00 +0800\nSubject: 渡船",
            1,
            4,
        ),
        ("渡船每日八点开。", 6, 6),
        ("逢周一停航。", 8, 8),
    ]


@pytest.mark.parametrize(
    "charset, content, text",
    [
        ("iso-8859-1", "It’s 5 €.".encode("cp1252"), "It’s 5 €."),
        ("us-ascii", "Überweg".encode(), "Überweg"),
        ("x-nonsense", "道岔".encode(), "道岔"),
        ("big5", "臺北車站".encode("big5"), "臺北車站"),
        ("hz-gb-2312", "道岔".encode("hz"), "道岔"),
        ("iso-2022-jp", "時刻表".encode("iso-2022-jp"), "時刻表"),
        ("utf-8", "Überweg, Größe, Straße".encode("latin-1"), "Überweg, Größe, Straße"),
    ],
)
def test_charsets_that_mail_programs_name(tmp_path, charset, content, text):
    path = mail(tmp_path / "a.eml", content, f"Content-Type: text/plain; charset={charset}")
    assert texts(Reading(path, encoding="latin-1").documents[0])[1:] == [text]


def test_bytes_in_headers_and_broken_encoded_words_are_kept(tmp_path):
    path = tmp_path / "a.eml"
    path.write_bytes(
        "Subject: 借阅规则\nFrom: =?utf-8?B?broken\nTo: =?no-such?Q?caf=C3=A9?= =?utf-8?B?!?=\n\nText.\n".encode()
    )
    (document,) = Reading(path).documents
    assert document.title == "借阅规则"
    assert texts(document)[0].startswith("From: =?utf-8?B?broken\nTo: café")


def test_one_form_of_a_text_is_read(tmp_path):
    both = EmailMessage()
    both["Subject"] = "Lockers"
    both.set_content("Lockers cost 2 euros.\n")
    both.add_alternative("<p>Lockers cost <b>2</b> euros.</p>", subtype="html")
    (tmp_path / "both.eml").write_bytes(bytes(both))
    assert texts(Reading(tmp_path / "both.eml").documents[0]) == ["Subject: Lockers", "Lockers cost 2 euros."]
    page = EmailMessage()
    page["Subject"] = "Lockers"
    page.set_content("\n")
    page.add_alternative("<h2>Keys</h2><p>Ask at desk&nbsp;4.</p>", subtype="html")
    (tmp_path / "page.eml").write_bytes(bytes(page))
    block = Reading(tmp_path / "page.eml").documents[0].blocks[-1]
    assert (block.headings, block.text.split()) == (("Keys",), ["Ask", "at", "desk", "4."])


def test_attachments_are_files_of_their_own_or_named(tmp_path):
    message = EmailMessage()
    message["Subject"] = "Rules"
    message.set_content("See the files.\n")
    message.add_attachment(b"# Pool\n\nThe pool opens at 7.\n", maintype="text", subtype="markdown", filename="规则.md")
    message.add_attachment(b"first", maintype="text", subtype="plain", filename="../../note.txt")
    message.add_attachment(b"second", maintype="text", subtype="plain", filename="note.txt")
    message.add_attachment(b"\0heic", maintype="image", subtype="heic", filename="map.heic")
    (tmp_path / "rules.eml").write_bytes(bytes(message))
    read = Reading(tmp_path / "rules.eml")
    assert [(one.source, one.title) for one in read.documents[1:]] == [
        ("rules.eml/规则.md", "Pool"),
        ("rules.eml/note.txt", "first"),
        ("rules.eml/note (2).txt", "second"),
    ]
    assert read.notes == [("rules.eml", "1 attachment in formats that are not read here: map.heic")]


def test_an_attachment_that_cannot_be_read_is_named(tmp_path):
    message = EmailMessage()
    message["Subject"] = "Rules"
    message.set_content("See the file.\n")
    message.add_attachment(b"{broken\n", maintype="application", subtype="json", filename="rows.jsonl")
    (tmp_path / "rules.eml").write_bytes(bytes(message))
    with pytest.raises(SourceError, match=r"rules.eml/rows.jsonl, line 1: broken JSON"):
        Reading(tmp_path / "rules.eml")
    read = Reading(tmp_path / "rules.eml", rejecting=True)
    assert [(one.source, one.position) for one in read.rejects] == [("rules.eml/rows.jsonl", "line 1")]
    assert texts(read.documents[0])[-1] == "See the file."


def test_attached_messages_are_sections(tmp_path):
    inner = EmailMessage()
    inner["Subject"] = "Tariff"
    inner.set_content("A day ticket costs 9 euros.\n")
    outer = EmailMessage()
    outer["Subject"] = "Fwd"
    outer.set_content("For you.\n")
    outer.add_attachment(inner)
    (tmp_path / "a.eml").write_bytes(bytes(outer))
    assert [(block.headings, block.text) for block in Reading(tmp_path / "a.eml").documents[0].blocks] == [
        ((), "Subject: Fwd"),
        ((), "For you."),
        (("Tariff",), "Subject: Tariff"),
        (("Tariff",), "A day ticket costs 9 euros."),
    ]


def test_messages_that_nest_without_end_are_a_sentence(tmp_path):
    nested = b"Content-Type: message/rfc822\n\n" * 20_000 + b"Subject: deep\n\nText.\n"
    (tmp_path / "deep.eml").write_bytes(nested)
    with pytest.raises(SourceError, match=r"deep.eml holds parts that are nested too deeply; leave it out\."):
        Reading(tmp_path / "deep.eml")


def test_what_is_no_message_is_a_sentence(tmp_path):
    (tmp_path / "a.eml").write_bytes(b"\x00\x01\x02 not mail")
    with pytest.raises(SourceError, match=r"a.eml is no mail message: it has no header such as From or Subject"):
        Reading(tmp_path / "a.eml")


BOX = """\
From ann@example.org Mon Mar  2 10:00:00 2026
From: Ann <ann@example.org>
Subject: Boats
Message-ID: <one@example.org>

What does a boat cost?

From here it is a long way.
>From the pier it is not.

From bob@example.org Mon Mar  2 11:00:00 2026
From: Bob <bob@example.org>
Subject: Re: Boats
Message-ID: <two@example.org>
In-Reply-To: <one@example.org>

Forty yuan.

On Monday Ann wrote:
> What does a boat cost?
> From here it is a long way.

From cy@example.org Mon Mar  2 12:00:00 2026
From: Cy <cy@example.org>
Subject: Re: Lost
Message-ID: <one@example.org>
In-Reply-To: <unknown@example.org>

> Where is it?
At the pier.
> And when?
"""


def test_a_mailbox_has_a_document_for_each_message(tmp_path):
    (tmp_path / "box.mbox").write_text(BOX)
    read = Reading(tmp_path / "box.mbox")
    assert [(one.source, one.record, one.title, one.unit) for one in read.documents] == [
        ("box.mbox", "one@example.org", "Boats", "message"),
        ("box.mbox", "two@example.org", "Re: Boats", "message"),
        ("box.mbox", "message 3", "Re: Lost", "message"),
    ]
    assert [{(block.first, block.last) for block in one.blocks} for one in read.documents] == [
        {(1, 1)},
        {(2, 2)},
        {(3, 3)},
    ]
    assert texts(read.documents[0])[1:] == [
        "What does a boat cost?",
        "From here it is a long way.\nFrom the pier it is not.",
    ]


def test_a_quotation_is_kept_once(tmp_path):
    (tmp_path / "box.mbox").write_text(BOX)
    read = Reading(tmp_path / "box.mbox")
    assert texts(read.documents[1])[1:] == ["Forty yuan.", "On Monday Ann wrote:"]
    assert texts(read.documents[2])[1:] == ["> Where is it?\nAt the pier.\n> And when?"]
    assert read.notes == [("box.mbox", "1 quotation of messages that are in the mailbox themselves left out")]


def test_a_damaged_message_is_named_by_its_number(tmp_path):
    broken = BOX.replace("From: Bob <bob@example.org>\nSubject: Re: Boats\n", "no header\n")
    (tmp_path / "box.mbox").write_text(broken)
    with pytest.raises(SourceError, match="box.mbox, message 2 is no mail message"):
        Reading(tmp_path / "box.mbox")
    read = Reading(tmp_path / "box.mbox", rejecting=True)
    assert [(one.source, one.position) for one in read.rejects] == [("box.mbox", "message 2")]
    assert [one.blocks[0].first for one in read.documents] == [1, 3]


def test_attachments_in_a_mailbox_name_their_message(tmp_path):
    message = EmailMessage()
    message["Subject"] = "Plan"
    message.set_content("Here.\n")
    message.add_attachment(b"# Plan\n\nLine 3 is closed.\n", maintype="text", subtype="markdown", filename="plan.md")
    (tmp_path / "box.mbox").write_bytes(b"From a@b Mon Mar  2 10:00:00 2026\n" + bytes(message))
    assert [one.source for one in Reading(tmp_path / "box.mbox").documents] == [
        "box.mbox",
        "box.mbox/message 1/plan.md",
    ]


def test_archives_in_a_mailbox_share_its_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(inflation, "MOST_BYTES", 300_000)
    monkeypatch.setattr(inflation, "MOST_RATIO", 1)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "word " * 20_000)
    message = EmailMessage()
    message["Subject"] = "Files"
    message.set_content("Here.\n")
    message.add_attachment(packed.getvalue(), maintype="application", subtype="zip", filename="files.zip")
    one = b"From a@b Mon Mar  2 10:00:00 2026\n" + bytes(message) + b"\n"
    (tmp_path / "one.mbox").write_bytes(one)
    (tmp_path / "box.mbox").write_bytes(one * 4)
    assert Reading(tmp_path / "one.mbox").documents[1].source == "one.mbox/message 1/files.zip/a.txt"
    with pytest.raises(SourceError, match=r"^box.mbox inflates to more than"):
        Reading(tmp_path / "box.mbox")


def test_a_mailbox_is_read_message_by_message(tmp_path):
    message = (
        b"From a@b Mon Mar  2 10:00:00 2026\nSubject: s\nContent-Transfer-Encoding: base64\n\n"
        + b"A" * 20_000
        + b"\n\n"
    )
    (tmp_path / "one.mbox").write_bytes(message)
    (tmp_path / "box.mbox").write_bytes(message * 200)
    peaks = []
    for name in ("one.mbox", "one.mbox", "box.mbox"):  # the first imports what it needs
        files = find_files([tmp_path / name])
        tracemalloc.start()
        assert {document.title for document in read_documents(files, ReadOptions(limits=None))} == {"s"}
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 500_000  # of 4 MB


def test_what_is_no_mailbox_is_a_sentence(tmp_path):
    (tmp_path / "a.mbox").write_text("Dear all,\n")
    with pytest.raises(SourceError, match=r"a.mbox is no mailbox: it begins with b'Dear all,"):
        Reading(tmp_path / "a.mbox")
