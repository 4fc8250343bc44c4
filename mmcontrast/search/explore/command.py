"""``mmcontrast explore``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmcontrast.packages import check_installed

EXAMPLES = """examples:
  mmcontrast explore index/photos
  mmcontrast explore index/all --source shards/ --source package:quickstart/trimodal-test --port 7861
  mmcontrast explore index/photos --head heads/sprc          pictures with texts are composed by a trained head
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.description = "Serve a page on this machine to search an index, look, listen, and see its map."
    parser.add_argument("index", type=Path, help="folder that mmcontrast index has written")
    parser.add_argument("--model", help="where the model of the index is now; default: where it was")
    parser.add_argument("--device", default="cpu", help="torch device of the model")
    parser.add_argument(
        "--source", action="append", default=[], help="where an indexed set is now; one for each, in order"
    )
    parser.add_argument(
        "--head", action="append", default=[], help="a combiner, sprc or a prior (mmcontrast head train)"
    )
    parser.add_argument("--refine", metavar="REFINER", help="what mmcontrast refine has written; refines questions")
    parser.add_argument("--memory", metavar="INDEX", help="index whose pairs the refiner reads; default: this one")
    parser.add_argument("--port", type=int, help="port of the page; default: the first free one from 7860 on")
    parser.set_defaults(call=_explore)


def _explore(parsed: argparse.Namespace) -> int:
    from mmcontrast.search.explore.explorer import Explorer
    from mmcontrast.search.explore.media import Media
    from mmcontrast.search.explore.page import build_page, serve
    from mmcontrast.search.searcher import Searcher

    check_installed(["gradio"], who="explore", extra="explore")
    searcher = Searcher.open(
        parsed.index,
        model=parsed.model,
        device=parsed.device,
        refiner=parsed.refine,
        memory=parsed.memory,
        heads=parsed.head,
    )
    media = Media(searcher.index, sources=parsed.source)
    page = build_page(Explorer(searcher, media))
    print(f"{serve(page, port=parsed.port)}  (ctrl-C ends it)", flush=True)
    page.block_thread()
    return 0
