"""Each recipient exactly once: many senders at once, and senders killed at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from export_pipeline.delivery import queue
from export_pipeline.delivery.enqueue import enqueue_mails
from export_pipeline.delivery.send import Counts, deliver_due
from export_pipeline.jobs.database import open_engine
from export_pipeline.schedules.cadence_requests import CadenceWindow, request_windows
from export_pipeline_tests.delivery.exports import Exports
from export_pipeline_tests.delivery.mail_server import MailServer

_PROGRAM = """
import os, random, signal, sys, time
from datetime import timedelta
from export_pipeline.delivery import queue
from export_pipeline.delivery.send import deliver_due
from export_pipeline.jobs.database import open_engine
from export_pipeline.formats import registry  # now, so that no sender is killed while it only imports
from export_pipeline.store import open_store, publish
from jinja2 import loaders
from export_pipeline_tests.delivery.exports import settings_of

url, store, smtp_url = sys.argv[1:4]

def send():
    engine, settings = open_engine(url), settings_of(smtp_url)
    print("ready", flush=True)
    while deliver_due(engine, open_store(store), settings).sent:
        pass
"""

_KILLED_AT_RANDOM = """
queue.LEASE = timedelta(0)  # there is one sender at a time, so all others are dead
chance = random.Random(4)
for _ in range(int(sys.argv[4])):
    child = os.fork()
    if child == 0:
        send()
        os._exit(0)
    time.sleep(chance.uniform(0.02, 0.25))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_many_senders_at_once(exports: Exports, server: MailServer) -> None:
    people = [f"{n}@example.org" for n in range(3)]
    jobs = [exports.completed(people[: 1 + n % 3]) for n in range(24)]  # six mails for each sender
    expected = {f"{job.id} {to}" for job in jobs for to in exports.ledger.get(job.id).recipients}
    counts: list[Counts] = []

    def send() -> None:
        engine = open_engine(exports.database.url)
        try:
            counts.append(deliver_due(engine, exports.store, exports.settings))
        finally:
            engine.dispose()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 8
    assert sum(count.sent for count in counts) == len(expected)
    assert sum(server.received.values()) == len(expected)
    assert _delivered(server) == sorted(expected)
    assert len({mail["Message-ID"] for _, mail in server.mails}) == len(expected)
    assert {mail.status for mail in queue.find_mails(exports.engine, limit=1000)} == {"sent"}


@pytest.mark.slow
def test_formats_of_a_window_that_fail_together_are_one_notice(exports: Exports, server: MailServer) -> None:
    windows = [CadenceWindow("takeoff", "daily", f"2026-01-{day:02}", "a") for day in range(1, 11)]
    people = {"recipients": ["reader@example.org"], "owners": ["owner@example.org", "other@example.org"]}
    assert request_windows(exports.engine, windows, ["csv", "json", "pdf"], **people) == 30
    for job in exports.ledger.find():
        exports.ledger.failed(job.current, "export_failed", "The source is gone.")

    def send() -> None:
        engine = open_engine(exports.database.url)
        try:
            deliver_due(engine, exports.store, exports.settings)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.received == {"owner@example.org": 10, "other@example.org": 10}
    texts = {str(mail.get_body(("plain",))) for _, mail in server.mails}
    assert all("csv, json, pdf" in text for text in texts)


@pytest.mark.slow
def test_killed_between_claim_and_send(exports: Exports, server: MailServer) -> None:
    job = exports.completed(["a@example.org"])
    reached, go_on = threading.Event(), threading.Event()

    def wait(address: str) -> None:
        reached.set()
        go_on.wait(240)

    server.on_recipient = wait
    with _sender(exports) as process:
        assert reached.wait(240)
        process.send_signal(signal.SIGKILL)
    server.on_recipient = lambda address: None
    go_on.set()
    assert exports.statuses(job) == {"a@example.org": "claimed"}
    assert exports.deliver() == Counts()  # its sender may be alive
    exports.age("claimed_at", 16 * 60)
    assert exports.deliver().sent == 1
    assert server.received == {"a@example.org": 1}


