"""The numbers of a report: gap, answer, tables. Nothing is drawn here."""
