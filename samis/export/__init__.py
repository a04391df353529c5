"""Formats that a tuned model is written in for other tools, each read back and compared before it is kept."""
