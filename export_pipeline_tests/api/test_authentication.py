"""Rights of callers: keys, rights, scopes, and attacks on all of them."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from export_pipeline.jobs.api_keys import list_keys, revoke_key, rotate_key
from export_pipeline.jobs.database import open_engine
from export_pipeline_tests.api.service import WORKER, Running
from export_pipeline_tests.api.test_exports import ask, problem


def bearer(service: Running, token: str) -> httpx.Response:
    return httpx.get(f"{service.url}/v1/exports", headers={"Authorization": f"Bearer {token}"})


def test_only_a_valid_key_is_accepted(service: Running) -> None:
    token = service.key()
    assert bearer(service, token).status_code == 200
    last = "A" if token[-1] != "A" else "B"
    wrong = [
        token[:-1] + last,
        token[:-1],
        token + "A",
        token.upper(),
        token.replace("exp_", "exp-"),
        "exp__",
        "x" * 5000,
    ]
    wrong.append(service.key(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    for one in wrong:
        assert problem(bearer(service, one)) == (401, "unauthenticated")
        assert "www-authenticate" in bearer(service, one).headers
    assert problem(httpx.get(f"{service.url}/v1/exports", headers={"Authorization": f"Basic {token}"})) == (
        401,
        "unauthenticated",
    )
    assert problem(httpx.get(f"{service.url}/v1/exports", params={"access_token": token})) == (
        422,
        "invalid_request",
    )


def test_a_revoked_key_ends_and_a_rotated_one_overlaps(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.api.authentication._KEPT_SECONDS", 0)
    engine = open_engine(service.settings.jobs_url)
    old = service.key()
    key_id = old.split("_")[1]
    _, new = rotate_key(engine, key_id, timedelta(hours=1))
    assert bearer(service, old).status_code == bearer(service, new).status_code == 200
    _, newest = rotate_key(engine, key_id, timedelta(0))
    assert problem(bearer(service, old)) == problem(bearer(service, new)) == (401, "unauthenticated")
    assert bearer(service, newest).status_code == 200
    assert list_keys(engine)[0].used_at is not None
    revoke_key(engine, key_id)
    assert problem(bearer(service, newest)) == (401, "unauthenticated")
    engine.dispose()


def test_no_secret_is_stored(service: Running) -> None:
    secret = service.key().split("_", 2)[2]
    engine = open_engine(service.settings.jobs_url)
    with engine.connect() as connection:
        rows = str(connection.exec_driver_sql("SELECT * FROM export_keys").all())
    engine.dispose()
    assert secret not in rows


ROUTES = [
    ("GET", "", "exports:read"), ("GET", "/file", "exports:read"), ("HEAD", "/file", "exports:read"),
    ("GET", "/manifest", "exports:read"), ("POST", "/cancel", "exports:write"), ("POST", "/retry", "exports:write"),
    ("DELETE", "", "exports:write"),
]  # fmt: skip


def test_exports_of_another_scope_do_not_exist(service: Running, accounts: list[str]) -> None:
    made = ask(service.client(), accounts[0])["id"]
    service.complete(made)
    foreign = [
        service.client(scopes=[accounts[1]]),
        service.client(datasets=["sellers"]),
        service.client(acts_for="ann"),
    ]
    for client in foreign:
        for method, path, _ in ROUTES:
            answer = client.request(method, f"/v1/exports/{made}{path}")
            absent = client.request(method, f"/v1/exports/{made[:-4]}0000{path}")
            assert answer.status_code == absent.status_code == 404, (method, path)
            if method != "HEAD":
                assert answer.json()["detail"] == absent.json()["detail"].replace(f"{made[:-4]}0000", made)
        assert client.get("/v1/exports").json()["data"] == []
    client = foreign[0]
    assert problem(client.get("/v1/exports", params={"scope": accounts[0]})) == (404, "not_found")
    for scope in (accounts[0], "nobody"):
        answer = client.post("/v1/exports", json={"dataset": "records", "format": "csv", "scope": scope})
        assert problem(answer) == (404, "not_found")
    assert problem(client.post("/v1/exports", json={"dataset": "sellers", "format": "csv"})) == (
        404,
        "not_found",
    )
    hidden = foreign[1].post(
        "/v1/exports", json={"dataset": "records", "format": "csv", "scope": accounts[0]}
    )
    assert problem(hidden) == (422, "unknown_dataset")
    assert hidden.json()["errors"][0]["allowed"] == ["sellers"]
    assert len(service.ledger.find()) == 1


@pytest.mark.slow
def test_each_route_wants_its_right(service: Running, accounts: list[str]) -> None:
    made = ask(service.client(), accounts[0])["id"]
    for method, path, right in [*ROUTES, ("POST", None, "exports:write"), ("GET", None, "exports:read")]:
        client = service.client(*[one for one in [*WORKER, "metrics:read"] if one != right])
        url = "/v1/exports" if path is None else f"/v1/exports/{made}{path}"
        answer = client.request(method, url)
        assert answer.status_code == 403, (method, path)
        assert "insufficient_scope" in answer.headers["www-authenticate"]
    assert service.client("admin").get(f"/v1/exports/{made}").status_code == 200


def test_the_requester_follows_from_the_key_alone(service: Running, accounts: list[str]) -> None:
    ann = service.client(acts_for="ann@example.org")
    made = ask(ann, accounts[0])
    assert made["requested_by"] == "ann@example.org"
    body = {"dataset": "records", "format": "csv", "scope": accounts[0], "requested_by": "boss"}
    assert problem(ann.post("/v1/exports", json=body)) == (422, "invalid_request")
    ask(service.client(acts_for="bob@example.org"), accounts[0])
    assert [one["id"] for one in ann.get("/v1/exports").json()["data"]] == [made["id"]]


def test_a_cursor_is_for_one_caller_and_one_list(service: Running, accounts: list[str]) -> None:
    client, other = service.client(), service.client()
    for _ in range(3):
        ask(client, accounts[0])
    cursor = client.get("/v1/exports", params={"limit": 1}).json()["next"]
    assert client.get("/v1/exports", params={"limit": 2, "cursor": cursor}).status_code == 200
    first, last = ("B" if character == "A" else "A" for character in (cursor[0], cursor[-2]))
    wrong = [cursor[:-2] + last * 2, first + cursor[1:], cursor[:-4], "A" * 40, "é", "%00"]
    answers = [client.get("/v1/exports", params={"cursor": one}) for one in wrong]
    answers += [other.get("/v1/exports", params={"cursor": cursor})]
    answers += [client.get("/v1/exports", params={"cursor": cursor, "dataset": "records"})]
    for answer in answers:
        assert problem(answer) == (400, "invalid_cursor")


def test_huge_and_hostile_calls_are_refused_and_cost_little(service: Running, accounts: list[str]) -> None:
    client = service.client()
    body = {"dataset": "records", "format": "csv", "scope": accounts[0]}
    values = {**body, "filters": {"status": {"in": ["SUCCESSFUL"] * 10_001}}}
    assert problem(client.post("/v1/exports", json=values)) == (422, "invalid_options")
    large = client.post("/v1/exports", content=b"[" * (2 << 20))
    assert problem(large) == (413, "too_large")

    def chunks() -> object:
        for _ in range(200):
            yield b" " * 65_536

    assert problem(client.post("/v1/exports", content=chunks())) == (413, "too_large")  # type: ignore[arg-type]
    deep = client.post("/v1/exports", content=b"[" * 300_000, headers={"Content-Type": "application/json"})
    assert deep.status_code in (400, 422)
    nul = client.post("/v1/exports", json={**body, "filters": {"sta\0tus": {"equals": "\0"}}})
    assert nul.status_code == 422
    assert problem(client.get("/v1/exports", headers={"X-Long": "a" * 60_000})) == (431, "too_large")
    assert problem(client.get("/v1/exports", params={"dataset": "a" * 9_000})) == (414, "too_large")
    for path in (
        "/v1/exports/..%2f..%2fetc%2fpasswd/file",
        "/v1/exports/%00/file",
        "/v1/exports/'; --",
        "/d/../v1",
    ):
        assert client.get(path).status_code in (404, 422)
    assert service.ledger.find() == []


def test_no_name_breaks_out_of_a_header(service: Running, accounts: list[str]) -> None:
    client = service.client()
    made = ask(client, accounts[0])["id"]
    service.complete(made, name='a"\r\nSet-Cookie: x=1\r\n\r\n<script>.csv')
    answer = client.get(f"/v1/exports/{made}/file")
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    odd = client.get(f"/v1/exports/{made}", headers={"X-Request-Id": "a\tb<script>"})
    assert odd.headers["x-request-id"] != "a\tb<script>"
