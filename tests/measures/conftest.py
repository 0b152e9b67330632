"""What tests of measures share lies beside them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("network_oracles", "oracles", "random_graphs")
