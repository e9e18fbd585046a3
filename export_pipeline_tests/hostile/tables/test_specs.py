from typing import Any

import pytest
from pydantic import ValidationError

from export_pipeline.tabular.validation import CheckedTableSpec


@pytest.mark.parametrize("place", ["header", "null_text", "currency", "labels"])
@pytest.mark.parametrize("character", ["\x00", "\x1b", "\ufffe", "\u202e", "\ud800"])
def test_a_spec_s_own_texts_hold_nothing_that_no_file_may_hold(place: str, character: str) -> None:
    kind = {"currency": "money", "labels": "enum"}.get(place, "text")
    text: Any = f"a{character}b"
    column = {"name": "c", "type": kind, place: {"NEW": text} if place == "labels" else text}
    with pytest.raises(ValidationError, match=f"holds the character U\\+{ord(character):04X}"):
        CheckedTableSpec.model_validate({"source": {"table": "t"}, "columns": [column]})
