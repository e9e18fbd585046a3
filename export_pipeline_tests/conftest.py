pytest_plugins = ["export_pipeline_tests.services.fixtures"]
