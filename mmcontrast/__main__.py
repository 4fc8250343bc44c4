"""``python -m mmcontrast`` is the ``mmcontrast`` command."""

from __future__ import annotations

from mmcontrast.cli import command

command()
