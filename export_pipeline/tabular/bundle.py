"""A bundle: several datasets of one snapshot, together in a ZIP or a workbook.

Its spec names the members: `{"title": …, "members": {name: {"spec": …, "options": …}}}`. While it is staged,
a member's table t is the bundle's table "member.t", and its facts are in `subject["members"]`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, create_model

from export_pipeline.core.arrow import pa
from export_pipeline.core.description import ShapeDescription
from export_pipeline.core.export_data import ExportData, Shape, describe
from export_pipeline.core.layout import Layout, Presentation, Proof
from export_pipeline.core.strict_model import Strict

_FACTS = (
    "dataset",
    "title",
    "subject",
    "options",
    "source_rows",
    "source_totals",
    "exact_totals",
    "previous_totals",
    "previous_groups",
    "counted",
    "warnings",
)


class BundleOptions(Strict):
    """Options of a bundle."""

    same_content: ClassVar = ("requested_by",)


def _has_no_requester(options: BaseModel | None) -> BaseModel | None:
    if getattr(options, "requested_by", None) is not None:
        raise ValueError("requested_by: only the request itself says who asks; leave it out of the options")
    return options


@dataclass(frozen=True, slots=True)
class Bundle:
    """The shape of a bundle: those of its members, by name."""

    members: Mapping[str, Shape]

    def options(self, spec: Mapping[str, Any], /) -> type[BaseModel]:
        """Return the options model of a bundle: each member's own options, under its name.

        Who asks is an option of the bundle alone, so that a request has one place that says so.
        """
        models = {name: shape.options(spec["members"][name]["spec"]) for name, shape in self.members.items()}
        fields: dict[str, Any] = {
            name: (Annotated[model | None, AfterValidator(_has_no_requester)], None)
            for name, model in models.items()
        }
        for model in models.values():
            if (field := model.model_fields.get("requested_by")) is not None:
                fields["requested_by"] = (field.annotation, field)
        return create_model("BundleOptions", __base__=BundleOptions, **fields)

    def describe(self, spec: Mapping[str, Any], /) -> ShapeDescription:
        """Return the tables of all members; their columns are described with each."""
        described = [describe(shape, spec["members"][name]["spec"]) for name, shape in self.members.items()]
        return ShapeDescription((), tuple(dict.fromkeys(table for one in described for table in one.tables)))

    def build(self, data: ExportData, /) -> ExportData:
        """Build every member of a bundle."""
        return join(data, {name: member.shape.build(member) for name, member in self.split(data).items()})

    def layout(self, data: ExportData, /) -> Layout:
        """Lay out the members; the bundle itself has no tables."""
        members = {name: member.shape.layout(member) for name, member in self.split(data).items()}
        first = next(iter(members.values()))
        periods = {member.period for member in members.values()}
        return Layout(
            title=data.title,
            created=first.created,
            main=first.main,
            document={},
            sheets=(),
            chapters=(),
            file_name=f"{data.title}_{data.file_part}",
            period=periods.pop() if len(periods) == 1 else data.period(),
            scope=first.scope if len({member.scope for member in members.values()}) == 1 else "",
            members=members,
            provenance=data.provenance,
            arrange=_arrange,
        )

    def split(self, data: ExportData) -> dict[str, ExportData]:
        """Return the members of a bundle by name, each as an export of its own.

        Format options are those of the bundle, unless the member's own defaults override them.
        """
        shared = {name: value for name, value in data.options.items() if name not in self.members}
        return {
            name: replace(
                data,
                **({key: facts[key] for key in _FACTS} | {"options": {**shared, **facts["options"]}}),
                shape=self.members[name],
                spec=data.spec["members"][name]["spec"],
                changed=Counter(
                    {
                        (reason, cell.removeprefix(f"{name}: ")): count
                        for (reason, cell), count in data.changed.items()
                        if cell.startswith(f"{name}: ")
                    }
                ),
                tables={
                    table.removeprefix(f"{name}."): rows
                    for table, rows in data.tables.items()
                    if table.startswith(f"{name}.")
                },
            )
            for name, facts in data.subject["members"].items()
        }


def _arrange(layout: Layout, presentation: Presentation) -> Layout:
    """Return the layout of one workbook: the sheets and charts of all members, in order."""
    members = {
        name: member.arrange(member, replace(presentation, fills_template=False))
        if member.arrange
        else member
        for name, member in layout.members.items()
    }
    titles = Counter(section.title for member in members.values() for section in member.sheets)
    sheets = [
        replace(
            section,
            key=f"{name}.{section.key}",
            title=f"{section.title} ({name})" if titles[section.title] > 1 else section.title,
            heading=section.heading or section.title,
            dataset=name,
            links=section.links and (section.links[0], f"{name}.{section.links[1]}"),
        )
        for name, member in members.items()
        for section in member.sheets
    ]
    charts = [
        replace(chart, title=f"{member.title}: {chart.title}")
        for member in members.values()
        for chart in member.charts
    ]
    return replace(
        layout,
        sheets=tuple(sheets),
        charts=tuple(charts),
        left_out=_named(members, lambda member: member.left_out),
        notes=_named(members, lambda member: member.notes),
        proof=Proof.join({name: member.proof for name, member in members.items() if member.proof}),
    )


def _named(members: Mapping[str, Layout], texts: Callable[[Layout], Iterable[str]]) -> tuple[str, ...]:
    return tuple(f"{name}: {text}" for name, member in members.items() for text in texts(member))


def join(data: ExportData, members: Mapping[str, ExportData]) -> ExportData:
    """Return the bundle of these members. Changed cells of their tables are counted in the bundle too."""
    tables = {
        f"{name}.{key}": replace(
            table,
            open=partial(_count_changes, table.open, name, member, data),
            parts=tuple(partial(_count_changes, part, name, member, data) for part in table.parts),
        )
        for name, member in members.items()
        for key, table in member.tables.items()
    }
    facts = {name: {key: getattr(member, key) for key in _FACTS} for name, member in members.items()}
    return replace(
        data,
        subject={**data.subject, "members": facts},
        tables=tables,
        source_rows=sum(member.source_rows for member in members.values()),
        counted=tuple(f"{name}.{table}" for name, member in members.items() for table in member.counted),
        warnings=[f"{name}: {text}" for name, member in members.items() for text in member.warnings],
    )


def _count_changes(
    rows: Callable[[], Iterator[pa.RecordBatch]], name: str, member: ExportData, bundle: ExportData
) -> Iterator[pa.RecordBatch]:
    yield from rows()
    for (reason, cell), count in list(member.changed.items()):  # parallel shares may be counting
        bundle.changed[reason, f"{name}: {cell}"] = count
