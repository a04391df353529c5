"""Write a report as one self-contained HTML file: charts, tables that sort, a gallery; no request, light and dark.

Style and script are files next to the template, put into the page; a Content-Security-Policy in it forbids every request.
"""

from __future__ import annotations

import math
from typing import Any

from samis.reporting.analysis.finds import ORDER
from samis.reporting.render.document import Document, meanings_of
from samis.reporting.render.exhibits import Exhibit
from samis.reporting.render.markup import to_latex
from samis.reporting.render.svg import PAGE, environment
from samis.reporting.render.templates import read_parts

KIND_ROLES = {"zero_shot": "zero_shot", "tuned": "tuned", "baseline": "best", "saved_maps": "best", "ceiling": "best"}
"""Kind of row -> the colour of its dot."""


def render_page(document: Document) -> str:
    """Render a report as one HTML file; every text from outside is escaped.

    Args:
        document: the report; its figures on disk are left out, since the page draws its own charts.
    """
    tables = list(document.tables)
    # Jinja's tojson writes < as an escape, so that no name can end the script element it is in.
    return (
        environment()
        .get_template("page.html")
        .render(
            document=document,
            style=read_parts(PAGE, "page.css", "gallery.css"),
            script=read_parts(PAGE, "page.js", "gallery.js"),
            kind_roles=KIND_ROLES,
            callers=ORDER,
            meanings_of=meanings_of,
            number_of={id(table): position for position, table in enumerate(tables)},
            key=id,
            latex=[to_latex(table) for table in tables],
            exhibits=[_plain(exhibit) for exhibit in document.exhibits],
        )
    )


def _plain(exhibit: Exhibit) -> dict[str, Any]:
    """Return an exhibit as what JSON can hold."""

    def known(value: float) -> float | None:
        return None if math.isnan(value) else round(value, 6)

    return vars(exhibit) | {"hw": list(exhibit.hw), "tuned": known(exhibit.tuned), "gain": known(exhibit.gain)}
