"""Lets the tests of this folder share the learner of four numbers of ``test_trainer``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
