"""Write a report as one self-contained HTML file: charts, tables that sort, a gallery; no request, light and dark.

Style and script are files next to the template, put into the page; a Content-Security-Policy in it forbids every request.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from samis.reporting.analysis.table import Table
from samis.reporting.render.charts import ROLES, Chart, Histogram, Plot
from samis.reporting.render.document import Document
from samis.reporting.render.exhibits import Exhibit
from samis.reporting.render.markup import to_latex

PAGE = Path(__file__).with_name("page")
KIND_ROLES = {"zero_shot": "zero_shot", "tuned": "tuned", "baseline": "best", "saved_maps": "best", "ceiling": "best"}
"""Kind of row -> the colour of its dot."""


def render_page(document: Document) -> str:
    """Render a report as one HTML file; every text from outside is escaped.

    Args:
        document: the report; its figures on disk are left out, since the page draws its own charts.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests["table"] = lambda item: isinstance(item, Table)
    tables = list(document.tables)
    # Jinja's tojson writes < as an escape, so that no name can end the script element it is in.
    return environment.get_template("page.html").render(
        document=document,
        style=(PAGE / "page.css").read_text(encoding="utf-8"),
        script=(PAGE / "page.js").read_text(encoding="utf-8"),
        roles=ROLES,
        kind_roles=KIND_ROLES,
        shape=_shape,
        number_of={id(table): position for position, table in enumerate(tables)},
        key=id,
        latex=[to_latex(table) for table in tables],
        exhibits=[_plain(exhibit) for exhibit in document.exhibits],
    )


def _shape(drawing: Any) -> str:
    """Name the macro that draws it."""
    shapes = {Plot: "plot", Histogram: "histogram"}
    return ("bars" if drawing.bars else "gap") if isinstance(drawing, Chart) else shapes[type(drawing)]


def _plain(exhibit: Exhibit) -> dict[str, Any]:
    """Return an exhibit as what JSON can hold."""

    def known(value: float) -> float | None:
        return None if math.isnan(value) else round(value, 6)

    return vars(exhibit) | {"hw": list(exhibit.hw), "tuned": known(exhibit.tuned), "gain": known(exhibit.gain)}
