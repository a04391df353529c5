"""The public data sets, the drawn one, and the name lists of their splits."""
