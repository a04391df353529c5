"""Write a report as one self-contained HTML page: figures inside, no script, no request, light and dark."""

from __future__ import annotations

import base64
from pathlib import Path

from samis.reporting.document import Document, Figure

TEMPLATE = Path(__file__).with_name("templates") / "page.html"


def render_page(document: Document) -> str:
    """Render a report as one HTML file; every text from outside is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(document=document, is_figure=lambda item: isinstance(item, Figure), inlined=_inlined)


def _inlined(figure: Figure) -> str:
    return "data:image/png;base64," + base64.b64encode(figure.path.read_bytes()).decode("ascii")
