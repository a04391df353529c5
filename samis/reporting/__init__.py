"""Turn score rows into the answer: gap closed, tables, figures, a page (matplotlib is loaded when drawn)."""

from samis.reporting.gap import Difference, Gap, difference, gap_closed
from samis.reporting.rows import Chosen, choose, group_rows, read_measured

__all__ = ["Chosen", "Difference", "Gap", "choose", "difference", "gap_closed", "group_rows", "read_measured"]
