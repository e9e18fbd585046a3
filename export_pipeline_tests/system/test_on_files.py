from pathlib import Path

import pytest

from export_pipeline_tests.system.deployment import running_system
from export_pipeline_tests.system.many import REQUESTS, all_requests_end_rightly


@pytest.mark.slow
def test_all_requests_end_rightly(tmp_path: Path) -> None:
    with running_system(tmp_path, servers=False) as system:
        all_requests_end_rightly(system, min(30, max(6, REQUESTS // 2)))
