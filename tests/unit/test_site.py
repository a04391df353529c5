"""The documentation's hook: links to pages beside the code, to other files, and to nothing."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
exceptions = pytest.importorskip("mkdocs.exceptions", reason="mkdocs is not installed (pip install -e '.[docs]')")


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/site_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def resolved(hooks, markdown, name):
    return hooks.on_page_markdown(markdown, SimpleNamespace(file=SimpleNamespace(src_uri=name)))


@pytest.mark.parametrize(
    ("name", "link", "expected"),
    [
        ("index.md", "[train](../train/README.md#memory)", "[train](train.md#memory)"),
        ("train.md", "[cards](../docs/recipes.md#a)", "[cards](recipes.md#a)"),
        ("api/samis.md", "[report](../report.md)", "[report](../report.md)"),
        (
            "index.md",
            "[splits](../samis/data/public/splits/README.md)",
            "splits (`samis/data/public/splits/README.md`)",
        ),
        (
            "index.md",
            "[web](https://example.org/a.md), [here](#below)",
            "[web](https://example.org/a.md), [here](#below)",
        ),
        ("index.md", "```\n[a](nothing.md)\n```\n", "```\n[a](nothing.md)\n```\n"),
    ],
)
def test_links(hooks, name, link, expected):
    assert resolved(hooks, link, name) == expected


def test_a_link_to_nothing_stops_the_build(hooks):
    with pytest.raises(exceptions.PluginError, match=r"docs/index\.md: link to \.\./nothing\.md"):
        resolved(hooks, "[a](../nothing.md)", "index.md")


def test_every_page_is_in_the_navigation(hooks):
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert len(pages) > 20
    assert [page for page in [*pages, *hooks.BESIDE.values()] if f": {page}" not in navigation] == []
