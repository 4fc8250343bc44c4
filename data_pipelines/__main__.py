"""``python -m data_pipelines`` is the ``mmcontrast-data`` command."""

import sys

from data_pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main())
