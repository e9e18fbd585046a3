"""References of a template follow the rows only where they mean all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from export_pipeline.formats.excel.template.references import Area, TemplateError

SHEET, TABLE = "xl/worksheets/sheet2.xml", "xl/tables/table1.xml"
AREA = Area("My 'data'", first=5, last=9, left=0, right=3, end=100)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("SUM('My ''data'''!$A$5:$A$9)", "SUM('My ''data'''!$A$5:$A$100)"),
        ("SUM(A4:D9)*2", "SUM(A4:D100)*2"),
        ("A1:A200+A4", "A1:A200+A4"),
        ("SUM('A9 old'!Total)+'[A5]B'!Rate", "SUM('A9 old'!Total)+'[A5]B'!Rate"),
        ("F5:F9+E7", "F5:F9+E7"),
        ("$1:$4", "$1:$4"),
        ("$4:$9", "$4:$100"),
        ("'Other'!A5:A9", "'Other'!A5:A9"),
        ('"A5:A9"&Orders[A5]&Orders[[#This Row],[A9]]', '"A5:A9"&Orders[A5]&Orders[[#This Row],[A9]]'),
        ("LOG10(A4)+A1B5", "LOG10(A4)+A1B5"),
        ("OFFSET($A$4,1,0,COUNTA($A:$A),4)", "OFFSET($A$4,1,0,COUNTA($A:$A),4)"),
    ],
)
def test_references_follow_only_where_they_mean_all_rows(formula: str, expected: str) -> None:
    assert AREA.follow_formula(formula, "My 'data'", "here") == expected


def test_rows_without_a_sign_are_relative_in_rules() -> None:
    assert (
        AREA.follow_formula("$C5>MAX($C$5:$C$9)", AREA.sheet, "a rule", moves=True) == "$C5>MAX($C$5:$C$100)"
    )


def test_the_only_row_may_be_all_rows_except_in_a_formula() -> None:
    area = replace(AREA, last=5)
    assert area.follow_formula("$A$5", area.sheet, "a chart") == "$A$5:$A$100"
    with pytest.raises(TemplateError, match="that may mean the first or all; give the sample two rows"):
        area.follow_formula("$A$5*2", area.sheet, "a cell", single=False)


@pytest.mark.parametrize(
    ("formula", "is_refused"),
    [
        ("SUM(INDIRECT(\"'My ''data'''!A5:A9\"))", True),
        ('SUM(INDIRECT("A5:A"&B1))', True),
        ('INDIRECT("R5C1:R9C1",FALSE)', True),
        ('INDIRECT("A4")&INDIRECT("Other!A5:A9")&INDIRECT("Orders[A5]")', False),
        ('INDIRECT("A:A")&"A5:A9"', True),  # nobody knows which of the texts is an address
        ('"A5:A9"&LEN("R5C1")', False),
        ("SUM(OFFSET($A$4,1,0,5,1))", True),
        ("OFFSET($A$4,5,0)", True),
        ("SUM(OFFSET(A4:A8,1,))", True),
        ("OFFSET($A$3,1,0,1,4)&OFFSET(Other!$A$4,1,0,5,1)&OFFSET($F$4,1,0,5,1)", False),
        ("OFFSET($A$4,MATCH(1,B:B),0,1,1)", False),
    ],
)
def test_rows_named_as_text_or_counted_cannot_follow(formula: str, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(TemplateError, match="which cannot follow; refer to the table"):
            AREA.follow_formula(formula, AREA.sheet, "here")
    else:
        assert AREA.follow_formula(formula, AREA.sheet, "here") == formula
