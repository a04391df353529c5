"""What a report looks like: page, charts, pictures, Markdown, LaTeX. Nothing is decided here."""