@pytest.mark.slow
def test_killed_before_the_answer(exports: Exports, server: MailServer) -> None:
    job = exports.completed(["a@example.org"])
    server.holding.clear()
    with _sender(exports) as process:
        _wait_for(lambda: bool(server.mails))
        process.send_signal(signal.SIGKILL)
    server.holding.set()
    assert exports.statuses(job) == {"a@example.org": "sending"}
    exports.age("claimed_at", 16 * 60)
    assert exports.deliver() == Counts(unknown=1)
    assert exports.deliver() == Counts()
    assert server.received == {"a@example.org": 1}
    queue.resend(exports.engine, job.id)
    assert exports.deliver().sent == 1
    assert len({mail["Message-ID"] for _, mail in server.mails}) == 1


def test_a_sender_that_is_taken_for_dead_sends_nothing_more(exports: Exports, server: MailServer) -> None:
    job = exports.completed(["a@example.org"])
    inside: list[Counts] = []

    def stall(address: str) -> None:  # the first sender is slower than its lease; another takes over
        if not inside:
            inside.append(Counts())
            exports.age("claimed_at", 16 * 60)
            assert queue.recover_mails(exports.engine) == 0
            assert queue.claim_mail(exports.engine) is not None

    server.on_recipient = stall
    assert exports.deliver() == Counts()
    assert exports.statuses(job) == {"a@example.org": "claimed"}
    assert server.mails == []
    exports.age("claimed_at", 16 * 60)
    assert exports.deliver().sent == 1
    assert server.received == {"a@example.org": 1}


@pytest.mark.slow
def test_killed_at_random(exports: Exports, server: MailServer) -> None:
    kills = 12
    jobs = [exports.completed([f"{n}@example.org" for n in range(4)]) for _ in range(25)]
    command = [sys.executable, "-c", _PROGRAM + _KILLED_AT_RANDOM, *_arguments(exports), str(kills)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=240)
    exports.age("claimed_at", 16 * 60)
    while exports.deliver().sent:
        pass
    delivered = _delivered(server)
    assert len(delivered) == len(set(delivered))  # nobody got two
    states = {f"{job.id} {to}": status for job in jobs for to, status in exports.statuses(job).items()}
    assert len(states) == 100
    assert set(states.values()) <= {"sent", "unknown"}  # nobody was skipped
    assert {mail for mail, status in states.items() if status == "sent"} <= set(delivered)
    assert list(states.values()).count("unknown") <= kills


def test_a_mail_that_kills_its_senders_comes_to_an_end(exports: Exports) -> None:
    job = exports.completed(["a@example.org"])
    enqueue_mails(exports.engine, (), "example.org", 10)
    for _ in range(queue.MAX_TRIES):
        assert queue.claim_mail(exports.engine) is not None
        exports.age("claimed_at", 16 * 60)
        queue.recover_mails(exports.engine)
    assert queue.claim_mail(exports.engine) is None
    assert exports.statuses(job) == {"a@example.org": "failed"}
    assert "ended before they sent it" in exports.reason(job)


def _delivered(server: MailServer) -> list[str]:
    """Job and recipient of each mail that the server took over, sorted."""
    counts = []
    for address, mail in server.mails:
        body = mail.get_body(("plain",))
        assert body is not None
        counts.append(f"{body.get_content().split()[-1]} {address}")
    return sorted(counts)


def _sender(exports: Exports) -> subprocess.Popen[str]:
    """A process that sends; it has begun."""
    command = [sys.executable, "-c", _PROGRAM + "send()", *_arguments(exports)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _arguments(exports: Exports) -> list[str]:
    return [exports.database.url, exports.store.url, str(exports.settings.smtp_url)]


def _wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not there() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert there()
