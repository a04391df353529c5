"""Turn score rows into the answer: gap closed, tables, figures, a page (matplotlib is loaded when drawn)."""

from samis.evaluation.rows import Chosen, choose, group_rows, read_measured
from samis.reporting.analysis.gap import Difference, Gap, difference, gap_closed

__all__ = ["Chosen", "Difference", "Gap", "choose", "difference", "gap_closed", "group_rows", "read_measured"]
