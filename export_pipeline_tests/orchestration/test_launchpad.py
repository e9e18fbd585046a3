"""Requests of Dagster's UI to the server before somebody can press Launch."""

from typing import Any

import dagster as dg
import pytest

from export_pipeline_tests.paths import ROOT

SCHEMA = """
query ($selector: PipelineSelector!) {
  runConfigSchemaOrError(selector: $selector) {
    __typename
    ... on RunConfigSchema {
      allConfigTypes {
        __typename key
        ... on CompositeConfigType { fields { name description isRequired defaultValueAsJson } }
        ... on EnumConfigType { givenName values { value } }
      }
    }
  }
}
"""
VALID = """
query ($selector: PipelineSelector!, $runConfigData: RunConfigData) {
  isPipelineConfigValid(pipeline: $selector, mode: "default", runConfigData: $runConfigData) { __typename }
}
"""


@pytest.mark.slow
def test_the_launchpad_can_be_loaded_and_runs_without_config(environment: dict[str, str]) -> None:
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import PythonFileTarget
    from dagster_graphql.test.utils import execute_dagster_graphql

    target = PythonFileTarget(
        str(ROOT / "export_pipeline" / "definitions.py"), "defs", str(ROOT), "export_pipeline"
    )
    selector = {
        "repositoryLocationName": "export_pipeline", "repositoryName": "__repository__",
        "pipelineName": "__ASSET_JOB",
        "assetSelection": [{"path": ["takeoff", "on_demand", "csv"]}, {"path": ["takeoff", "on_demand", "pdf"]}],
    }  # fmt: skip
    with dg.instance_for_test() as instance, WorkspaceProcessContext(instance, target) as process:
        context = process.create_request_context()

        def ask(query: str, **variables: Any) -> Any:
            answer = execute_dagster_graphql(context, query, variables={"selector": selector, **variables})
            assert not answer.errors
            return answer.data

        schema = ask(SCHEMA)["runConfigSchemaOrError"]
        assert schema["__typename"] == "RunConfigSchema"
        fields = {
            field["name"]: field
            for kind in schema["allConfigTypes"]
            for field in kind.get("fields", ())
            if field["name"] in ("include_drawings", "group_by", "csv_bom")
        }
        assert len(fields) == 3
        assert all(field["description"] for field in fields.values())
        shown = {name for name, field in fields.items() if field["defaultValueAsJson"]}
        assert shown == {"include_drawings", "group_by"}  # the launchpad opens with these
        assert "Default: false." in fields["csv_bom"]["description"]
        enums = {kind["givenName"] for kind in schema["allConfigTypes"] if "values" in kind}
        assert {"takeoff_group_by", "takeoff_pdf_page_size"} <= {name.partition(",")[0] for name in enums}
        op = "takeoff_on_demand"
        for config, message in (
            ({}, "PipelineConfigValidationValid"),
            ({"ops": {op: {"config": {"group_by": "page"}}}}, "PipelineConfigValidationValid"),
            ({"ops": {op: {"config": {"group_by": "x"}}}}, "RunConfigValidationInvalid"),
        ):
            assert ask(VALID, runConfigData=config)["isPipelineConfigValid"]["__typename"] == message
