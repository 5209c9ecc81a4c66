"""Form fields, comments and typed texts of PDF files."""

from __future__ import annotations

from pdf_files import Pages, only, raw_pdf, read, stream
from reading import texts


def test_values_of_form_fields_follow_their_page(tmp_path):
    pages = Pages(tmp_path / "a.pdf").write("Registration of a boat")
    form = pages.canvas.acroForm
    form.textfield(name="boat", tooltip="Name of the boat", value="Sea Swallow", x=72, y=600)
    form.textfield(name="owner", value="", x=72, y=560)
    form.checkbox(name="insured", checked=True, x=72, y=520)
    form.checkbox(name="engine", checked=False, x=72, y=500)
    form.choice(name="port", value="North", options=["North", "South"], x=72, y=460)
    form.radio(name="season", value="summer", selected=True, x=72, y=420)
    form.radio(name="season", value="winter", selected=False, x=102, y=420)
    pages.page().page("Second page")
    assert [(block.text, block.first) for block in only(pages.save()).blocks] == [
        ("Registration of a boat", 1),
        ("Name of the boat: Sea Swallow\ninsured: yes\nport: North\nseason: summer", 1),
        ("Second page", 2),
    ]


def annotated(*annotations: bytes) -> bytes:
    """A page with words and annotations, which are fields of a form, too."""
    numbers = b" ".join(b"%d 0 R" % (6 + at) for at in range(len(annotations)))
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[%b]>>>>" % numbers,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>/Annots[%b]>>"
        % numbers,
        stream(b"BT /F 12 Tf 72 700 Td (Plan of the pier) Tj ET"),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *annotations,
    )


def test_typed_texts_are_read_and_comments_are_counted(tmp_path):
    rect = b"/Type/Annot/Rect[10 10 90 90]"
    path = tmp_path / "a.pdf"
    path.write_bytes(
        annotated(
            b"<<%b/Subtype/FreeText/Contents(Built in 1931)>>" % rect,
            b"<<%b/Subtype/Text/Contents(Is this right?)>>" % rect,
            b"<<%b/Subtype/Highlight/Contents(Ask the harbour master)>>" % rect,
            b"<<%b/Subtype/Highlight>>" % rect,
            b"<<%b/Subtype/Link/Contents(a link)>>" % rect,
        )
    )
    (document,), notes = read(path)
    assert texts(document) == ["Plan of the pier", "Built in 1931"]
    assert notes == ["2 comments are left out"]


def test_names_in_any_script_and_no_passwords(tmp_path):
    def field(name: str, value: str, more: bytes = b"") -> bytes:
        texts = [b"<%b>" % ("\ufeff" + text).encode("utf-16-be").hex().encode() for text in (name, value)]
        return b"<</Type/Annot/Subtype/Widget/FT/Tx/Rect[10 10 90 90]/T%b/V%b%b>>" % (*texts, more)

    path = tmp_path / "a.pdf"
    path.write_bytes(
        annotated(field("码头", "三号码头"), field("code", "s3cret", b"/Ff 8192"), field("rows", "one\r\ntwo"))
    )
    (document,), notes = read(path)
    assert texts(document) == ["Plan of the pier", "码头: 三号码头\nrows: one\ntwo"]
    assert notes == ["1 password in its form is left out"]
