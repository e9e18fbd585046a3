pytest_plugins = [
    "export_pipeline_tests.services.fixtures",
    "export_pipeline_tests.orchestration.fixtures",
    "export_pipeline_tests.commands",
]
