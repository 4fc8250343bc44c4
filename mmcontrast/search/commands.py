"""``mmcontrast index``, ``search``, ``refine`` and ``explore``."""

from __future__ import annotations

from typing import Any

from mmcontrast.search.explore.command import add_arguments as add_explore
from mmcontrast.search.index_command import add_arguments as add_index
from mmcontrast.search.refine_command import add_arguments as add_refine
from mmcontrast.search.search_command import add_arguments as add_search


def add_commands(commands: Any) -> None:
    """Add them to the command line's subparsers."""
    add_index(commands.add_parser("index", help="index embedded sets for search"))
    add_search(commands.add_parser("search", help="find rows by texts, pictures, sounds and other rows"))
    add_refine(commands.add_parser("refine", help="train what refines questions by an index's pairs"))
    add_explore(commands.add_parser("explore", help="serve a page to search an index, look and listen"))
