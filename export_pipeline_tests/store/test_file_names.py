import email.message
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.store.file_names import content_disposition, safe_file_name


def as_read_by_others(header: str) -> tuple[object, object]:
    """The plain and the exact file name that Python's mail package (RFC 2231) finds in a header."""
    plain, exact = email.message.Message(), email.message.Message()
    plain["Content-Disposition"], exact_part = header.rsplit("; ", 1)
    exact["Content-Disposition"] = f"attachment; {exact_part}"
    return plain.get_filename(), exact.get_filename()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Riverside School.csv", "Riverside School.csv"),
        ("報告 2026.xlsx", "報告 2026.xlsx"),
        ("a/../b\\c.csv", "a_.._b_c.csv"),
        ('say "hi"\r\nX: y.csv', "say _hi___X_ y.csv"),
        ("=cmd|' /C calc'!A0.csv", "_=cmd_' _C calc'!A0.csv"),
        (".bashrc", "_.bashrc"),
        ("-rf.csv", "_-rf.csv"),
        ("evil\u202evsc.exe", "evil_vsc.exe"),
        ("می\u200cخواهم.csv", "می\u200cخواهم.csv"),
        ("\ud800.csv", "_.csv"),
        ("  ", "export"),
        ("a. .", "a"),
    ],
)
def test_file_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe


@given(st.text(st.characters(), max_size=300))
def test_any_name_becomes_a_file_name_that_a_header_can_carry(name: str) -> None:
    safe = safe_file_name(name)
    assert safe == safe_file_name(safe)
    assert 1 <= len(safe.encode()) <= 182
    assert not set(safe) & set('<>:"/\\|?*')
    assert not any(unicodedata.category(c) in {"Cc", "Cs"} for c in safe)
    header = content_disposition(name)
    assert header.isascii()
    assert header.isprintable()
    plain, exact = as_read_by_others(header)
    assert exact == safe
    assert plain == safe_file_name(str(plain))


def test_a_long_name_keeps_its_extension() -> None:
    safe = safe_file_name("報" * 300 + ".xlsx")
    assert safe.endswith("報.xlsx")
    assert len(safe.encode()) <= 180


def test_old_readers_find_an_ascii_name() -> None:
    assert 'filename="Resume 100_.csv"' in content_disposition("Résumé 100%.csv")
    assert 'filename="a_b_.csv"' in content_disposition("a／b＂.csv")
    assert 'filename="export.csv"' in content_disposition("報告.csv")
