import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.delivery.addresses import (
    MAX_RECIPIENTS,
    Address,
    check_addresses,
    header_text,
    parse_address,
    parse_domain,
)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("ann@example.org", Address("", "ann", "example.org")),
        ("  ann.b+c@EXAMPLE.Org ", Address("", "ann.b+c", "example.org")),
        ("Ann Ü. <ann@example.org>", Address("Ann Ü.", "ann", "example.org")),
        ('"Doe, John" <j@example.org>', Address("Doe, John", "j", "example.org")),
        ("jörg@bücher.example", Address("", "jörg", "xn--bcher-kva.example")),
        (
            "a@faß.example",
            Address("", "a", "xn--fa-hia.example"),
        ),  # not fass.example, which is somebody else's
        ("root@localhost", Address("", "root", "localhost")),
        ("Zoë <zoe@example.org>", Address("Zoë", "zoe", "example.org")),
        ("<zoe@example.org>", Address("", "zoe", "example.org")),
        ("李雷 < lei@例え.example >", Address("李雷", "lei", "xn--r8jz45g.example")),
        ("O'Hara, Pat (Sales) <pat@example.org>", Address("O'Hara, Pat (Sales)", "pat", "example.org")),
    ],
)
def test_addresses_as_people_write_them(written: str, address: Address) -> None:
    assert parse_address(written) == address


@pytest.mark.parametrize(
    "written",
    [
        "", "ann", "@example.org", "ann@", "a b@example.org", "a@b@example.org", "a..b@example.org",
        ".a@example.org", "a@example..org", "a@-x.org", "a@[127.0.0.1]", "a@exa_mple.org", "a@x.org, b@x.org",
        "a@x.org\r\nBcc: b@x.org", "a\x00@x.org", "a@x.org\u2028", "<a@x.org> RCPT TO:<b@x.org>",
        "a@x.org> SIZE=1", "a(comment)@x.org", "x" * 65 + "@x.org", "a@" + "x" * 64 + ".org", "a@" + "x." * 130 + "org",
        "a@x.org; b@x.org", "A <a@x.org>, B <b@x.org>", '"a b"@x.org', '"a@b"@x.org', "A <a@x.org> tail", "A <a@x.org",
        " " * 400_000, "<" * 400_000, "a." * 200_000 + "@x.org", "a@" + "ü." * 200_000, " " * 400_000 + "<a@x.org>",
        "N\u202eame <a@x.org>", "a@ex\u200bample.org", "\ud800@x.org", 7, None, ["a@x.org"],
    ],
)  # fmt: skip
def test_invalid_addresses_are_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"^(is|has|holds) "):
        parse_address(written)


@given(st.text(max_size=80))
def test_no_text_becomes_an_address_that_says_more(text: str) -> None:
    try:
        address = parse_address(f"{text}@example.org")
    except ValueError:
        return
    assert not set(address.spec) & set(' \t\r\n<>,;:"()[]\\\x00')
    assert address.spec.count("@") == 1
    assert address.domain == "example.org"
    assert parse_address(address.spec).spec == address.spec


def test_one_mailbox_in_two_spellings() -> None:
    assert parse_address("Ann <Ann@Example.org>").mailbox == parse_address("ann@example.ORG").mailbox
    assert parse_domain("Bücher.Example") == parse_domain("xn--bcher-kva.example")


def test_errors_about_many_addresses_are_short() -> None:
    check_addresses(["a@x.org"] * MAX_RECIPIENTS)
    with pytest.raises(ValueError, match=r"there are 100,000 addresses; at most 1,000"):
        check_addresses([" " * 9] * 100_000)
    with pytest.raises(ValueError, match=r"has 1,000,000 characters, more than the 500") as caught:
        check_addresses(["a@x.org", "x" * 1_000_000])
    assert len(str(caught.value)) < 200


def test_header_text_is_one_line() -> None:
    assert header_text(" a\r\nb\u2028c\x00d\u202ee\ud800 ", 50) == "a b c d e"
    assert header_text("x" * 20, 10) == "x" * 9 + "…"
