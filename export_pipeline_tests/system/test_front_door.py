"""Applications of ten scopes ask by HTTP while the service and the daemon are killed, and receivers fail at random.

EXPORT_TEST_REQUESTS is the number of requests (300 for a proof), EXPORT_TEST_KILLS that of kills of the service.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from export_pipeline.delivery.webhooks.endpoints import create_webhook
from export_pipeline.jobs import Job
from export_pipeline.jobs.api_keys import create_key
from export_pipeline.jobs.database import open_engine
from export_pipeline.settings import load_settings
from export_pipeline_tests.delivery.webhook_receiver import Post, webhook_receiver
from export_pipeline_tests.services.process import free_ports
from export_pipeline_tests.system import checks
from export_pipeline_tests.system.deployment import System, running_system
from export_pipeline_tests.system.mail import messages
from export_pipeline_tests.system.processes import Service
from export_pipeline_tests.tools import require_tool

pytestmark = pytest.mark.slow
REQUESTS = int(os.environ.get("EXPORT_TEST_REQUESTS", "12"))
KILLS = int(os.environ.get("EXPORT_TEST_KILLS", "1"))
SCOPES = 10
_FAILING = 0.4
_MAX_FAILURES = 5  # of one event; the seventh try is the last
_SECONDS_EACH = 10.0


@dataclass
class Application:
    """An application of one scope: its key, its webhook, and what it has asked for."""

    scope: str
    datasets: list[str]
    client: httpx.Client
    secret: str
    exports: dict[str, dict[str, Any]] = field(default_factory=dict)
    downloaded: int = 0
    mails: dict[str, str] = field(default_factory=dict)  # the export of each recipient


@dataclass
class Receivers:
    """Events that the webhook receiver took, by the path of its application, and how often it failed."""

    chance: random.Random
    secrets: dict[str, str] = field(default_factory=dict)
    taken: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    bodies: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, post: Post) -> tuple[int, dict[str, str]]:
        event = post.headers["webhook-id"]
        with self.lock:
            try:  # each try is signed anew, and says the same
                body = Verifier(self.secrets[post.path]).verify(post.body, post.headers)
                if self.bodies.setdefault(event, body) != body:
                    self.wrong.append(f"{event} was {self.bodies[event]}, and is {body}")
            except (KeyError, WebhookVerificationError) as error:
                self.wrong.append(f"{post.path} {event}: {error!r}")
            fails = self.failures[event] < _MAX_FAILURES and self.chance.random() < _FAILING
            if fails:
                self.failures[event] += 1
            if not fails or self.chance.random() < 0.3:  # it took the event, and fails to say so
                self.taken[post.path][event] += 1
        return (self.chance.choice([500, 503, 429, 302]), {"location": "/elsewhere"}) if fails else (204, {})


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    (port,) = free_ports(1)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    queues = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    queues.start()
    endpoint = "http://{}:{}".format(*queues.get_host_and_port())
    client = boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name="eu-west-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    environment = {
        "EXPORT_QUEUE_URL": client.create_queue(QueueName="exports")["QueueUrl"],
        "EXPORT_S3_REGION": "eu-west-1",
        "EXPORT_API_URL": f"http://127.0.0.1:{port}",
        "EXPORT_MAIL_ATTACH_BYTES": "20000",  # larger files are links
        "EXPORT_WEBHOOK_KEY": "made up for this test, and long enough",
        "EXPORT_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "EXPORT_WEBHOOK_HTTP": "true",
    }
    with running_system(tmp_path_factory.mktemp("front"), servers=True, more=environment) as running:
        yield running
    queues.stop()


@pytest.fixture(scope="module")
def front_door(system: System) -> Service:
    """The service; it ends with the system."""
    url = str(load_settings().api_url)
    command = [str(require_tool("export-pipeline")), "serve", "--port", url.rpartition(":")[2]]

    def is_ready() -> bool:
        try:
            return httpx.get(f"{url}/readyz", timeout=10).status_code == 200
        except httpx.TransportError as error:
            raise OSError(str(error)) from None

    service = Service(system.processes, command, system.folder, system.folder / "serve.log", is_ready)
    service.start()
    return service


@pytest.mark.timeout(400 + 15 * REQUESTS)
def test_nothing_is_lost_doubled_or_foreign(system: System, front_door: Service) -> None:
    seed = int(os.environ.get("EXPORT_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"\nEXPORT_TEST_SEED={seed}")
    chance = random.Random(seed)
    receivers = Receivers(random.Random(seed + 1))
    begun, ended = time.monotonic(), threading.Event()
    with webhook_receiver() as receiver, ThreadPoolExecutor(SCOPES + 1) as pool:
        receiver.answer = receivers.answer
        applications = make_applications(system, receiver.url.replace("receiver.example", "127.0.0.1"))
        receivers.secrets = {f"/hooks/{number}": one.secret for number, one in enumerate(applications)}
        killer = pool.submit(kill, system, front_door, random.Random(seed + 2), ended, applications)
        shares = [REQUESTS // SCOPES + (number < REQUESTS % SCOPES) for number in range(SCOPES)]
        work = [
            pool.submit(use, application, share, random.Random(chance.random()))
            for application, share in zip(applications, shares, strict=True)
        ]
        try:
            for one in work:
                one.result()
        finally:
            ended.set()
        kills = killer.result()
        assert kills["service"] == KILLS  # all while requests were made
        asked = {id: one for application in applications for id, one in application.exports.items()}
        system.wait(60 + _SECONDS_EACH * REQUESTS, pressed=True)
        wait_for_webhooks(system, 120 + REQUESTS)
    seconds = time.monotonic() - begun

    jobs = {job.id: job for job in system.jobs()}
    assert set(jobs) == set(asked)  # no request was lost, and none repeated after a killed answer was doubled
    assert len(jobs) == REQUESTS
    ends = Counter(str(job.status) for job in jobs.values())
    assert set(ends) <= {"completed", "canceled"}, {job.error_message for job in jobs.values()}
    for id, one in asked.items():
        assert (jobs[id].scope, jobs[id].dataset, str(jobs[id].status)) == (
            one["scope"],
            one["dataset"],
            one["status"],
        )
    looked = checks.files_are_right(system, jobs.values())
    checks.nothing_is_wrong(system)
    mails = checks.mails_of(system, jobs)
    opened = open_mails(system, applications, jobs)
    assert opened == mails["sent"]  # those that are `unknown` may have come or not
    assert sum(mails.values()) == sum(
        len(job.recipients) for job in jobs.values() if job.status == "completed"
    )
    for application, other in zip(applications, [*applications[1:], applications[0]], strict=True):
        for id in list(other.exports)[:3]:
            for path in (f"/v1/exports/{id}", f"/v1/exports/{id}/file", f"/v1/exports/{id}/manifest"):
                assert application.client.get(path).status_code == 404

    notices: list[tuple[str, str]] = []
    for number, application in enumerate(applications):
        for event in receivers.taken[f"/hooks/{number}"]:
            data = receivers.bodies[event]["data"]
            job = jobs[data["id"]]
            assert data["scope"] == job.scope == application.scope
            rows = job.row_count if job.status == "completed" else None  # else how far it had come
            assert (data["sha256"], data["rows"]) == (job.sha256, rows)
            notices.append((job.id, receivers.bodies[event]["type"]))
    events = [event for taken in receivers.taken.values() for event in taken]
    assert len(events) == len(set(events)) == len(jobs)  # one event for each end: none lost, none made twice
    assert sorted(notices) == sorted((job.id, f"export.{job.status}") for job in jobs.values())
    assert receivers.wrong == []
    again = sum(count - 1 for taken in receivers.taken.values() for count in taken.values())
    downloads = sum(application.downloaded for application in applications)
    print(
        f"{len(jobs)} requests of {SCOPES} scopes in {seconds:.0f} s: {dict(ends)}; kills {dict(kills)}; "
        f"{checks.summary(jobs.values())}; {downloads} downloads compared, {looked} files searched; mails {dict(mails)}, {opened} opened; "
        f"{len(events)} events in {len(receiver.posts)} posts, {sum(receivers.failures.values())} of which failed, "
        f"{again} came again and were told by their id"
    )


def test_the_daemon_takes_a_message_of_the_queue(system: System) -> None:
    settings, scope = load_settings(), system.scopes["records"][0]
    assert settings.queue_url is not None
    endpoint = settings.queue_url.rpartition("/")[0].rpartition("/")[0]
    client = boto3.client("sqs", endpoint_url=endpoint, region_name="eu-west-1")
    body = {"exportId": "4711", "dataset": "records", "format": "csv", "scope": scope, "requested_by": "ann"}
    for _ in range(2):
        client.send_message(QueueUrl=settings.queue_url, MessageBody=json.dumps(body))
    until = time.monotonic() + 120
    while not (made := [job for job in system.jobs() if job.idempotency_key == "4711"]):
        assert time.monotonic() < until, system.logs()
        time.sleep(0.5)
    system.wait(120)
    (job,) = [job for job in system.jobs() if job.id == made[0].id]
    assert (str(job.status), job.scope, job.requested_by) == ("completed", scope, "ann")
    assert len(made) == 1
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    while set(
        client.get_queue_attributes(QueueUrl=settings.queue_url, AttributeNames=names)["Attributes"].values()
    ) != {"0"}:
        assert time.monotonic() < until
        time.sleep(0.5)


def make_applications(system: System, url: str) -> list[Application]:
    """An application for each of ten scopes, with a key and a webhook that are for this scope alone."""
    by_scope: dict[str, list[str]] = defaultdict(list)
    for dataset, scopes in sorted(system.scopes.items()):
        if not system.datasets[dataset].spec.get("preset_required"):
            for scope in scopes:
                if scope is not None:
                    by_scope[scope].append(dataset)
    assert len(by_scope) >= SCOPES, len(by_scope)
    engine, settings, made = open_engine(system.url), load_settings(), []
    for number, (scope, datasets) in enumerate(list(by_scope.items())[:SCOPES]):
        _, token = create_key(
            engine, f"app {number}", ["exports:read", "exports:write", "links:create"], scopes=[scope]
        )
        _, secret = create_webhook(engine, settings, f"{url}/{number}", scope=scope)
        headers = {"Authorization": f"Bearer {token}"}
        client = httpx.Client(base_url=str(settings.api_url), headers=headers, timeout=60)
        made.append(Application(scope, datasets, client, secret))
    engine.dispose()
    return made


def use(application: Application, count: int, chance: random.Random) -> None:
    """Ask for exports, wait for them, and download them, as often as it takes while the service is killed."""
    for number in range(count):
        dataset = application.datasets[number % len(application.datasets)]
        formats = patiently(application, "GET", f"/v1/datasets/{dataset}").json()["formats"]
        recipients = [f"{chance.randrange(10**12)}@example.org"] if number % 3 == 0 else []
        body = {
            "dataset": dataset,
            "format": formats[(number // len(application.datasets)) % len(formats)],
            "scope": application.scope,
            "recipients": recipients,
        }
        headers = {"Idempotency-Key": f"{number}"} | ({"Prefer": "wait=10"} if chance.random() < 0.5 else {})
        made = patiently(application, "POST", "/v1/exports", json=body, headers=headers).json()
        application.mails |= dict.fromkeys(recipients, made["id"])
        if chance.random() < 0.08:
            patiently(application, "POST", f"/v1/exports/{made['id']}/cancel", allowed=(409,))
        while made["status"] in ("pending", "processing"):
            made = patiently(application, "GET", f"/v1/exports/{made['id']}", params={"wait": 30}).json()
        application.exports[made["id"]] = made
        if made["status"] == "completed":
            url = patiently(
                application, "POST", f"/v1/exports/{made['id']}/links", json={"expires_in": 600}
            ).json()["url"]
            for path in (f"/v1/exports/{made['id']}/file", url):
                content = patiently(application, "GET", path).content
                assert hashlib.sha256(content).hexdigest() == made["file"]["sha256"]
                application.downloaded += 1
    own = patiently(application, "GET", "/v1/exports", params={"limit": 500}).json()["data"]
    assert {one["id"] for one in own} == set(application.exports)


def patiently(
    application: Application, method: str, path: str, allowed: tuple[int, ...] = (), **more: Any
) -> httpx.Response:
    """Call until the service answers: it may be dead for a while."""
    until = time.monotonic() + 180
    while True:
        with suppress(httpx.TransportError):
            answer = application.client.request(method, path, follow_redirects=True, **more)
            if answer.status_code < 400 or answer.status_code in allowed:
                return answer
            assert answer.status_code in (429, 503), (method, path, answer.status_code, answer.text)
        assert time.monotonic() < until, (method, path)
        time.sleep(0.3)


def kill(
    system: System,
    front_door: Service,
    chance: random.Random,
    ended: threading.Event,
    applications: list[Application],
) -> Counter[str]:
    """Kill the service each time that so many exports have ended, and the daemon half as often."""
    kills: Counter[str] = Counter()
    for number in range(KILLS):
        due = (number + chance.random()) * REQUESTS / (KILLS + 1)
        while sum(len(application.exports) for application in applications) < due and not ended.wait(0.2):
            pass
        if ended.wait(chance.uniform(0, 2)):
            break
        front_door.kill()
        kills["service"] += 1
        ended.wait(chance.uniform(0, 2))
        front_door.start()
        if number % 2 == 0:
            system.services["daemon"].kill()
            kills["daemon"] += 1
            system.services["daemon"].start()
    return kills


def open_mails(system: System, applications: list[Application], jobs: dict[str, Job]) -> int:
    """Open the file or link of each mail as its recipient does; return the number of mails that were sent."""
    exports = {to: id for application in applications for to, id in application.mails.items()}
    rows = system.run("SELECT recipient, status FROM export_deliveries")
    sent = {str(recipient) for recipient, status in rows if status == "sent"}
    opened = set()
    for mail in messages(system.folder / "mails"):
        text, files = mail.get_body(("plain",)), list(mail.iter_attachments())
        assert text is not None
        contents = [file.get_payload(decode=True) for file in files]
        for link in set(re.findall(r"https?://\S+/d/[\w-]+", text.get_content())):
            contents.append(httpx.get(link, follow_redirects=True, timeout=60).raise_for_status().content)
        hashes = {hashlib.sha256(content).hexdigest() for content in contents if isinstance(content, bytes)}
        assert hashes == {jobs[exports[mail["X-To"]]].sha256}
        opened.add(mail["X-To"])
    assert sent <= opened
    return len(sent)


def wait_for_webhooks(system: System, seconds: float) -> None:
    """Wait until each event was taken or given up, without the hours between the tries."""
    until = time.monotonic() + seconds
    while left := system.run(
        "SELECT status, count(*) FROM export_webhook_deliveries WHERE status IN ('pending', 'claimed') GROUP BY 1"
    ):
        assert time.monotonic() < until, left
        system.run("UPDATE export_webhook_deliveries SET next_at = created_at WHERE status = 'pending'")
        time.sleep(1)
    statuses = system.run("SELECT status, count(*) FROM export_webhook_deliveries GROUP BY 1")
    assert [status for status, _ in statuses] == ["delivered"], statuses
