"""The tests here share modules: `attempts`, `chain`, `processes` and `faults`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
