"""Takes the pages that are beside the code into the documentation site, and resolves links from the docs to the repository.

MkDocs calls ``on_files`` and ``on_page_markdown``. A link to a repository file that is no page becomes its name; a link to a file
that does not exist stops the build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
BESIDE = {
    "train/README.md": "train.md",
    "evaluate/README.md": "evaluate.md",
    "benchmarks/README.md": "benchmarks.md",
    "checkpoints/README.md": "checkpoints.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""Page of the repository -> its name in the site."""
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s:]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of ``BESIDE``."""
    for place, name in BESIDE.items():
        files.append(File.generated(config, name, content=(ROOT / place).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links of one page at pages of the site.

    Raises:
        PluginError: a link names a file that the repository does not have.
    """
    name = page.file.src_uri
    place = next((place for place, known in BESIDE.items() if known == name), f"docs/{name}")
    blocks = re.split(r"(^```.*?^```$)", markdown, flags=re.S | re.M)  # code keeps its brackets
    for index in range(0, len(blocks), 2):
        blocks[index] = LINK.sub(lambda link: _resolved(link, place, name), blocks[index])
    return "".join(blocks)


def _resolved(link: re.Match[str], place: str, name: str) -> str:
    words, target, anchor = link[1], link[2], link[3] or ""
    if not target:
        return link[0]
    goal = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
    if goal in BESIDE or goal.startswith("docs/"):
        reached = posixpath.relpath(BESIDE.get(goal, goal.removeprefix("docs/")), posixpath.dirname(name) or ".")
        return f"[{words}]({reached}{anchor})"
    if not (ROOT / goal).exists():
        raise PluginError(f"{place}: link to {target}, which does not exist; fix the link")
    return f"{words} (`{goal}`)" if f"`{goal}`" not in words else words
