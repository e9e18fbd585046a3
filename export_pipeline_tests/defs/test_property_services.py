"""Scope-of-work library, client scopes, properties and requests, against an oracle in plain Python."""

import re
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from export_pipeline.core.windows import Window
from export_pipeline.datasets.options import OptionError
from export_pipeline.demo import property_services as app
from export_pipeline.sources.snapshot import SourceError
from export_pipeline_tests.defs.exporting import Export, Sample, differences, plain

TENANTS = [app.NORTH, app.SOUTH, app.NEW]
BASE = [
    "Services",
    "Scope Of Work Name",
    "Uploaded By",
    "Uploaded Date",
    "Updated By",
    "Updated Date",
    "Status",
]
CLIENT = ["Client Name", BASE[1], BASE[0], *BASE[2:]]
CLIENT_SOW = ["Client Name", BASE[1], "Property Names", BASE[0], *BASE[2:]]
PROPERTY = [
    "Property Name", "Client Name", "Full Address", "City", "County", "State", "Property Manager", "PM Email", "Status",
]  # fmt: skip
LABELS = {"ACTIVE": "Active", "DRAFT": "Draft", "INACTIVE": "Inactive", "PROCESSING": "Processing"}


class Oracle:
    """The application's rows, and what the columns should be."""

    def __init__(self, sample: Sample) -> None:
        self.tables = {table: sample.by_id(table) for table in app.METADATA.sorted_tables}
        self.links: dict[str, list[str]] = defaultdict(list)
        for row in self.tables[app.SCOPE_PROPERTIES].values():
            self.links[row["scopeOfWorkId"]].append(row["propertyId"])
        self.rfp_links: dict[str, list[str]] = defaultdict(list)
        for row in self.tables[app.RFP_PROPERTIES].values():
            self.rfp_links[row["rfpId"]].append(row["propertyId"])
        self.services: dict[str, set[str]] = defaultdict(set)
        for row in self.tables[app.PROPERTY_SERVICES].values():
            self.services[row["propertyId"]].add(row["serviceId"])

    def get(self, table: Any, number: str | None) -> dict[str, Any]:
        return self.tables[table][number] if number else defaultdict(lambda: None)

    def names(self, properties: list[str]) -> str | None:
        pairs = sorted((self.tables[app.PROPERTIES][p]["name"], p) for p in properties)
        return ", ".join(name for name, _ in pairs) if pairs else None

    def scopes_of_work(self, kind: str, tenant: str) -> list[dict[str, Any]]:
        """Not deleted ones that this tenant may see, the newest first."""
        rows = []
        for s in self.tables[app.SCOPES_OF_WORK].values():
            client = self.get(app.CLIENTS, s["clientId"])
            own = kind == "BASE_SCOPE_LIBRARY" or client["tenantId"] == tenant
            if s["scopeType"] == kind and s["deletedAt"] is None and own:
                rows.append({
                    **s, "Client Name": client["name"], "Scope Of Work Name": s["scopeName"],
                    "Property Names": self.names(self.links[s["id"]]),
                    "Services": self.get(app.SERVICES, s["serviceId"])["servicesName"],
                    "Uploaded By": self.get(app.USERS, s["createdById"])["fullName"], "Uploaded Date": _day(s["createdAt"]),
                    "Updated By": self.get(app.USERS, s["modifiedById"])["fullName"], "Updated Date": _day(s["updatedAt"]),
                    "Status": LABELS[s["scopeOfWorkStatus"]],
                })  # fmt: skip
        return _newest(rows)

    def properties(self, tenant: str) -> list[dict[str, Any]]:
        rows = []
        for p in self.tables[app.PROPERTIES].values():
            client = self.get(app.CLIENTS, p["clientId"])
            if p["deletedAt"] is not None or client["tenantId"] != tenant:
                continue
            state, manager = (
                self.get(app.STATES, p["stateId"]),
                self.get(app.MANAGERS, p["propertyManagerId"]),
            )
            rows.append({
                **p, "Property Name": p["name"], "Client Name": client["name"],
                "Full Address": ", ".join(x for x in (p["address"], p["zip"]) if x) or None,
                "City": self.get(app.CITIES, p["cityId"])["cityName"],
                "County": self.get(app.COUNTIES, p["countyId"])["name"],
                "State": None if state["isDeleted"] else state["stateName"],
                "Property Manager": " ".join(x for x in (manager["firstName"], manager["lastName"]) if x) or None,
                "PM Email": manager["email"], "Status": LABELS[p["status"]],
            })  # fmt: skip
        return _newest(rows)

    def requests(self, tenant: str) -> list[dict[str, Any]]:
        bids: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for bid in sorted(self.tables[app.BIDS].values(), key=lambda b: (b["submittedAt"], b["id"])):
            bids[bid["rfpId"]].append(bid)
        rows = []
        for r in self.tables[app.RFPS].values():
            client, scope = (
                self.get(app.CLIENTS, r["clientId"]),
                self.get(app.SCOPES_OF_WORK, r["scopeOfWorkId"]),
            )
            if r["deletedAt"] is not None or client["tenantId"] != tenant:
                continue
            standing = [b for b in bids[r["id"]] if b["status"] != "WITHDRAWN"]
            won: dict[str, Any] = next(
                (b for b in standing if b["status"] == "AWARDED"), defaultdict(lambda: None)
            )
            rows.append({
                **r, "RFP Title": r["title"], "Client Name": client["name"],
                "Scope Of Work Name": None if scope["deletedAt"] else scope["scopeName"],
                "Property Names": self.names(self.rfp_links[r["id"]]), "Issued Date": _day(r["issuedAt"]),
                "Due Date": _day(r["dueOn"]), "Budget": r["budget"], "Bids": len(standing),
                "Lowest Bid": min((b["amount"] for b in standing if b["amount"] is not None), default=None),
                "Awarded To": won["vendorName"], "Awarded Amount": won["amount"],
                "Created By": self.get(app.USERS, r["createdById"])["fullName"], "Status": r["status"].capitalize(),
                "bids": [
                    {"vendor": b["vendorName"], "amount": b["amount"], "status": b["status"], "note": b["note"],
                     "submitted_at": b["submittedAt"]} for b in bids[r["id"]]
                ],
            })  # fmt: skip
        newest = _newest(rows)
        return sorted(newest, key=lambda r: (r["dueOn"] is None, r["dueOn"] or date.min))


