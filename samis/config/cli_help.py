"""What ``--help`` prints from a config's schema."""

from __future__ import annotations

from samis.config.fields import limits, properties
from samis.config.files import to_dict


def describe_keys(schema: type) -> str:
    """Return every key with its default, meaning, and range or choices, a blank line between sections."""
    defaults = to_dict(schema())
    lines: list[str] = []
    before = ""
    for key, content in properties(schema).items():
        section, _, name = key.rpartition(".")
        default = (defaults[section] if section else defaults)[name]
        names = content.get("items", content).get("enum", [])
        rule = f"one of {', '.join(names)}" if names else limits(content)
        meaning = " ".join(content["description"].split()).rstrip(".")
        lines += [""] if section != before else []
        shown = "null" if default is None else str(default)
        lines.append(f"  {key:28s} {shown:18s} {meaning}{f' [{rule}]' if rule else ''}")
        before = section
    return "\n".join(lines)
