"""Lets tests of one reference share its images."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
