"""Print the completion script of bash, zsh or tcsh, for verbs, options and files; needs pip install 'samis[completion]'."""

from __future__ import annotations

import argparse

from samis.cli import VERBS
from samis.cli.parser import Parser, build
from samis.core.shipped import shipped_configs, shipped_runs
from samis.errors import UserError

EXAMPLES = (
    'eval "$(samis completion bash)"                                  for this shell, or as a line of ~/.bashrc',
    "samis completion zsh > ~/.zsh/completions/_samis                  for a folder in zsh's $fpath",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


def run(arguments: argparse.Namespace) -> None:
    """Print the script.

    Raises:
        UserError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise UserError(
            "samis completion: expected the package shtab, got none; pip install 'samis[completion]'",
            code="E-CONFIG-PACKAGE",
        ) from error
    print(shtab.complete(whole(), arguments.shell, preamble=preamble()))  # type: ignore[arg-type]


NAMED = ("config", "model", "run")
"""Arguments that take a file, or the name of a config or an adapter that comes with the project."""
COMPLETE_NAMES = {"bash": "_samis_names", "zsh": "_samis_names", "tcsh": "f"}


def preamble() -> dict[str, str]:
    """Return the function of ``COMPLETE_NAMES`` for each shell: names that come with the project, and files."""
    names = " ".join(sorted({*shipped_configs(), *shipped_runs()}))
    return {
        "bash": f'_samis_names() {{ compgen -W "{names}" -- "$1"; compgen -f -- "$1"; }}',
        "zsh": f'_samis_names() {{ _alternative "names:name:({names})" "files:file:_files"; }}',
        "tcsh": "",
    }


def whole() -> Parser:
    """Return one parser with every verb as a subparser, as shtab reads it; names and files complete where they are taken."""
    import shtab

    parser = Parser(prog="samis")
    verbs = parser.add_subparsers()
    for verb, meaning in VERBS.items():
        filled = build(verb, prog=f"samis {verb}", parser=verbs.add_parser(verb, help=meaning))
        filled.description = meaning
        for action in filled._actions:
            if action.choices is None and action.nargs != 0:
                named = action.dest in NAMED
                action.complete = COMPLETE_NAMES if named else shtab.FILE  # type: ignore[attr-defined]
    return parser
