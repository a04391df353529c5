"""The launch script of `samis rank`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samis.cli import script

if __name__ == "__main__":
    script("rank")
