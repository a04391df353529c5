"""Every error of the user's has a code, and docs/errors.md explains each code once."""

import ast
import pickle
import re
from pathlib import Path

import pytest

from samis.errors import ConfigError, UserError

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("samis/**/*.py"), *ROOT.glob("pretraining/**/*.py")])
CODE = re.compile(r"E(-[A-Z0-9]+){2,4}")
# Packages whose errors have no codes yet; shrinks to nothing.
PENDING = []


def _error_classes() -> set[str]:
    """Names of UserError and of all classes below it, read from the sources."""
    known, before = {"UserError"}, set()
    while known != before:
        before = set(known)
        for path in SOURCES:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and any(ast.unparse(base) in known for base in node.bases):
                    known.add(node.name)
    return known


def _raised() -> list[tuple[str, int, str | None]]:
    """(file, line, code) of each error that is built; the code is None where there is none to read."""
    classes, found = _error_classes(), []
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in classes:
                code = next((k.value for k in node.keywords if k.arg == "code"), None)
                found.append(
                    (name, node.lineno, code and (code.value if isinstance(code, ast.Constant) else "handed on"))
                )
    return found


def _listed() -> list[str]:
    page = ROOT / "docs" / "errors.md"
    return re.findall(r"^\| `(E-[A-Z0-9-]+)` \|", page.read_text(), re.MULTILINE)


def test_every_error_has_a_code():
    raised = [each for each in _raised() if not any(each[0].startswith(place) for place in PENDING)]
    missing = [f"{name}:{line}" for name, line, code in raised if code is None]
    wrong = [
        f"{name}:{line} {code}"
        for name, line, code in raised
        if code and code != "handed on" and not CODE.fullmatch(code)
    ]
    assert len(_raised()) > 200
    assert missing == []
    assert wrong == []


def test_the_page_lists_each_code_once_and_no_other():
    text = "\n".join(path.read_text() for path in SOURCES if path.name != "errors.py")
    used = set(re.findall(r"[\"'](E(?:-[A-Z0-9]+){2,4})[\"']", text))
    listed = _listed()
    assert sorted(set(listed)) == sorted(listed)
    assert set(listed) == used


def test_the_code_ends_the_message_and_survives_a_process():
    error = pickle.loads(pickle.dumps(ConfigError("a.yaml: no such key", code="E-CONFIG-KEY")))
    assert str(error) == "a.yaml: no such key [E-CONFIG-KEY]"
    assert (error.message, error.code) == ("a.yaml: no such key", "E-CONFIG-KEY")
    with pytest.raises(UserError, match="E-CONFIG-KEY"):
        raise error
