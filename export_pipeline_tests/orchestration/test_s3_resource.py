"""The resource `s3` of a deployment whose store is in S3."""

from typing import Any

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource

from export_pipeline.orchestration.resources import ExportStore, store_resources
from export_pipeline.orchestration.s3_resource import StoreS3Resource
from export_pipeline.settings import load_settings
from export_pipeline.store.publish import verify_file
from export_pipeline_tests.orchestration.deployment import QUIET, Deployment, failures, files
from export_pipeline_tests.orchestration.outages import reload
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.services.s3 import S3Server

ASSET = dg.AssetKey(["takeoff", "on_demand", "csv"])


@pytest.fixture
def nowhere(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of the deployment's S3 server, which does not answer."""
    monkeypatch.setenv("EXPORT_STORE_URL", "s3://exports/team")
    monkeypatch.setenv("EXPORT_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("EXPORT_S3_PUBLIC_ENDPOINT_URL", "https://files.example.org")
    monkeypatch.setenv("EXPORT_S3_REGION", "eu-west-1")
    monkeypatch.setenv("EXPORT_S3_CHECKSUMS", "off")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret nobody may see")
    return "http://127.0.0.1:9"


def test_the_store_of_runs_has_the_clients_of_the_command_line(nowhere: str) -> None:
    settings = load_settings()
    there = ExportStore(settings).open()
    with dg.build_resources(store_resources(settings)) as resources:
        here = resources.store.open()
    for name in ("client", "_link_client"):
        one, other = getattr(here, name).meta, getattr(there, name).meta
        assert one.endpoint_url == other.endpoint_url
        assert one.region_name == other.region_name == "eu-west-1"
        assert one.config.__dict__ == other.config.__dict__
    assert here.client.meta.endpoint_url == nowhere
    assert here.client.meta.config.connect_timeout == 10
    assert here.client.meta.config.request_checksum_calculation == "when_required"
    assert here._link_client.meta.endpoint_url == "https://files.example.org"


def test_the_resource_is_an_s3_resource_with_the_clients_of_the_store(nowhere: str) -> None:
    with dg.build_resources(store_resources(load_settings())) as resources:
        assert isinstance(resources.s3, S3Resource)
        client = resources.s3.get_client()
        assert client.meta.config.read_timeout == 60
        assert callable(client.upload_file)  # as boto3's clients have it, for ops of a deployment's own


def test_a_client_without_a_signature_sends_none() -> None:
    client = StoreS3Resource(endpoint_url="http://127.0.0.1:9", use_unsigned_session=True).get_client()
    assert "Signature" not in client.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"})


def test_a_folder_needs_no_s3_resource(environment: dict[str, str]) -> None:
    assert set(store_resources(load_settings())) == {"store"}


def replaced(deployment: Deployment, s3: Any) -> dg.Definitions:
    """Return the deployment's definitions with another resource `s3`."""
    definitions = reload(deployment).definitions
    resources = dict(definitions.resources or {}) | {"s3": s3}
    return dg.Definitions(
        assets=definitions.assets, asset_checks=definitions.asset_checks, resources=resources,
        executor=definitions.executor,
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_stores_its_file_with_the_resource_that_replaces_s3(
    deployment: Deployment, nowhere: str, s3: S3Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORT_STORE_URL", bucket.url)
    mine = S3Resource(
        endpoint_url=s3.endpoint_url, aws_access_key_id=s3.access_key, aws_secret_access_key=s3.secret_key
    )
    deployment.instance.add_dynamic_partitions("takeoff_scopes", list(deployment.source.scopes))
    result = replaced(deployment, mine).resolve_implicit_global_asset_job_def().execute_in_process(
        instance=deployment.instance, asset_selection=[ASSET], partition_key=deployment.scope,
        run_config=QUIET, raise_on_error=False,
    )  # fmt: skip
    assert result.success, failures(result)
    settings = load_settings().model_copy(update={"store_url": bucket.url})
    store = ExportStore(settings, clients=lambda _: s3.client()).open()
    assert verify_file(store, files(result)["csv"]["key"]) == []


def test_the_launchpad_cannot_send_a_file_to_another_server(deployment: Deployment, nowhere: str) -> None:
    job = reload(deployment).definitions.resolve_job_def("takeoff_on_demand_job")
    dg.validate_run_config(job, {})
    with pytest.raises(dg.DagsterInvalidConfigError, match="endpoint_url"):
        dg.validate_run_config(job, {"resources": {"s3": {"config": {"endpoint_url": "http://elsewhere"}}}})
