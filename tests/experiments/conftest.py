"""The scripts of experiments/ are not installed: their folder comes onto the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))
