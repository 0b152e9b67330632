"""What tests of experiments share lies beside them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "reliability"))  # chain, processes
pytest.register_assert_rewrite("digits_run")
