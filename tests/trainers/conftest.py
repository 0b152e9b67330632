"""Tests of trainers share small networks, digits and an own loop to compare with."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
