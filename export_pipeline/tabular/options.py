"""Options of a table export: a pydantic model created for each spec, so that every option is typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, create_model, model_validator

from export_pipeline.core.strict_model import Strict, describe_unknown_name, error_at
from export_pipeline.tabular.column_selection import key_of, spec_of
from export_pipeline.tabular.filter_values import (
    FilterType,
    describe_filter,
    text_field,
    value_field,
    values_field,
)
from export_pipeline.tabular.spec import FilterSpec, TableSpec


class Filters(Strict):
    """The filters in use; one field each, None if it is not used."""


class FiltersDisplay(Strict):
    """Words for the values of filters; one field each, None for none."""


class Operators(Strict):
    """Operators of one filter: `equals`, `in_`, `range_`, `contains`, `is_null`; all given ones must hold."""


class Range(Strict):
    """A range: from and to, both inclusive; either may be left out."""

    from_: Any
    to: Any

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        first, last = self.from_, self.to
        if first is None and last is None:
            raise ValueError("a range needs from, to, or both")
        if first is not None and last is not None and _comparable(first, last) and first > last:
            raise ValueError(f"the range ends ({last}) before it begins ({first})")
        return self


def _comparable(first: Any, last: Any) -> bool:
    """Return whether both ends have the same type: days and times are not comparable without a zone."""
    return type(first) is type(last)


class Parts(Strict):
    """The size of the parts of an export; without a limit it is one file."""

    max_rows: Annotated[int | None, Field(ge=1, description="Most rows of a part.")] = None
    max_bytes: Annotated[
        int | None, Field(ge=64 << 10, description="Most bytes of a part, unless one row alone is longer.")
    ] = None


class TableOptions(Strict):
    """Options of a table export.

    Attributes:
        same_content: Options that do not change which rows and columns an export holds.
        unavailable: Options of which every value is refused, as the dataset has no presets, say.
    """

    same_content: ClassVar = ("sort", "title", "filters_display", "requested_by", "parts")
    unavailable: ClassVar[tuple[str, ...]] = ()

    columns: tuple[str, ...] | None
    preset: str | None
    filters: Filters
    sort: tuple[str, ...] | None
    title: str | None
    filters_display: FiltersDisplay
    requested_by: str | None
    parts: Parts

    @model_validator(mode="before")
    @classmethod
    def _required_preset_is_named(cls, values: Any) -> Any:
        field = cls.model_fields["preset"]
        if field.is_required() and isinstance(values, Mapping) and values.get("preset") is None:
            names = ", ".join(get_args(field.annotation))
            raise error_at(cls.__name__, {("preset",): f"choose one of the presets; there are {names}"})
        return values


def options(spec: Mapping[str, Any]) -> type[TableOptions]:
    """Return the options model of a spec (in its JSON form).

    Fields: columns (names), preset (required if the spec says so), filters (a `Filters` with an `Operators`
    for each filter), sort (names, with a leading `-` for descending order), title, filters_display (text by
    filter), requested_by, parts (`Parts`).
    """
    source = spec["source"]
    if source.get("sql"):  # the SQL does not affect the options, but is part of the cache key
        spec = {**spec, "source": {**source, "sql": "select", "views": {}}}
    return _options(key_of(spec))


@lru_cache(256)
def _options(key: bytes) -> type[TableOptions]:
    spec = spec_of(key)
    visible = [column.name for column in spec.columns if not column.hidden]
    sortable = [name for column in spec.sort for name in (column, f"-{column}")]
    fields: dict[str, Any] = {
        "columns": (
            Annotated[tuple[str, ...] | None, AfterValidator(_known(visible))],
            Field(None, description=f"Columns to export, in this order. There are {', '.join(visible)}."),
        ),
        "preset": _preset(spec),
        "filters": (
            filters_model(spec),
            Field(default_factory=dict, validate_default=True, description="Only rows that match all these."),
        ),
        "sort": (
            Annotated[tuple[str, ...] | None, AfterValidator(_known(sortable))],
            Field(
                None,
                description="Columns to sort by, `-` before a name for descending. "
                + (f"There are {', '.join(spec.sort)}." if spec.sort else "There are none."),
            ),
        ),
        "title": (
            Annotated[str | None, AfterValidator(_one_line)],
            Field(
                None, max_length=200, description="Title of the file and its mail, instead of the usual one."
            ),
        ),
        "filters_display": (
            _display_model(spec),
            Field(
                default_factory=dict,
                validate_default=True,
                description="Words for the values of filters, as ids say nothing to people.",
            ),
        ),
        "requested_by": (
            str | None,
            Field(None, max_length=1_000, description="The requester; decides what guarded columns show."),
        ),
        "parts": (
            Parts,
            Field(
                default_factory=dict,
                validate_default=True,
                description="Several files instead of one, each with some of the rows: csv, jsonl, parquet.",
            ),
        ),
    }
    model = create_model("TableOptions", __base__=TableOptions, **fields)
    offered = {
        "preset": spec.presets, "filters": spec.filters, "filters_display": spec.filters, "sort": spec.sort,
    }  # fmt: skip
    model.unavailable = tuple(name for name, choices in offered.items() if not choices)
    return model


def _preset(spec: TableSpec) -> tuple[Any, Any]:
    if not spec.presets:
        none = Annotated[str | None, AfterValidator(_no_preset)]
        return none, Field(None, description="Ready-made choices of columns; there are none here.")
    names: Any = Literal[tuple(spec.presets)]
    filters = " and filters" if any(preset.filters for preset in spec.presets.values()) else ""
    text = f"Ready-made choice of columns{filters}."
    if spec.preset_required:
        return names, Field(description=text)
    return names | None, Field(None, description=text)


def _one_line(title: str | None) -> str | None:
    if title is not None and not (title.strip() and title.isprintable()):
        raise ValueError("this is one line of visible text")
    return title and title.strip()


def _no_preset(name: str | None) -> None:
    if name is not None:
        raise ValueError(f"there is no preset {name!r}; this export has none")


def _known(names: Iterable[str]) -> Any:
    known = dict.fromkeys(names)

    def check(chosen_names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Refuse unknown and repeated names. An empty list means no choice."""
        named: set[str] = set()
        for name in chosen_names or ():
            if name not in known:
                raise ValueError(describe_unknown_name(name[:100], known))
            bare = name.removeprefix("-")
            if bare in named:
                raise ValueError(f"{bare!r} is named twice")
            named.add(bare)
        return chosen_names or None

    return check


