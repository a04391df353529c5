"""Formats that a tuned model is written in for other tools, each loaded again and compared before it is kept."""
