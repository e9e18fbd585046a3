from typing import Any

import pytest
from pydantic import ValidationError

from export_pipeline.core.messages import describe_error
from export_pipeline.datasets.table import TableModel

SOUND = {"dataset": "orders", "description": "Orders", "formats": ["csv"], "source": {"table": "orders"}}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"columns": {"id": 1}}, 'columns: it must be a list, not {"id": 1}'),
        ({"columns": ["id"]}, 'columns.0: it must be an object such as {"name": …}; there are name, type, '),
        ({"columns": []}, "columns: it must list at least 1, not []"),
        ({"formats": "csv"}, 'formats: it must be a list, not "csv"'),
        ({"source": "orders"}, 'source: it must be an object such as {"table": …}'),
        ({"filters": ["id"]}, 'filters: it must be an object, not ["id"]'),
        ({"filters": {"id": ["equal"]}}, "filters.id.operators.0: it must be 'equals', 'in', "),
        ({"retention_days": 0}, "retention_days: it must be 1 or more, not 0"),
        ({"dataset": "My Orders"}, 'dataset: it must match ^[a-z][a-z0-9_]*$, not "My Orders"'),
        ({"start": 5}, "start: it must be a string, not 5"),
        ({"columns": [{"type": "text"}]}, "columns.0.name: it is missing"),
    ],
)
def test_a_declaration_is_refused_in_plain_words(changed: dict[str, Any], message: str) -> None:
    columns = [{"name": "id", "type": "integer"}]
    with pytest.raises(ValidationError) as caught:
        TableModel.model_validate({**SOUND, "columns": columns, **changed})
    error = caught.value.errors()[0]
    assert f"{'.'.join(map(str, error['loc']))}: {describe_error(error)}".startswith(message)
