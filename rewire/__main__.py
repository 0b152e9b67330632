"""``python -m rewire``: the command line without the console script."""

import sys

from rewire.experiments.cli import main

if __name__ == "__main__":
    sys.exit(main())
