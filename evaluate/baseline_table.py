"""Write docs/baselines.md: parameters and multiply-adds of every baseline beside stated figures, and how far the trained ones came.

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

ROWS = Path(__file__).resolve().parent / "results"
TRAININGS = """
## How far the comparators were trained

From the rows in `evaluate/results`. Each network had 3.25 minutes of one H200 shared with 15 other trainings, at 256 px. The
learning rate falls to zero over these minutes, so a flat end shows that a run was finished, not that a longer one would gain
nothing. The epoch of the best validation is the one that is scored.

On steel and rail, random weights end within .03 of ImageNet's. On tile they are far from it after as many steps: these rows are
marked "short budget" and compared with nothing, and tile's comparators owe their score to ImageNet. By tile, the networks were
trained with 30 % of defect-free images, as "LoRA, encoder + decoder, clean photos" was, and the tuned SAM with the highest S
there was not; the report mentions it where it compares the two.

"""


def main() -> None:
    """Count and write."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PAGE, help="file to write (default: docs/baselines.md)")
    arguments = parser.parse_args()
    from samis.baselines.complexity import markdown  # heavy imports come after the cheap checks
    from samis.core.files import write_atomic
    from samis.evaluation.rows import read_measured
    from samis.reporting.analysis.convergence import convergence_table
    from samis.reporting.render.markup import to_markdown

    trained = to_markdown(convergence_table(read_measured([ROWS]).values()))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(arguments.out, HEAD + markdown().rstrip() + "\n" + TRAININGS + trained.strip() + "\n")
    print(arguments.out)


if __name__ == "__main__":
    run(main)
