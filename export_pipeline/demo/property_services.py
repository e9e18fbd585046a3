"""A sample property-services application: scopes of work, clients' properties and requests for proposal.

Two tenants have clients, a third has none yet. The base library of scopes belongs to no tenant and so to all.
Names of tables and columns are in mixed case, and times are UTC in columns without a zone, as the
application's object mapper creates them. Everything is generated from a seed, so the content is always the
same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from export_pipeline.demo.filling import Row, refill, uuid_of

METADATA = sa.MetaData()
_Utc = sa.DateTime(timezone=False)


def _table(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, METADATA, sa.Column("id", sa.Text, primary_key=True), *columns)


def _to(name: str, table: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, sa.ForeignKey(f"{table}.id"), index=True, **options)


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text) for name in names]


def _flags(*names: str) -> list[sa.Column[bool]]:
    return [sa.Column(name, sa.Boolean, nullable=False) for name in names]


TENANTS = _table("Tenant", *_text("name"))
USERS = _table("Users", *_text("fullName", "email"))
SERVICES = _table("Services", *_text("servicesName"))
CLIENTS = _table("Client", *_text("name"), _to("tenantId", "Tenant", nullable=False))
COUNTRIES = _table("Country", *_text("name"))
STATES = _table("State", *_text("stateName"), *_flags("isDeleted"))
CITIES = _table("City", *_text("cityName"))
COUNTIES = _table("County", *_text("name"))
MANAGERS = _table("PropertyManager", *_text("firstName", "lastName", "email"))
PROPERTIES = _table(
    "ClientProperties", *_text("name", "address", "zip", "status", "type"), *_flags("isRetail", "isRetailScope"),
    _to("clientId", "Client"), _to("stateId", "State"), _to("cityId", "City"), _to("countyId", "County"),
    _to("countryId", "Country"), _to("propertyManagerId", "PropertyManager"),
    sa.Column("createdAt", _Utc, nullable=False), sa.Column("deletedAt", _Utc),
)  # fmt: skip
PROPERTY_SERVICES = _table(
    "PropertyServiceMap",
    _to("propertyId", "ClientProperties", nullable=False),
    _to("serviceId", "Services", nullable=False),
)
SCOPES_OF_WORK = _table(
    "ScopeOfWork", sa.Column("scopeName", sa.String(250), nullable=False),
    *_text("scopeType", "scopeOfWorkStatus"), _to("serviceId", "Services"), _to("clientId", "Client"),
    _to("createdById", "Users"), _to("modifiedById", "Users"),
    sa.Column("createdAt", _Utc, nullable=False), sa.Column("updatedAt", _Utc), sa.Column("deletedAt", _Utc),
)  # fmt: skip
VERSIONS = _table(
    "ScopeOfWorkVersion", _to("scopeOfWorkId", "ScopeOfWork", nullable=False),
    sa.Column("versionNumber", sa.Integer, nullable=False), *_flags("isCurrent"),
    *_text("fileName", "sourceFileUrl", "content", "status"), sa.Column("uploadedAt", _Utc),
    _to("uploadedById", "Users"),
)  # fmt: skip
SCOPE_PROPERTIES = _table(
    "ScopeOfWorkProperty", _to("scopeOfWorkId", "ScopeOfWork", nullable=False),
    _to("propertyId", "ClientProperties", nullable=False),
)  # fmt: skip
RFPS = _table(
    "RequestForProposal", *_text("title", "status"), _to("clientId", "Client", nullable=False),
    _to("scopeOfWorkId", "ScopeOfWork"), _to("createdById", "Users"), sa.Column("budget", sa.Numeric(14, 2)),
    sa.Column("issuedAt", _Utc), sa.Column("dueOn", sa.Date), sa.Column("createdAt", _Utc, nullable=False),
    sa.Column("deletedAt", _Utc),
)  # fmt: skip
RFP_PROPERTIES = _table(
    "RfpProperty",
    _to("rfpId", "RequestForProposal", nullable=False),
    _to("propertyId", "ClientProperties", nullable=False),
)
BIDS = _table(
    "RfpBid", _to("rfpId", "RequestForProposal", nullable=False), *_text("vendorName", "note"),
    sa.Column("status", sa.Text, nullable=False), sa.Column("amount", sa.Numeric(14, 2)),
    sa.Column("submittedAt", _Utc, nullable=False),
)  # fmt: skip

NORTH, SOUTH, NEW = (uuid_of("tenant", name) for name in ("north", "south", "new"))
_STATUSES = ("ACTIVE", "DRAFT", "INACTIVE", "PROCESSING")
_TYPES = ("BASE_SCOPE_LIBRARY", "CLIENT_SCOPE_LIBRARY", "CLIENT_SCOPE_OF_WORK")
_SERVICES = ("Landscaping", "Snow Removal", "Window Cleaning", "Roofing")
_CLIENTS = (
    "Harbour Offices",
    "Mill Stores",
    "Northgate Clinics",
    "Cedar Point Schools",
    "Old Town Flats",
    "Parkway Hotels",
)
_PLACES = ("Lakeview", "Market Street", "Riverside", "Elm Park", "Station Road", "Hillcrest", "Union")
_BUILDINGS = ("Offices", "Retail Center", "Apartments", "Medical Building", "Warehouse")
_STREETS = ("Main St", "Oak Ave", "Lake Shore Dr", "2nd St", "Maple Blvd")
_WORK = (
    "Lawn and bed care, weekly", "Snow clearing and salting", "Window cleaning, inside and outside",
    "Roof inspection, twice a year", "Parking lot sweeping", "Entrance and lobby cleaning", "Gutter cleaning, autumn",
    "Irrigation start-up and winterizing", "Tree pruning", "Facade washing", "Filter change of air handling units",
)  # fmt: skip
_VENDORS = ("Green & Sons", "Clearwater Services", "Ångström Facility Care", "Northern Roofing")
_NOTES = (
    "Price holds for 60 days.",
    "Includes materials.",
    "Night shifts at a surcharge.",
    "Visited the site.",
)
_START = datetime(2026, 1, 5, 9, 0)
# The last moment of a day and the first of the next, to show that a filter includes its whole last day.
_MIDNIGHT = (datetime(2026, 3, 31, 23, 59, 59, 999000), datetime(2026, 4, 1))


def fill(engine: sa.Engine, odd_texts: Sequence[str] = ()) -> None:
    """Recreate and fill the tables.

    Args:
        odd_texts: Texts that replace some names of people, places and work.
    """
    filler = _Filler(odd_texts)
    filler.people_and_places()
    filler.properties()
    filler.scopes_of_work()
    filler.requests()
    refill(engine, METADATA, filler.rows)


def _moment(number: int) -> datetime:
    if number % 10 < 2:
        return _MIDNIGHT[number % 10]
    return _START + timedelta(hours=37 * number, milliseconds=number)


class _Filler:
    def __init__(self, odd_texts: Sequence[str]) -> None:
        self.random = random.Random(3)
        self.odd_texts = odd_texts
        self.rows: dict[sa.Table, list[Row]] = {table: [] for table in METADATA.sorted_tables}

    def add(self, table: sa.Table, **row: Any) -> str:
        """Insert a row under an id derived from its position; return the id."""
        number = uuid_of(table.name, len(self.rows[table]))
        self.rows[table].append({"id": number, **row})
        return number

    def ids(self, table: sa.Table) -> list[str]:
        return [row["id"] for row in self.rows[table]]

    def maybe(self, table: sa.Table, often: float = 0.85) -> str | None:
        return self.random.choice(self.ids(table)) if self.random.random() < often else None

    def text(self, number: int, step: int, usual: str) -> str:
        """Return a name; in every `step`th row one of the odd texts, if there are any."""
        if self.odd_texts and number % step == 0:
            return self.odd_texts[number % len(self.odd_texts)]
        return usual

    def people_and_places(self) -> None:
        for tenant, name in (
            (NORTH, "Lakeshore Property Group"),
            (SOUTH, "Summit Facilities"),
            (NEW, "Westbrook Realty (new)"),
        ):
            self.rows[TENANTS].append({"id": tenant, "name": name})
        for i, person in enumerate(("Pat Nguyen", "José Herrera", "Dana Whitfield", "Li Lei", None)):
            self.add(USERS, fullName=person and self.text(i + 1, 3, person), email=f"user{i + 1}@example.org")
        for i, name in enumerate(_SERVICES):
            self.add(SERVICES, servicesName=self.text(i + 1, 4, name))
        for i, name in enumerate(_CLIENTS):
            self.add(CLIENTS, name=self.text(i + 1, 3, name), tenantId=(NORTH, SOUTH)[i % 2])
        self.add(COUNTRIES, name="United States")
        for name, deleted in (("Ohio", False), ("Texas", False), ("Old Territory", True)):
            self.add(STATES, stateName=name, isDeleted=deleted)
        for name in ("Columbus", "Austin", "Springfield"):
            self.add(CITIES, cityName=name)
        for name in ("Franklin", "Travis"):
            self.add(COUNTIES, name=name)
        for first, last in (("Sam", "Lee"), ("María", "Ortiz"), ("Grace", None), (None, None)):
            self.add(MANAGERS, firstName=first, lastName=last, email=f"{first or 'office'}@example.org")

    def properties(self) -> None:
        for i in range(70):
            place = f"{_PLACES[i % len(_PLACES)]} {_BUILDINGS[i // 3 % len(_BUILDINGS)]}"
            house = self.add(
                PROPERTIES, name=self.text(i, 3, place),
                address=None if i % 14 == 13 else f"{100 + 7 * i} {_STREETS[i % len(_STREETS)]}, Suite {1 + i % 4}", zip=None if i % 9 == 8 else f"{43001 + i * 13:05d}",
                status=_STATUSES[i % 3], type=("OFFICE", "RETAIL_STORE", None)[i % 3], isRetail=i % 3 == 1,
                isRetailScope=i % 6 == 1, clientId=self.maybe(CLIENTS, 0.95), stateId=self.maybe(STATES),
                cityId=self.maybe(CITIES), countyId=self.maybe(COUNTIES), countryId=self.maybe(COUNTRIES),
                propertyManagerId=self.maybe(MANAGERS), createdAt=_moment(i),
                deletedAt=_moment(i + 9) if i % 15 == 14 else None,
            )  # fmt: skip
            for service in self.random.sample(self.ids(SERVICES), i % 3):
                self.add(PROPERTY_SERVICES, propertyId=house, serviceId=service)

    def scopes_of_work(self) -> None:
        for i in range(150):
            kind = _TYPES[i % 3]
            # A client's scope that has lost its client must not be mistaken for one of the base library.
            client = None if kind == _TYPES[0] else self.maybe(CLIENTS, 0.95)
            scope = self.add(
                SCOPES_OF_WORK, scopeName=self.text(i, 4, _WORK[i // 3 % len(_WORK)]),
                scopeType=kind, scopeOfWorkStatus=_STATUSES[i // 3 % 4], serviceId=self.maybe(SERVICES), clientId=client,
                createdById=self.maybe(USERS), modifiedById=self.maybe(USERS, 0.5), createdAt=_moment(i),
                updatedAt=_moment(i + 30) if i % 2 else None, deletedAt=_moment(i + 60) if i % 11 == 10 else None,
            )  # fmt: skip
            for n in range(i % 4):
                self.add(
                    VERSIONS, scopeOfWorkId=scope, versionNumber=n + 1, isCurrent=n + 1 == i % 4 or i % 12 == 2,
                    fileName=f"v{n}.docx", sourceFileUrl=None, content="never exported " * 50, status="DONE",
                    uploadedAt=_moment(i + n), uploadedById=self.maybe(USERS),
                )  # fmt: skip
            if kind == _TYPES[2]:
                for house in self.random.sample(self.ids(PROPERTIES), i % 5):
                    self.add(SCOPE_PROPERTIES, scopeOfWorkId=scope, propertyId=house)

    def requests(self) -> None:
        scopes = [row["id"] for row in self.rows[SCOPES_OF_WORK] if row["scopeType"] == _TYPES[2]]
        for i in range(60):
            status = ("DRAFT", "OPEN", "CLOSED", "AWARDED", "CANCELED")[i % 5]
            request = self.add(
                RFPS, title=self.text(i + 3, 4, f"{_WORK[i % len(_WORK)]}, season {2026 + i // 30}"), status=status,
                clientId=self.random.choice(self.ids(CLIENTS)), scopeOfWorkId=None if i % 7 == 6 else self.random.choice(scopes),
                createdById=self.maybe(USERS), budget=None if i % 4 == 3 else Decimal(8_000 + i * 450),
                issuedAt=None if status == "DRAFT" else _moment(i),
                dueOn=None if i % 8 == 7 else (_moment(i) + timedelta(days=30)).date(), createdAt=_moment(i),
                deletedAt=_moment(i + 5) if i % 13 == 12 else None,
            )  # fmt: skip
            for house in self.random.sample(self.ids(PROPERTIES), i % 3):
                self.add(RFP_PROPERTIES, rfpId=request, propertyId=house)
            for n in range(0 if status == "DRAFT" else i % 6):
                won = status == "AWARDED" and n == 1
                self.add(
                    BIDS, rfpId=request, vendorName=self.text(n, 2, _VENDORS[n % len(_VENDORS)]),
                    note=self.text(n + 1, 2, _NOTES[n % len(_NOTES)]) if n % 2 else None, status="AWARDED" if won else ("SUBMITTED", "WITHDRAWN")[n == 3],
                    # The two lowest are equal; one bid has no amount; among odd data one is negative.
                    amount=None if n == 4 else Decimal("-250.00") if self.odd_texts and (i, n) == (17, 0) else Decimal(7_600 + (n // 2) * 380 + i * 430),
                    submittedAt=_moment(i) + timedelta(days=n),
                )  # fmt: skip
