"""The import rules: a sound file breaks none, and each way to break one is found and named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from export_pipeline.takeoff.ost import validate
from export_pipeline_tests.takeoff.ost import importer
from export_pipeline_tests.takeoff.ost.sample import CONDITIONS, line, page, rendered, shape, xy

SQUARE = {"points": [xy(0, 0), xy(375, 0), xy(375, 375), xy(0, 375)]}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ost") / "sound.xml"
    measurements = [
        line(0, (0, 0), (375, 0), (375, 375)),
        shape("polygon", 1, SQUARE),
        shape("polygon", 2, SQUARE),
        shape("point", 3, xy(5, 5)),
        line(0, (0, 0), (375, 0), page_index=1),
    ]
    rendered(path, CONDITIONS, [page(1), page(1, "B.pdf", 1)], measurements)
    assert validate.check(path) == []
    importer.load(path)
    return path.read_bytes().decode()


def broken_rules(path: Path, text: str | bytes) -> list[validate.RuleViolation]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return validate.check(path)


def element(text: str, name: str, number: int = 0) -> str:
    """The n-th start tag of this name."""
    return re.findall(f"<{name} [^>]*>", text)[number]


BREAKS = [
    ("root", "XML_ROOT>", "ROOT>", 0),
    ("version", 'Version="3.2.0"', 'Version="3.1"', 1),
    ("order", '<OST Version="3.2.0"/>\r\n', "", 1),
    ("order", "<BidPlanRooms/>\r\n", "", 1),
    ("order", "<BidConditionUser/>\r\n<BidZones/>", "<BidZones/>\r\n<BidConditionUser/>", 1),
    ("order", "<BidHighlights/>\r\n<BidTexts/>", "<BidTexts/>\r\n<BidHighlights/>", 1),
    ("order", "<BidComments/>\r\n", "", 1),
    ("order", "<Employees/>\r\n<AccessLevels/>", "<AccessLevels/>\r\n<Employees/>", 1),
    ("reference", 'BidLayerUID="4"', 'BidLayerUID="999"', 1),
    ("reference", 'CdnTypeUID="7"', 'CdnTypeUID="x"', 1),
    ("reference", 'BidPageSelectedUID="18"', 'BidPageSelectedUID="8"', 1),
    ("reference", 'JobStatusUID="6"', 'JobStatusUID="66"', 1),
    ("reference", 'BidPageFolderUID="16"', 'BidPageFolderUID="1"', 1),
    ("reference", 'BidConditionUID="8" BidZoneUID', 'BidConditionUID="2" BidZoneUID', 1),
    ("reference", 'BidZoneUID="0"', 'BidZoneUID="5"', 1),
    ("reference", 'BidPageUID="18"', 'BidPageUID="19"', 1),
    ("reference", 'ParentUID="0" No="3"', 'ParentUID="9999" No="3"', 1),
    ("reference", 'BidUID="1" BidConditionUID', 'BidUID="2" BidConditionUID', 1),
    ("reference", 'BidConditionUID="8" AreaUID', 'BidConditionUID="9" AreaUID', 1),
    ("uid", '<BidLayer UID="3"', '<BidLayer UID="2"', 1),
    ("uid", '<BidLayer UID="3"', '<BidLayer UID="x"', 1),
    ("uid", '<BidLayer UID="3"', '<BidLayer UID="0"', 1),
    ("uid", '<BidLayer UID="3"', '<BidLayer UID="2147483648"', 1),
    ("sequence", 'IsLocked="0" Sequence="0"', 'IsLocked="0" Sequence="7"', 1),
    ("sequence", 'Sequence="2" SheetNo', 'Sequence="1" SheetNo', 1),
    ("sequence", 'Index1="1" Sequence="1"', 'Index1="1" Sequence="first"', 1),
    ("code", 'Type="0"', 'Type="4"', 1),
    ("code", 'Type="0"', 'Type="area"', 1),
    ("code", 'Quantity1="11"', 'Quantity1="10"', 1),
    ("code", 'UOM1="5"', 'UOM1="2"', 1),
    ("code", 'UOM1="9"', 'UOM1="10"', 1),
    ("code", 'Thickness="18"', 'Thickness="1e1"', 1),
    ("color", 'ColorFill="255"', 'ColorFill="16777216"', 1),
    ("color", 'ColorLine="255"', 'ColorLine="#FF0000"', 1),
    ("scale", 'ScaleFactor1="0.25" ScaleFactor2="12" Width', 'ScaleFactor1="0" ScaleFactor2="12" Width', 1),
    ("scale", 'ScaleFactor2="12" Width', 'ScaleFactor2="NaN" Width', 1),
    ("scale", ' Width="36"', ' Width="-36"', 1),
    ("flag", 'Show="1"', 'Show="true"', 1),
    ("flag", 'FlipX="0"', 'FlipX="no"', 1),
    ("flag", 'IsNegativeQuantity="0"', 'IsNegativeQuantity=""', 1),
    ("name", 'Name="Wall"', 'Name=" "', 1),
    ("name", 'JobName="Riverside School"', 'JobName=""', 1),
    ("date", 'CreateDateTime="2026 1 2 3 4 5"', 'CreateDateTime="2026-01-02"', 1),
    ("number", 'TypAreaUID="0" Quantity1="0"', 'TypAreaUID="0" Quantity1="1e5"', 1),
    ("number", ' No="3"', ' No="three"', 1),
    ("attribute", ' SheetNo="S-1"', "", 1),
    ("attribute", 'RefNo="1" ', "", 1),
    ("attribute", ' Curve="-1"', "", 1),
    ("curve", 'Curve="-1"', 'Curve="1"', 1),
    ("position", "0;0;120;0&#xa;", "0;0;120;0", 1),
    ("position", "0;0;120;0&#xa;", "0;0;120;0;120;120&#xa;", 1),
    ("position", "0;0;120;0&#xa;", "0;0;1.2e2;0&#xa;", 1),
    ("position", "0;0;120;0&#xa;", "0;0;120;zero&#xa;", 1),
    ("position", "0;0;120;0&#xa;", "0; 0;120;0&#xa;", 1),
    ("position", "0;0;120;0&#xa;", "0;0;;0&#xa;", 1),
    ("position", "0;0;120;0&#xa;", "&#xa;", 1),
    ("position", "0;0;120;0;120;120;0;120&#xa;", "0;0;120;0&#xa;", 1),
    ("position", "0;0;120;0;120;120;0;120&#xa;", "0;0;120;0;120;120;0&#xa;", 1),
    ("position", "0;0;120;0;120;120;0;120&#xa;", "0;0;120;0;120;120;0;0&#xa;", 1),
    ("text", "<BidZones/>", "<BidZones>text</BidZones>", 1),
    ("declaration", "<XML_ROOT>", '<?xml version="1.0"?><XML_ROOT>', 1),
    ("declaration", "<XML_ROOT>", '<!DOCTYPE XML_ROOT [<!ENTITY a "b">]><XML_ROOT>', 1),
    ("encoding", "<XML_ROOT>", "\ufeff<XML_ROOT>", 1),
    ("line ends", "\r\n", "\n", 1),
    ("line ends", "\r\n", "\n", 0),
    ("place", "<BidTexts/>", '<BidTakeoff UID="77"/>\r\n<BidTexts/>', 1),
    ("place", "<BidZones/>", "<BidZones>\r\n<BidPages/>\r\n</BidZones>", 1),
    ("place", "<Employees/>", "<BidLayers/>\r\n<Employees/>", 1),
    ("place", "<Employees/>", "<Employees>\r\n<CdnTypes/>\r\n</Employees>", 1),
    ("place", "<BidAreaConditions>", "<BidTakeoffs/>\r\n<BidAreaConditions>", 1),
    ("xml", "</XML_ROOT>", "", 1),
    ("xml", "<BidZones/>", "<BidZones>", 1),
    ("xml", 'Name="Wall"', 'Name="\x0b"', 1),
    ("xml", 'Name="Wall"', 'Name="&a;"', 1),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "old", "new", "times"), BREAKS)
def test_each_break_is_found(tmp_path: Path, sound: str, rule: str, old: str, new: str, times: int) -> None:
    assert old in sound
    broken = sound.replace(old, new, times or -1)
    problems = broken_rules(tmp_path / "broken.xml", broken)
    assert rule in {problem.rule for problem in problems}, problems
    for problem in problems:
        assert problem.where
        assert problem.message.endswith(".")
    # The importer of the tests, which is written apart, refuses it too.
    path = tmp_path / "broken.xml"
    with pytest.raises(Exception):  # noqa: B017, PT011
        importer.load(path)


def test_takeoffs_in_ascending_order_or_with_one_uid_twice(tmp_path: Path, sound: str) -> None:
    first, second = element(sound, "BidTakeoff", 0), element(sound, "BidTakeoff", 1)
    swapped = sound.replace(first, "@").replace(second, first).replace("@", second)
    assert "sequence" in {problem.rule for problem in broken_rules(tmp_path / "a.xml", swapped)}
    uid = re.search('UID="([0-9]+)"', first)
    last = element(sound, "BidTakeoff", -1)
    assert uid is not None
    doubled = sound.replace(last, re.sub('UID="[0-9]+"', uid.group(), last, count=1))
    assert [problem.rule for problem in broken_rules(tmp_path / "b.xml", doubled)] == ["uid"]
    shared = sound.replace(last, re.sub('UID="[0-9]+"', 'UID="3"', last, count=1))
    assert [problem.rule for problem in broken_rules(tmp_path / "c.xml", shared)] == ["uid"]


def test_no_bid_and_two_bids(tmp_path: Path, sound: str) -> None:
    bid = sound[sound.index("<Bid ") : sound.index("</Bid>") + len("</Bid>\r\n")]
    assert "bid" in {problem.rule for problem in broken_rules(tmp_path / "none.xml", sound.replace(bid, ""))}
    assert "bid" in {
        problem.rule for problem in broken_rules(tmp_path / "two.xml", sound.replace(bid, bid + bid))
    }


def test_entities_are_never_expanded(tmp_path: Path) -> None:
    levels = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    laughs = f'<!DOCTYPE r [<!ENTITY e0 "ha">{levels}]><XML_ROOT>&e11;</XML_ROOT>'
    assert [problem.rule for problem in broken_rules(tmp_path / "a.xml", laughs)] == ["declaration", "bid"]


@pytest.mark.parametrize("data", [b"", b"\x00", b"PK\x03\x04", b"<a/>", b"\xff\xfe<\x00", b"<XML_ROOT/>"])
def test_a_file_of_another_format_is_a_problem_not_a_crash(tmp_path: Path, data: bytes) -> None:
    assert broken_rules(tmp_path / "other", data)
    facts = validate.read_back(tmp_path / "other")
    assert (facts.rows, facts.totals["quantity"]) == (0, 0.0)
    assert facts.problems


def test_unknown_elements_and_attributes_are_passed_over(tmp_path: Path, sound: str) -> None:
    more = sound.replace("<BidZones/>", '<BidZones/>\r\n<Invented UID="x"/>').replace(
        "<BidPage ", '<BidPage New="1" '
    )
    assert broken_rules(tmp_path / "a.xml", more) == []


def test_the_items_of_a_list_may_be_named_either_way(tmp_path: Path, sound: str) -> None:
    assert "<JobStatuse " in sound
    assert broken_rules(tmp_path / "a.xml", sound.replace("<JobStatuse ", "<JobStatus ")) == []


def test_a_report_names_at_most_fifty_problems(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    many = [shape("point", 3, xy(1, 1)) for _ in range(3000)]
    rendered(path, CONDITIONS, [page()], many)
    broken = path.read_text(encoding="utf-8").replace('Curve="-1"', 'Curve="9"')
    assert len(broken_rules(path, broken)) == 1000
    assert len(validate.read_back(path).problems) == 50


def test_quantities_are_recomputed_from_positions(tmp_path: Path, sound: str) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(sound.encode())
    wall, slab, footing, door = validate.quantities(path).values()
    assert wall == (1, "Wall", pytest.approx(30), "LF")
    assert slab == (2, "Slab", pytest.approx(100), "SF")
    assert footing == (3, "Footing", pytest.approx(100 * 1.5 / 27), "CY")
    assert door == (4, "Door", 1, "EA")


def test_a_hole_is_taken_off_and_other_results_are_not_guessed(tmp_path: Path, sound: str) -> None:
    path = tmp_path / "a.xml"
    outer = element(sound, "BidTakeoff", 2)
    uid = re.search('UID="([0-9]+)"', outer)
    hole = element(sound, "BidTakeoff", 3)
    assert uid is not None
    assert "120;120" in hole
    cut = hole.replace('ParentUID="0"', f'ParentUID="{uid.group(1)}"').replace("120", "60")
    cut = re.sub('BidConditionUID="[0-9]+"', 'BidConditionUID="9"', cut)
    assert broken_rules(path, sound.replace(hole, cut)) == []
    assert validate.quantities(path)[9].value == pytest.approx(75)
    assert (
        broken_rules(path, sound.replace('UOM1="5"', 'UOM1="0"').replace('Quantity1="11"', 'Quantity1="19"'))
        == []
    )
    assert validate.quantities(path)[9].value != validate.quantities(path)[9].value  # NaN
