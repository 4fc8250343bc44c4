"""The ``mmcontrast eval`` commands."""

from __future__ import annotations

import argparse


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``eval``."""
