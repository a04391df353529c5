"""Plain technical English: words that only the builders would understand are in no text and no name."""

import ast
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for place in ("samis", "pretraining", "train", "evaluate", "benchmarks")
    for path in (ROOT / place).rglob("*.py")
)
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("train/*.md"), *ROOT.glob("evaluate/*.md")])
# CHANGELOG keeps the rename table, which holds the old words.
PAGES = [page for page in PAGES if page.name != "CHANGELOG.md"]

# In prose, docstrings, comments and messages.
WORDS = re.compile(
    r"\b(rims?|anew|births?|birth certificate|keep_everything|mend(?:s|ed|ing)?|looked? over|stands? (?:in|beside)\b|lies in|"
    r"feeds the|deaf to|no gap|share waiting for data|(?<!standard )(?<!standard\n)deviations?|rooms?|streets?|everything mode)\b",
    re.IGNORECASE,
)
# As names of variables, arguments, functions, classes and modules.
NAMES = {
    "told", "said", "asked", "found", "birth", "rim", "room", "house", "street", "anew", "mend", "keep_everything",
    "Loaded", "how_asked", "_Share", "_Answer", "Watch", "Position", "Plan", "together",
}  # fmt: skip


def _texts(path: Path) -> list[tuple[int, str]]:
    """(line, text) of each comment and each string of a source file."""
    with tokenize.open(path) as file:
        tokens = list(tokenize.generate_tokens(file.readline))
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    return [(token.start[0], token.string) for token in tokens if token.type in kinds]


def _names(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, name) of what a source file names itself."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append((node.lineno, node.name))
        elif isinstance(node, ast.arg):
            names.append((node.lineno, node.arg))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append((node.lineno, node.id))
    return names


def test_sources_use_the_words_of_the_field():
    assert len(SOURCES) > 200
    words = [f"{path}:{line} {hit}" for path in SOURCES for line, text in _texts(path) for hit in WORDS.findall(text)]
    assert words == []


def test_names_are_the_words_of_the_field():
    names = [
        f"{path}:{line} {name}"
        for path in SOURCES
        for line, name in [(1, path.stem), *_names(ast.parse(path.read_text()))]
        if name in NAMES
    ]
    assert names == []


def test_pages_use_the_words_of_the_field():
    assert len(PAGES) > 15
    assert [f"{page}: {hit}" for page in PAGES for hit in WORDS.findall(page.read_text())] == []


def test_old_words_are_noticed(tmp_path):
    (tmp_path / "old.py").write_text('"""Give the rim anew."""\ntold = 1  # stands beside\n')
    texts, names = _texts(tmp_path / "old.py"), _names(ast.parse((tmp_path / "old.py").read_text()))
    assert [hit for _, text in texts for hit in WORDS.findall(text)] == ["rim", "anew", "stands beside"]
    assert [name for _, name in names if name in NAMES] == ["told"]
