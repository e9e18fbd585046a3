"""The command line, with one more line in the registry.

With YAML_WRITES_WRONG_NUMBERS in the environment the writer makes a file that does not hold the rows.
"""

import io
import os
from typing import BinaryIO

from export_pipeline.cli.entry import main
from export_pipeline.core.layout import Layout
from export_pipeline.formats.base import Rendered
from export_pipeline.formats.registry import FORMATS
from export_pipeline_tests.formats.yaml_format.format import Yaml, YamlOptions


class Wrong(Yaml):
    def write(self, layout: Layout, out: BinaryIO, options: YamlOptions) -> Rendered:
        held = io.BytesIO()
        rendered = super().write(layout, held, options)
        out.write(held.getvalue().replace(b"12.5", b"12.6"))
        return rendered


FORMATS["yaml"] = Wrong() if "YAML_WRITES_WRONG_NUMBERS" in os.environ else Yaml()
main()
