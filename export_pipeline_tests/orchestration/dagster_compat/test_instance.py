"""Contracts with Dagster about the instance; test_instance_limits.py has those of `GuardedInstance`."""

from export_pipeline.orchestration.dagster_compat.instance import ConfigurableClassData


def test_else_dagster_yaml_could_not_name_our_classes() -> None:
    assert ConfigurableClassData("module", "Class", "{}").class_name == "Class"