def filters_model(spec: TableSpec) -> type[Filters]:
    """Return the model of an export's filters."""
    fields: dict[str, Any] = {
        _field_name(index, name): (
            operators_model(name, filter, describe_filter(spec, name, filter)) | None,
            Field(None, alias=name, description=filter.description or f"Only rows with such a {name}."),
        )
        for index, (name, filter) in enumerate(spec.filters.items())
    }
    return create_model("Filters", __base__=Filters, **fields)


def _display_model(spec: TableSpec) -> type[FiltersDisplay]:
    fields: dict[str, Any] = {
        _field_name(index, name): (
            Annotated[str | None, AfterValidator(_one_line)],
            Field(None, alias=name, max_length=200, description=f"Words for the value of {name}."),
        )
        for index, name in enumerate(spec.filters)
    }
    return create_model("FiltersDisplay", __base__=FiltersDisplay, **fields)


def _field_name(index: int, name: str) -> str:
    """Return the name itself, unless it is an attribute of a pydantic model, such as `copy`."""
    return f"filter_{index}_{name}" if name.startswith("_") or hasattr(Filters, name) else name


def operators_model(name: str, filter: FilterSpec, about: FilterType) -> type[Operators]:
    """Return the model of one filter's operators."""
    value = value_field(about)
    days = " A day means the whole day." if about.type.kind == "timestamp" else ""
    unit = " In the currency's minor unit." if about.type.minor else ""
    known: dict[str, Any] = {
        "equals": (value, Field(None, description="This value." + days + unit)),
        "in": (
            values_field(about),
            Field(None, alias="in", description="One of these values." + days + unit),
        ),
        "contains": (
            text_field(),
            Field(None, description="Contains this string, in upper or lower case."),
        ),
        "is_null": (bool | None, Field(None, description="True: missing values. False: all others.")),
    }
    if "range" in filter.operators:  # only then: creating a model takes time
        ends: dict[str, Any] = {
            "from_": (value, Field(None, alias="from", description="First value." + days + unit)),
            "to": (value, Field(None, description="Last value." + days + unit)),
        }
        known["range"] = (
            create_model(f"{name}_range", __base__=Range, **ends) | None,
            Field(None, alias="range", description="From one to another, both inclusive." + days + unit),
        )
    fields = {_FIELDS.get(one, one): known[one] for one in filter.operators}
    return create_model(f"{name}_filter", __base__=Operators, **fields)


_FIELDS = {"in": "in_", "range": "range_"}
