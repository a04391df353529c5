"""Jinja with the templates of one folder, and the style and script files next to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def load_templates(folder: Path) -> Environment:
    """Return Jinja with a folder's templates; every text from outside is escaped, a missing value is an error.

    Args:
        folder: of the templates.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def read_parts(folder: Path, *names: str) -> str:
    """Return files of a folder as one text, such as the scripts of a page.

    Args:
        folder: of the files.
        names: of the files, in their order.
    """
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)
