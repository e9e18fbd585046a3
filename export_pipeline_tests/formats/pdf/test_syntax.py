"""The syntax of objects and page content: what is well-formed, and what is left to a parser."""

from __future__ import annotations

import io
import random
import re
from pathlib import Path

import pikepdf
import pytest

from export_pipeline.core.layout import Section
from export_pipeline.formats.pdf.objects import PdfFile
from export_pipeline.formats.pdf.readback import read_back
from export_pipeline.formats.pdf.syntax import are_objects, are_operators, has_repeated_key
from export_pipeline_tests.formats.pdf.reading import layout, rendered, write
from export_pipeline_tests.formats.pdf.test_tagged import layouts, linked, table

OBJECTS = (
    b"12", b" -1.5\n", b"+.5", b"true", b"null", b"7 0 R", b"/Name", b"/", b"/A#20B", b"(text)", b"(a \\) b)",
    b"<00fF>", b"[]", b"[1 2 0 R/A(b)<00>]", b"<<>>", b"<</A 1>>", b"<</A/B/C[1/D]/E<</F(g)>>/H null>>",
    b"<< /A 1 0 R\n/B [ 1 0 R 2 0 R ] >>", b"<</A<</B<</C 1>>>>>>", b"[[[<00>]]]",
)  # fmt: skip
NO_OBJECTS = (
    b"", b"1 2", b"1.2.3", b"-", b"tru", b"7 0 r", b"7 0R", b"/A#2", b"/A/B", b"/A\xff", b"(text", b"(a\\)",
    b"<0G>", b"<00", b"[", b"[1", b"[1]]", b"<<", b"<</A>>", b"<</A 1", b"<</A 1>", b"<<1/A>>", b"<</A1 0 R>>",
    b"<</A 1 2>>", b"<(/A 1>>", b"<</A(>>", b"12\x0112", b"[1}", b"<</A/B C>>", b"[12/A3(]",
)  # fmt: skip
CONTENTS = (
    b"", b"q\nQ\n", b"1 0 0 1 5 5 cm", b"BT /F1 8 Tf 1 2 Td<0102>Tj(text)' ET", b"[1<00>-2(a)]TJ", b"[3 1]0 d",
    b"/TD<</MCID 0>>BDC\nEMC", b"/Artifact BMC EMC", b"/A/B BDC EMC", b"0.5 0 0 rg 1 2 3 4 re f*", b"/G gs/I Do",
)  # fmt: skip
NO_CONTENTS = (
    b"Td", b"1 Td", b"1 2Td", b"1 2 3 Td", b"1 2 Tdq", b"1 2 Td 5", b"qQ", b"/F1 Tf", b"8 /F1 Tf", b"<00Tj",
    b"<0G>Tj", b"(text Tj", b"/TD<</MCID 0>BDC", b"/TD<</MCID>>BDC", b"1 2 xx", b"]", b"<<", b"1 2 3 4 r\x00e",
)  # fmt: skip


@pytest.mark.parametrize("text", OBJECTS)
def test_an_object_is_known(text: bytes) -> None:
    assert are_objects([b"1", text])


@pytest.mark.parametrize("text", NO_OBJECTS)
def test_what_is_no_object_is_not_known(text: bytes) -> None:
    assert not are_objects([b"1", text])


@pytest.mark.parametrize("text", CONTENTS)
def test_operators_with_their_operands_are_known(text: bytes) -> None:
    assert are_operators([b"q Q", text])


@pytest.mark.parametrize("text", NO_CONTENTS)
def test_operators_without_their_operands_are_not_known(text: bytes) -> None:
    assert not are_operators([b"q Q", text])


@pytest.mark.parametrize("name", list(layouts()))
@pytest.mark.parametrize("tagged", [False, True])
def test_a_file_of_ours_needs_no_other_parser(
    tmp_path: Path, name: str, tagged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.pdf"
    write(path, layouts()[name], {"tagged": tagged})
    monkeypatch.setattr(pikepdf, "open", None)
    assert read_back(path).problems == ()


def test_nothing_is_known_that_a_parser_refuses(tmp_path: Path) -> None:
    whole = rendered(layout(*linked()))
    with pikepdf.open(io.BytesIO(whole)) as file:
        content = b"".join(part.read_bytes() for part in file.pages[0].obj.Contents)
        chance, refused, known = random.Random(1), 0, 0
        for _ in range(400):
            changed = bytearray(content)
            changed[chance.randrange(len(content))] = chance.choice(b"<>[]()/% 0aT\x00\xff")
            is_known = are_operators([bytes(changed)])
            known += is_known
            file.pages[0].obj.Contents = file.make_stream(bytes(changed))
            before = len(file.get_warnings())
            pikepdf.parse_content_stream(file.pages[0], "none")
            if len(file.get_warnings()) > before:
                refused += 1
                assert not is_known, bytes(changed)
    assert refused > 20
    assert known > 50


def test_the_head_of_an_object_stream_names_each_object_once() -> None:
    whole = rendered(layout(Section("t", "T", table(300), counts=True)))
    with pikepdf.open(io.BytesIO(whole)) as file:
        streams = [
            file.get_object(int(number), 0)
            for number in re.findall(rb"\n(\d+) 0 obj\n[^\n]*/Type/ObjStm", whole)
        ]
        assert len(streams) > 2
        for stream in streams:
            assert len(stream.read_bytes()[: int(stream.First)].split()) == 2 * int(stream.N)


@pytest.mark.parametrize(
    ("text", "is_repeated"),
    [
        (b"<</A/B/B/A>>", False),
        (b"<</A 1 0 R/B[/A/A]/C<</A/A>>>>", False),
        (b"<</A(/A\\)/A)/B<00>/C(<</A/A)>>", False),
        (b"<</A 1/B 2/A 3>>", True),
        (b"<</A/A/A/B>>", True),
        (b"[<</A 1>><</B<00>/C<</D 1 0 R/D null>>>>]", True),
        (b"<</A 1>>/B/B>>]>>", False),
    ],
)
def test_a_key_that_stands_twice_in_one_dictionary_is_told_from_others(
    text: bytes, is_repeated: bool
) -> None:
    assert has_repeated_key(text) is is_repeated


@pytest.mark.parametrize(
    ("is_row", "key", "twice"),
    [(True, b"/K", b"/P"), (True, b"/Pg", b"/P "), (False, b"/A<</O", b"/P<</O")],
)
def test_a_key_that_stands_twice_in_a_packed_object_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_row: bool, key: bytes, twice: bytes
) -> None:
    put = PdfFile.put_objects

    def damage(self: PdfFile, first: int, objects: int, head: bytes, bodies: bytes, period: int = 0) -> None:
        changed = bodies.replace(key, twice, 1) if (b"/TD" in bodies) is is_row else bodies
        put(self, first, objects, head, changed, period)

    monkeypatch.setattr(PdfFile, "put_objects", damage)
    path = tmp_path / "t.pdf"
    write(path, layout(Section("t", "T", table(30), counts=True)), {"tagged": True})
    assert any("duplicated key" in problem for problem in read_back(path).problems)