def _newest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest first; those of the same moment by id."""
    return sorted(sorted(rows, key=lambda r: r["id"]), key=lambda r: r["createdAt"], reverse=True)


def _day(moment: Any) -> str | None:
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    return moment and f"{months[moment.month - 1]} {moment.day:02d}, {moment.year}"


def same(export: Export, header: list[str], rows: list[dict[str, Any]]) -> None:
    """The CSV file has this header and says these rows, N/A where nothing is known."""
    assert export.csv[0] == header
    assert differences(export.csv[1:], [[row[name] for name in header] for row in rows], "N/A") == []


@pytest.fixture(scope="module")
def oracle(sample: Sample) -> Oracle:
    return Oracle(sample)


@pytest.mark.slow
@pytest.mark.parametrize("tenant", TENANTS)
@pytest.mark.parametrize(("preset", "header", "kind", "title", "file"), [
    ("base", BASE, "BASE_SCOPE_LIBRARY", "Connexus Scope Library", "Connexus_Scope_Library_Export_"),
    ("client", CLIENT, "CLIENT_SCOPE_LIBRARY", "Client Scope Library", "Client_Scope_Library_Export_"),
])  # fmt: skip
def test_libraries_hold_the_scopes_of_work_of_a_tenant_and_shared_ones(
    sample: Sample,
    oracle: Oracle,
    tenant: str,
    preset: str,
    header: list[str],
    kind: str,
    title: str,
    file: str,
) -> None:
    expected = oracle.scopes_of_work(kind, tenant)
    export = sample.export("sow_library", tenant, preset=preset)
    same(export, header, expected)
    assert all(
        line.startswith('"')
        for line in export.file("csv").read_text("utf-8").split("\r\n")
        if line.strip()[:1]
    )
    assert export.layout.title == title
    assert re.fullmatch(rf"{file}\d{{4}}(_\d\d){{4}}", export.layout.file_name)
    names = [name.lower().replace(" ", "_") for name in header]
    assert [list(row) for row in export.json] == [names] * len(expected)
    assert [row["status"] for row in export.json] == [row["scopeOfWorkStatus"] for row in expected]
    assert plain([row["uploaded_date"].removesuffix("Z") for row in export.json]) == plain(
        [r["createdAt"] for r in expected]
    )
    for format in ("jsonl", "excel", "pdf", "parquet"):
        export.file(format)
    assert bool(expected) == (preset == "base" or tenant != app.NEW)


def test_a_library_must_be_named(sample: Sample) -> None:
    with pytest.raises(OptionError, match="preset"):
        sample.export("sow_library", app.NORTH)


def test_a_client_s_scope_without_a_client_belongs_to_nobody(sample: Sample, oracle: Oracle) -> None:
    lost = {
        s["scopeName"] for s in oracle.tables[app.SCOPES_OF_WORK].values()
        if s["scopeType"] == "CLIENT_SCOPE_LIBRARY" and s["clientId"] is None and s["deletedAt"] is None
    }  # fmt: skip
    assert lost
    for tenant in TENANTS:
        export = sample.export("sow_library", tenant, preset="client")
        assert not [row for row in export.csv[1:] if row[0] == "N/A"]


@pytest.mark.parametrize("tenant", TENANTS)
def test_client_scopes_name_all_their_properties(sample: Sample, oracle: Oracle, tenant: str) -> None:
    expected = oracle.scopes_of_work("CLIENT_SCOPE_OF_WORK", tenant)
    export = sample.export("client_sow", tenant)
    same(export, CLIENT_SOW, expected)
    assert export.layout.title == "Client Scope of Work Export"
    assert re.fullmatch(r"Client_Scope_Of_Work_Export_\d{4}(_\d\d){4}", export.layout.file_name)
    for format in ("json", "jsonl", "excel", "pdf", "parquet"):
        export.file(format)
    assert bool(expected) == (tenant != app.NEW)


def between(name: str, first: date, last: date) -> Any:
    """Rows whose moment is on one of these days, both of them whole."""
    start, end = datetime.combine(first, time()), datetime.combine(last + timedelta(days=1), time())
    return lambda row: row[name] is not None and start <= row[name] < end


@pytest.mark.slow
@pytest.mark.parametrize(("given", "keep"), [
    ({"search": {"contains": "wInDoW"}}, lambda o, r: "window" in r["scopeName"].lower()),
    ({"search": {"contains": "100%"}}, lambda o, r: "100%" in r["scopeName"]),
    ({"status": {"in": ["DRAFT", "PROCESSING"]}}, lambda o, r: r["scopeOfWorkStatus"] in ("DRAFT", "PROCESSING")),
    ({"service_id": "Services"}, "serviceId"), ({"client_id": "Client"}, "clientId"),
    ({"created_by_id": "Users"}, "createdById"), ({"modified_by_id": "Users"}, "modifiedById"),
    ({"created": {"range": {"from": "2026-03-01", "to": "2026-03-31"}}},
     lambda o, r: between("createdAt", date(2026, 3, 1), date(2026, 3, 31))(r)),
    ({"updated": {"range": {"to": "2026-04-01"}}}, lambda o, r: between("updatedAt", date(1, 1, 1), date(2026, 4, 1))(r)),
])  # fmt: skip
@pytest.mark.parametrize(("dataset", "kind"), [
    ("sow_library", "CLIENT_SCOPE_LIBRARY"), ("client_sow", "CLIENT_SCOPE_OF_WORK"),
])  # fmt: skip
def test_filters_of_scopes_of_work_find_the_rows_of_the_oracle(
    sample: Sample, oracle: Oracle, dataset: str, kind: str, given: dict[str, Any], keep: Any
) -> None:
    if isinstance(keep, str):  # any two ids of the table that the filter refers to
        (name, table), column = next(iter(given.items())), keep
        ids = oracle.tables[app.METADATA.tables[table]]
        chosen = list(ids)[:2]
        given, keep = {name: {"in": chosen}}, lambda o, r: r[column] in chosen
    preset: dict[str, Any] = {"preset": "client"} if dataset == "sow_library" else {}
    export = sample.export(dataset, app.NORTH, filters=given, **preset)
    rows = oracle.scopes_of_work(kind, app.NORTH)
    same(export, CLIENT if preset else CLIENT_SOW, [row for row in rows if keep(oracle, row)])


def test_scopes_for_any_of_some_properties_and_by_the_upload_of_their_current_version(
    sample: Sample, oracle: Oracle
) -> None:
    rows = oracle.scopes_of_work("CLIENT_SCOPE_OF_WORK", app.NORTH)
    of_some = sorted({p for r in rows for p in oracle.links[r["id"]]})[:6]
    export = sample.export("client_sow", app.NORTH, filters={"property_id": {"in": of_some}})
    chosen = [r for r in rows if set(oracle.links[r["id"]]) & set(of_some)]
    same(export, CLIENT_SOW, chosen)
    assert 0 < len(chosen) < len(rows)
    for r in rows:
        current = [
            v for v in oracle.tables[app.VERSIONS].values() if v["scopeOfWorkId"] == r["id"] and v["isCurrent"]
        ]  # fmt: skip
        r["uploadedAt"] = max(current, key=lambda v: v["versionNumber"])["uploadedAt"] if current else None
    days = date(2026, 2, 1), date(2026, 4, 1)
    export = sample.export(
        "client_sow", app.NORTH, filters={"uploaded": {"range": {"from": days[0], "to": days[1]}}}
    )
    chosen = [r for r in rows if between("uploadedAt", *days)(r)]
    same(export, CLIENT_SOW, chosen)
    assert 0 < len(chosen) < len(rows)


def test_scopes_sorted_by_what_people_ask_for(sample: Sample, oracle: Oracle) -> None:
    export = sample.export("client_sow", app.NORTH, sort=["-status", "scope_of_work_name"])
    rows = sorted(
        oracle.scopes_of_work("CLIENT_SCOPE_OF_WORK", app.NORTH), key=lambda r: (r["scopeName"], r["id"])
    )
    same(export, CLIENT_SOW, sorted(rows, key=lambda r: r["scopeOfWorkStatus"], reverse=True))


@pytest.mark.parametrize("tenant", TENANTS)
def test_properties_are_those_of_the_oracle(sample: Sample, oracle: Oracle, tenant: str) -> None:
    expected = oracle.properties(tenant)
    export = sample.export("properties", tenant)
    same(export, PROPERTY, expected)
    assert export.layout.title == "Property List Export"
    assert re.fullmatch(r"properties-export-\d{4}(-\d\d){5}", export.layout.file_name)
    for format in ("json", "jsonl", "excel", "pdf", "parquet"):
        export.file(format)
    assert bool(expected) == (tenant != app.NEW)
    assert "Old Territory" not in {row[5] for row in export.csv}


@pytest.mark.slow
@pytest.mark.parametrize(("given", "keep"), [
    ({"search": {"contains": "oFfIcEs"}}, lambda o, r: "offices" in f"{r['name']}|{r['address']}|{r['zip']}".lower()),
    ({"search": {"contains": "430"}}, lambda o, r: "430" in (r["zip"] or "")),
    ({"address": {"contains": "suite 3"}}, lambda o, r: "suite 3" in (r["address"] or "").lower()),
    ({"status": {"equals": "DRAFT"}}, lambda o, r: r["status"] == "DRAFT"),
    ({"type": {"in": ["OFFICE", "nothing' OR 1=1 --"]}}, lambda o, r: r["type"] == "OFFICE"),
    ({"is_retail": {"equals": True}}, lambda o, r: r["isRetail"]),
    ({"is_retail_scope": {"equals": False}, "is_retail": {"equals": True}}, lambda o, r: r["isRetail"] and not r["isRetailScope"]),
    ({"city_id": "City"}, "cityId"), ({"county_id": "County"}, "countyId"), ({"state_id": "State"}, "stateId"),
    ({"country_id": "Country"}, "countryId"), ({"client_id": "Client"}, "clientId"),
    ({"manager_id": "PropertyManager"}, "propertyManagerId"), ({"properties_id": "ClientProperties"}, "id"),
    ({"manager_email": {"in": ["Sam@example.org"]}}, lambda o, r: r["PM Email"] == "Sam@example.org"),
])  # fmt: skip
def test_filters_of_properties_find_the_rows_of_the_oracle(
    sample: Sample, oracle: Oracle, given: dict[str, Any], keep: Any
) -> None:
    if isinstance(keep, str):
        (name, table), column = next(iter(given.items())), keep
        ids = list(oracle.tables[app.METADATA.tables[table]])[:3]
        given, keep = {name: {"in": ids}}, lambda o, r: r[column] in ids
    export = sample.export("properties", app.NORTH, filters=given)
    chosen = [row for row in oracle.properties(app.NORTH) if keep(oracle, row)]
    same(export, PROPERTY, chosen)
    assert chosen


def test_properties_by_service_and_without_some(sample: Sample, oracle: Oracle) -> None:
    rows = oracle.properties(app.SOUTH)
    service = next(iter(oracle.tables[app.SERVICES]))
    export = sample.export("properties", app.SOUTH, filters={"service_id": {"in": [service]}})
    chosen = [r for r in rows if service in oracle.services[r["id"]]]
    same(export, PROPERTY, chosen)
    assert 0 < len(chosen) < len(rows)
    ids = [r["id"] for r in rows]
    both = {
        "properties_id": {"in": ids[:6]},
        "exclude_ids": {"equals": ",".join([*ids[4:9], "x' OR '1'='1"])},
    }
    same(sample.export("properties", app.SOUTH, filters=both), PROPERTY, rows[:4])


@pytest.mark.slow
@pytest.mark.parametrize("tenant", TENANTS)
def test_requests_for_proposal_are_those_of_the_oracle(sample: Sample, oracle: Oracle, tenant: str) -> None:
    header = [
        "RFP Title", "Client Name", "Scope Of Work Name", "Property Names", "Issued Date", "Due Date", "Budget", "Bids",
        "Lowest Bid", "Awarded To", "Awarded Amount", "Created By", "Status",
    ]  # fmt: skip
    expected = oracle.requests(tenant)
    export = sample.export("rfp", tenant)
    same(export, header, expected)
    assert plain([row["bids"] for row in export.json]) == plain([row["bids"] for row in expected])
    assert plain([row["lowest_bid"] for row in export.json]) == plain([row["Lowest Bid"] for row in expected])
    for format in ("jsonl", "excel", "pdf", "parquet"):
        export.file(format)
    assert bool(expected) == (tenant != app.NEW)


def test_requests_that_were_issued_in_a_week(sample: Sample, oracle: Oracle) -> None:
    window = Window("2026-03-30", datetime(2026, 3, 30, tzinfo=UTC), datetime(2026, 4, 6, tzinfo=UTC))
    export = sample.export("rfp", app.NORTH, window, columns=["title"])
    expected = [
        r["title"] for r in oracle.requests(app.NORTH) if between("issuedAt", date(2026, 3, 30), date(2026, 4, 5))(r)
    ]  # fmt: skip
    assert len(export.csv) - 1 == len(expected) > 0


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["sow_library", "client_sow", "properties", "rfp"])
def test_every_export_is_one_tenant_s(sample: Sample, dataset: str) -> None:
    preset: dict[str, Any] = {"preset": "client"} if dataset == "sow_library" else {}
    assert set(sample.scopes(dataset)) == set(TENANTS)
    for scope in (None, "", "no-such-tenant", f"{app.NORTH}' OR '1'='1"):
        with pytest.raises(SourceError):
            sample.export(dataset, scope, **preset)
