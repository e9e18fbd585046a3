import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_ledger_is_light_and_knows_nothing_of_dagster() -> None:
    program = (
        "import sys, export_pipeline.jobs; "
        "print(sorted({'dagster', 'alembic', 'pandas', 'pyarrow', 'boto3', 'psycopg2'} & sys.modules.keys()))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
