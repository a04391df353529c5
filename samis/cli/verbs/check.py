"""Check a data set before a GPU is paid for: pairs, sizes, mask values, odd files, duplicates, leaks between splits.

Exit code: 0 nothing wrong, 1 warnings, 2 errors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from samis.cli.parser import Parser, config_arguments, read_config

EXAMPLES = (
    "samis check own data.root=my_photos",
    "samis check steel_lora data.name=folder data.root=my_photos --sheet sheet.png",
)


def arguments(parser: Parser) -> None:
    """Add the verb's arguments."""
    config_arguments(parser)
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help="also draw a contact sheet: a few images of each class"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument("--most", type=int, default=40, help="findings to print (default: %(default)s)", metavar="N")


def run(arguments: argparse.Namespace) -> int:
    """Examine the config's three splits, print the findings; return the exit code."""
    config = read_config(arguments)
    from samis.jobs.check_data import check_data_set, print_findings  # heavy imports come after the cheap checks

    findings = check_data_set(config.data, sheet=arguments.sheet)
    print_findings(findings, most=arguments.most, as_json=arguments.json)
    return findings.exit_code
