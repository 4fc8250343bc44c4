"""``python -m mmcontrast`` is the ``mmcontrast`` command."""

from __future__ import annotations

import sys

from mmcontrast.cli import main

sys.exit(main())
