"""Write docs/baselines.md: parameters and multiply-adds of every baseline beside the figures that papers state.

python evaluate/baseline_table.py
python evaluate/baseline_table.py --out table.md
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import run
from samis.errors import Parser

PAGE = Path(__file__).resolve().parents[1] / "docs" / "baselines.md"
HEAD = """# The baselines, counted

Written by `python evaluate/baseline_table.py`; do not edit. Parameters are all learnt ones; multiply-adds are those of convolutions
and matrix products for one image, counted by `torch.utils.flop_counter`. Stated figures are kept in
`samis/baselines/stated_complexity.csv` with who states them; a network with two backbones is counted with the one
that the figure was stated for. "-" in a stated column: none of the sources read so far states this figure. The U-Net is our
own arrangement of a known shape, nobody states its size. The multiply-adds of DACNet, EDRNet, TSERNet, CSEPNet, MCnet and ITSD
are also held, within 5 %, to the convolutions of the authors' public code, listed layer by layer in
`tests/unit/baselines/test_public_structure.py`.

"""


def main() -> None:
    """Count and write."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PAGE, help="file to write (default: docs/baselines.md)")
    arguments = parser.parse_args()
    from samis.baselines.complexity import markdown  # heavy imports come after the cheap checks
    from samis.core.files import write_atomic

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(arguments.out, HEAD + markdown())
    print(arguments.out)


if __name__ == "__main__":
    run(main)
