"""The JSON schemas by which editors complete and check the files in configs/: ``python -m samis.config.editor_schema configs``.

A file names its schema in its first line, ``# yaml-language-server: $schema=schema.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from samis.config.fields import PlainDefaults, adapter
from samis.config.schema import Experiment, Pretraining

FILES: dict[str, type] = {"schema.json": Experiment, "pretraining.schema.json": Pretraining}
"""Name of each schema file and the config it describes."""


def editor_schema(schema: type) -> dict[str, Any]:
    """Return the JSON schema of a config."""
    content = adapter(schema).json_schema(schema_generator=PlainDefaults)
    return {"$schema": PlainDefaults.schema_dialect, **content}


def write(folder: Path) -> None:
    """Write all schemas into a folder."""
    for name, schema in FILES.items():
        (folder / name).write_text(json.dumps(editor_schema(schema), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
