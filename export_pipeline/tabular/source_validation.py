"""Validation of a source's fields: paths must lead to a field, and where needed to a single row."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from export_pipeline.core.strict_model import describe_unknown_name
from export_pipeline.tabular.spec import NestedSpec, Source


class SourceFields:
    """The fields that paths of a source may name. The columns of a table are known only to its database."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.relations = source.relations

    def problems(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield the errors in the source itself, by place."""
        if (self.source.table is None) == (self.source.sql is None):
            both = self.source.sql is not None
            yield ("source",), f"say table or sql, {'not both' if both else 'one of them'}"
        for name, paths in (("key", self.source.key), ("order", self.source.order)):
            for index, path in enumerate(paths):
                if problem := self.single(path.removeprefix("-") if name == "order" else path):
                    yield ("source", name, index), problem
        for path in self.source.where:
            if problem := self.single(path):
                yield ("source", "where", path), problem
        for name, relation in self.relations.items():
            if name in self._circle(name):
                yield ("source", "relations", name, "from"), f"{name} starts from itself"
            elif problem := self.path(relation.from_):
                yield ("source", "relations", name, "from"), problem

    def path(self, path: str) -> str | None:
        """Return why a path leads nowhere; None if it may be valid."""
        relation, point, field = path.partition(".")
        if not point or (relation in self.relations and field):
            return None
        if relation in self.relations:
            return f"say a column of {relation}, as {relation}.name"
        # A column's name may contain a point, so report only relations that look misspelled.
        near = get_close_matches(relation, self.relations, 1, 0.75)
        return f"relations: {describe_unknown_name(relation, self.relations)}" if near else None

    def many(self, path: str) -> str | None:
        """Return a relation on the path that has several rows per row; None if there is none."""
        for name in self._chain(path):
            if self.relations[name].many:
                return name
        return None

    def nested(
        self, nested: NestedSpec, outer: str | None = None
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield the errors in nested JSON, by place; `outer` is the relation that contains it."""
        starts = [
            name
            for name, relation in self.relations.items()
            if outer is None or self._relation_of(relation.from_) == outer
        ]
        if nested.from_ is not None and nested.from_ not in starts:
            if nested.from_ in self.relations:
                yield ("from",), f"{nested.from_} does not start from {outer}; say so by `from: {outer}.…`"
            else:
                yield ("from",), describe_unknown_name(nested.from_, starts)
            return
        for key, field in nested.fields.items():
            if isinstance(field, NestedSpec):
                for place, message in self.nested(field, nested.from_ or outer):
                    yield ("fields", key, *place), message

    def single(self, path: str) -> str | None:
        """Return why a path does not lead to one field of each row; None if it may."""
        if problem := self.path(path):
            return problem
        many = self.many(path)
        return (
            f"of {many} several rows may belong to one; this needs a field of the row itself"
            if many
            else None
        )

    def _relation_of(self, path: str) -> str | None:
        relation, point, _ = path.partition(".")
        return relation if point and relation in self.relations else None

    def _chain(self, path: str) -> list[str]:
        """Return the relations on a path, the last one first."""
        chain: list[str] = []
        name = self._relation_of(path)
        while name is not None and name not in chain:
            chain.append(name)
            name = self._relation_of(self.relations[name].from_)
        return chain

    def _circle(self, name: str) -> list[str]:
        """Return the relations that a relation starts from."""
        return self._chain(self.relations[name].from_)
