"""No line of ours unpickles, evaluates, unpacks an archive or calls a shell: held by reading every call and import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from samis.config import files as config_files

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("samis", "train", "evaluate", "benchmarks")

MODULES = {
    "zipfile": "archives are not unpacked",
    "tarfile": "archives are not unpacked",
    "py7zr": "archives are not unpacked",
    "cloudpickle": "unpickles",
    "dill": "unpickles",
    "joblib": "unpickles",
    "marshal": "runs code",
    "shelve": "unpickles",
    "code": "runs code",
    "runpy": "runs code",
}
CALLS = {
    "eval": "runs text",
    "exec": "runs text",
    "compile": "runs text",
    "__import__": "imports what a text names",
    "pickle.load": "runs code",
    "pickle.loads": "runs code",
    "pickle.Unpickler": "runs code",
    "os.system": "calls a shell",
    "os.popen": "calls a shell",
    "subprocess.getoutput": "calls a shell",
    "subprocess.getstatusoutput": "calls a shell",
    "yaml.load": "may make objects",
    "yaml.load_all": "may make objects",
    "yaml.full_load": "may make objects",
    "yaml.unsafe_load": "makes objects",
    "torch.hub.load": "runs code from a repository",
    "torch.jit.load": "runs code of a file",
    "shutil.unpack_archive": "unpacks an archive",
}
NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
"""Calls that must state it themselves, whatever a library's default is."""


def name_of(node: ast.expr) -> str:
    """Return a call's dotted name, as written."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def faults(source: str) -> list[str]:
    """Return what a source does that none of ours may."""
    problems = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            problems += [
                f"import {name}: {MODULES[name.split('.')[0]]}" for name in named if name.split(".")[0] in MODULES
            ]
            if isinstance(node, ast.ImportFrom):  # from os import system
                dotted = [f"{node.module}.{alias.name}" for alias in node.names]
                problems += [
                    f"from import {name}: call it by its full name"
                    for name in dotted
                    if name in CALLS or name in NEEDED
                ]
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        keywords = {
            word.arg: word.value.value if isinstance(word.value, ast.Constant) else ... for word in node.keywords
        }
        if name in CALLS:
            problems.append(f"{name}: {CALLS[name]}")
        if name in NEEDED and keywords.get(NEEDED[name][0]) is not NEEDED[name][1]:
            problems.append(f"{name} without {NEEDED[name][0]}={NEEDED[name][1]}")
        if keywords.get("shell", False) is not False:
            problems.append(f"{name} with a shell")
        if keywords.get("trust_remote_code", False) is not False:
            problems.append(f"{name} with code from elsewhere")
        if name.startswith("subprocess.") and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
            problems.append(f"{name}: the command is a text")
        if name.endswith("Environment") and keywords.get("autoescape") is not True:
            problems.append(f"{name} without autoescape=True")
    return problems


def test_none_of_our_sources_can_run_foreign_code() -> None:
    sources = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(sources) > 80
    wrong = {str(path.relative_to(ROOT)): faults(path.read_text(encoding="utf-8")) for path in sources}
    assert {path: problems for path, problems in wrong.items() if problems} == {}


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "torch.load(f, weights_only=safe)",
        "from torch import load",
        "np.load(f)",
        "numpy.load(f, allow_pickle=True)",
        "import pickle; pickle.load(f)",
        "from pickle import loads",
        "import joblib",
        "yaml.load(f, Loader=yaml.FullLoader)",
        "eval(text)",
        "exec(text)",
        "os.system(f'rm {name}')",
        "from os import system",
        "subprocess.run(text, shell=True)",
        "subprocess.run(f'git {name}')",
        "import zipfile",
        "from tarfile import open",
        "shutil.unpack_archive(f)",
        "torch.hub.load('a/b', 'c')",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "Environment(autoescape=False)",
        "jinja2.Environment()",
    ],
)
def test_each_of_these_would_be_seen(source: str) -> None:
    assert faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(f, map_location='cpu', weights_only=True)",
        "np.load(f, allow_pickle=False)",
        "model.eval()",
        "re.compile(text)",
        "torch.compile(model)",
        "subprocess.run(['git', 'status'], check=True)",
        "yaml.safe_load(f)",
        "Environment(autoescape=True)",
    ],
)
def test_none_of_these_is(source: str) -> None:
    assert faults(source) == []


def test_configs_are_read_by_a_safe_loader() -> None:
    loader = config_files._PlainLoader
    assert issubclass(loader, yaml.SafeLoader)
    makes_objects = {tag for tag in loader.yaml_constructors if tag and "python" in tag}
    assert makes_objects == set()
    assert not [tag for tag in loader.yaml_multi_constructors if tag and "python" in tag]
