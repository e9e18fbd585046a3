"""Pages about a dataset: of its assets, and of the team's wiki."""

from pathlib import Path

from export_pipeline.datasets.markdown import choices, page
from export_pipeline.datasets.table import TableModel, table_dataset

ORDERS = {
    "dataset": "orders",
    "description": "Orders | of *all* shops.",
    "source": {"table": "orders"},
    "formats": ["csv", "excel"],
    "columns": [
        {"name": "id", "type": "integer", "description": "Number of the order."},
        {"name": "made", "type": "timestamp", "personal": True},
    ],
    "filters": {"id": ["equals", "in"]},
    "presets": {"short": ["id"]},
    "sort": ["made"],
    "window": {"column": "made"},
    "cadences": {"weekly": {"cron": "0 7 * * 1", "recipients": ["ann@example.org"], "formats": ["excel"]}},
}


def test_filters_presets_cadences_and_recipients_are_named() -> None:
    dataset = table_dataset(TableModel.model_validate(ORDERS), Path())
    assert choices(dataset, "Europe/Berlin", heading="####") == [
        "#### Filters",
        "| filter | operators | about |\n| --- | --- | --- |\n| `id` | equals, in |  |",
        "#### Presets",
        "- `short`: `id`",
        "Can be sorted by `made`.",
        "#### Regular exports",
        "| cadence | when | formats | mailed to |\n| --- | --- | --- | --- |\n"
        "| weekly | `0 7 * * 1` Europe/Berlin | excel | ann@example.org |",
    ]
    whole = page([dataset], "Europe/Berlin")
    assert "- [orders](#orders): Orders \\| of \\*all\\* shops." in whole
    assert "| `id` | Id | integer | Number of the order. |" in whole
    assert "| `made` | Made | timestamp | personal |" in whole
