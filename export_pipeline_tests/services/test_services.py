import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export_pipeline_tests import tools
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.services.postgres import PostgresServer
from export_pipeline_tests.services.process import StartError, running
from export_pipeline_tests.services.s3 import S3Server


def test_postgres_gives_each_test_a_database(postgres: PostgresServer, postgres_url: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(postgres_url)
    with engine.connect() as connection:
        assert (
            connection.execute(
                sqlalchemy.text("select count(*) from pg_tables where schemaname='public'")
            ).scalar()
            == 0
        )
        assert str(connection.execute(sqlalchemy.text("show server_encoding")).scalar()) == "UTF8"
    engine.dispose()
    assert postgres_url != postgres.url()


def test_postgres_wants_the_password(postgres: PostgresServer) -> None:
    import psycopg2

    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(f"postgresql://app:wrong@127.0.0.1:{postgres.port}/postgres")


@pytest.mark.slow
def test_s3_refuses_a_wrong_key_and_no_key(s3: S3Server, bucket: Bucket) -> None:
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import ClientError

    s3.client().put_object(Bucket=bucket.name, Key="x", Body=b"x")
    for stranger in (
        s3.client(aws_secret_access_key="wrong"),
        s3.client(aws_access_key_id="wrong"),
        s3.client(config=Config(signature_version=UNSIGNED)),
    ):
        with pytest.raises(ClientError) as caught:
            stranger.get_object(Bucket=bucket.name, Key="x")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_s3_checks_the_checksum(s3: S3Server, bucket: Bucket) -> None:
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError, match="BadDigest"):
        s3.client().put_object(Bucket=bucket.name, Key="x", Body=b"x", ChecksumCRC32="AAAAAA==")


def test_servers_listen_on_this_machine_only(s3: S3Server, postgres: PostgresServer) -> None:
    listening = Path("/proc/net/tcp")
    if not listening.exists():
        pytest.skip("no /proc/net/tcp on this system")
    ports = {postgres.port, int(s3.endpoint_url.rsplit(":", 1)[1])}
    for line in listening.read_text().splitlines()[1:]:
        address, port = line.split()[1].split(":")
        if int(port, 16) in ports and line.split()[3] == "0A":
            assert socket.inet_ntoa(bytes.fromhex(address)[::-1]) == "127.0.0.1"


def test_the_error_about_a_server_that_ends_at_once_has_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(StartError, match="ended with code 3:\nno such option"),
        running(["sh", "-c", "echo no such option; exit 3"], tmp_path, ready=lambda: False),
    ):
        pass


def test_a_server_ends_with_the_test_process(tmp_path: Path) -> None:
    """Even when that is killed and can tidy up nothing itself."""
    data, pid_file = tmp_path / "data", tmp_path / "pid"
    data.mkdir()
    script = (
        "import sys, time; from pathlib import Path;"
        "from export_pipeline_tests.services.process import running\n"
        "command = ['sh', '-c', 'echo $$ > \"$0\"; exec sleep 60', sys.argv[2]]\n"
        "pid = Path(sys.argv[2])\n"
        "with running(command, Path(sys.argv[1]), ready=lambda: pid.read_text() != ''):\n"
        "    print('up', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(data), str(pid_file)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    # What does not hear the signal is killed after 10 s.
    server, deadline = int(pid_file.read_text()), time.monotonic() + 240
    while _alive(server) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(server)
    while data.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not data.exists()


def _alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_a_missing_tool_skips_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-tool is not installed"):
        tools.require_tool("no-such-tool")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-tool is not installed"):
        tools.require_tool("no-such-tool")
    assert tools.require_tool("sh").is_file()
