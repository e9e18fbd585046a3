"""The quick look at a file of takeoffs: it tells what reading every element tells, or nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from export_pipeline.takeoff.ost import fast_readback, fast_takeoffs, validate
from export_pipeline_tests.takeoff.ost.sample import CONDITIONS, line, page, rendered, shape, xy

SQUARE = {"points": [xy(0, 0), xy(375, 0), xy(375, 375), xy(0, 375)]}


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with runs of takeoffs on two pages, between them pages with few or none."""
    path = tmp_path_factory.mktemp("ost") / "long.xml"
    pages = [page(number, f"{number}.pdf", number) for number in range(4)]
    measurements = [
        measurement
        for number in (0, 1, 3)
        for step in range(3 if number == 1 else 40)
        for measurement in (
            line(0, (0, 0.5), (375 + step, 0), (375, 375.125), page_index=number),
            shape("polygon", 1, SQUARE, page_index=number),
            shape("circle", 2, {"center": xy(90, 90), "radius": 40 + step}, page_index=number),
            shape("point", 3, xy(5, step), page_index=number),
        )
    ]
    rendered(path, CONDITIONS, pages, measurements)
    return path.read_bytes()


def both_ways(path: Path) -> tuple[validate.Inspection | None, validate.Inspection]:
    """The results of the quick reader and of the reader of every element."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_readback, "inspect", lambda path: None)
        closely = validate.inspect(path)
    return fast_readback.inspect(path), closely


def assert_the_same(quick: validate.Inspection, closely: validate.Inspection) -> None:
    assert (quick.measurements, quick.quantity) == (closely.measurements, closely.quantity)
    assert quick.problems == closely.problems == []
    assert quick.quantities.keys() == closely.quantities.keys()
    for uid, quantity in closely.quantities.items():
        assert quick.quantities[uid] == (
            *quantity[:2],
            pytest.approx(quantity.value, rel=1e-12),
            quantity.unit,
        )


@pytest.mark.parametrize("chunk", [700, 60_000, 1 << 20])
def test_runs_of_takeoffs_are_read_as_single_ones_are(
    tmp_path: Path, long: bytes, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_takeoffs, "_CHUNK", chunk)
    path = tmp_path / "long.xml"
    path.write_bytes(long)
    taken: list[int] = []
    take = fast_readback._QuickReader._take
    monkeypatch.setattr(
        fast_readback._QuickReader, "_take", lambda reader, run: (taken.append(len(run)), take(reader, run))
    )
    quick, closely = both_ways(path)
    assert quick is not None
    assert_the_same(quick, closely)
    assert closely.measurements == 332
    assert taken if chunk > 700 else not taken
    if chunk > 1_000_000:
        assert sum(taken) == 400


_IN_A_RUN = [
    ('UID="', 'UID="9'), (' BidUID="1"', ' BidUID="2"'), ("ConditionUID=", "CondtionUID="),
    ('BidZoneUID="0"', 'BidZoneUID="7"'), ('BidPageUID="', 'BidPageUID="0'), ('AreaUID="0"', 'AreaUID="1"'),
    ('ParentUID="0"', 'ParentUID="4"'), ('No="', 'No="x'), ("&#xa;", ""), ("&#xa;", ";1&#xa;"), (";", ";;"),
    (";", "e1;"), ("Position=", "Positions="), ('IsNegativeQuantity="0"', 'IsNegativeQuantity="2"'),
    ('Curve="-1"', ""), ("/>", ">"), ("<", ""), ("\r\n", "\n"), ("\r\n", "x\r\n"),
    (' Count="1"', ' Count="1" Count="1"'), ("<BidTakeoff", "<!-- <BidTakeoff"), ("<BidTakeoff", "<BidArrow"),
    ("<BidTakeoff", "</BidTakeoffs>\r\n<BidTakeoff"), ("<BidTakeoff", "<![CDATA[<BidTakeoff"),
]  # fmt: skip
_SOUND_TOO = [('"0"', "'0'"), ('&#xa;"', '&#10;"')]


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new"), [*_IN_A_RUN, *_SOUND_TOO])
def test_a_break_within_a_run_is_reported_as_one_of_a_single_takeoff(
    tmp_path: Path, long: bytes, old: str, new: str
) -> None:
    path = tmp_path / "broken.xml"
    lines = long.decode().splitlines(keepends=True)
    takeoffs = [number for number, text in enumerate(lines) if text.startswith("<BidTakeoff ")]
    place = takeoffs[len(takeoffs) // 4]
    assert old in lines[place]
    lines[place] = lines[place].replace(old, new, 1)
    path.write_bytes("".join(lines).encode())
    quick, closely = both_ways(path)
    assert validate.inspect(path).problems == closely.problems
    if (old, new) in _SOUND_TOO:
        assert quick is not None
        assert_the_same(quick, closely)
    else:
        assert quick is None
        assert closely.problems


@pytest.mark.slow
def test_lines_out_of_place_and_repeated(tmp_path: Path, long: bytes) -> None:
    path = tmp_path / "broken.xml"
    whole = long.decode().splitlines(keepends=True)
    takeoffs = [number for number, text in enumerate(whole) if text.startswith("<BidTakeoff ")]
    chance = random.Random(5)
    for _ in range(40):
        lines = whole.copy()
        begin = chance.choice(takeoffs)
        some = lines[begin : begin + chance.choice((1, 2, 40))]
        if chance.random() < 0.5:
            del lines[begin : begin + len(some)]
        lines[(at := chance.randrange(len(lines))) : at] = some
        path.write_bytes("".join(lines).encode())
        quick, closely = both_ways(path)
        assert (quick is None) == bool(closely.problems)


@pytest.mark.slow
def test_bytes_changed_anywhere_are_judged_alike(tmp_path: Path, long: bytes) -> None:
    path = tmp_path / "changed.xml"
    passed = 0
    for seed in range(150):
        chance = random.Random(seed)
        changed = bytearray(long)
        for _ in range(chance.choice((1, 1, 4))):
            changed[chance.randrange(len(long))] = chance.choice(b'0123456789.;-"<>&/ \rx\xff')
        path.write_bytes(changed)
        quick, closely = both_ways(path)
        if quick is not None:
            passed += 1
            assert_the_same(quick, closely)
    assert 10 < passed < 140


def test_a_mark_of_the_file_itself_is_no_takeoff(tmp_path: Path, long: bytes) -> None:
    path = tmp_path / "marked.xml"
    path.write_bytes(long.replace(b"<BidTakeoffs>", b"<BidTakeoffs><?run-0 1?>"))
    quick, closely = both_ways(path)
    assert quick is not None
    assert_the_same(quick, closely)
