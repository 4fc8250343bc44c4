"""``mmcontrast search``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmcontrast.search.searcher import Answers

EXAMPLES = """examples:
  mmcontrast search index/photos --text "a dog on a beach"
  mmcontrast search index/photos --text "a dog" --text "a puppy" --text "a hound"       captions are averaged
  mmcontrast search index/all --image cat.jpg --in audio                                a picture's sounds
  mmcontrast search index/photos --image cat.jpg --text "in the snow"                   a picture, changed
  mmcontrast search index/photos --text "a beach" --and "a dog" --not "people"
  mmcontrast search index/photos --text "IMG_2041 beach" --hybrid                       by sense and by words
  mmcontrast search index/all --row audio:below/rain --in image                         what is near an indexed row
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.description = "Find rows of an index by texts, pictures, sounds and other rows."
    parser.add_argument("index", type=Path, help="folder that mmcontrast index has written")
    parser.add_argument("--text", action="append", default=[], help="a caption; several are averaged")
    parser.add_argument("--image", action="append", default=[], help="a picture's file; several are averaged")
    parser.add_argument("--audio", action="append", default=[], help="a sound's file; several are averaged")
    parser.add_argument("--row", action="append", default=[], metavar="MODALITY:KEY", help="a row of the index")
    parser.add_argument("--text-weight", type=float, default=1.0, help="of the text beside pictures, sounds and rows")
    parser.add_argument("--and", action="append", default=[], metavar="TEXT", help="a caption that must hold as well")
    parser.add_argument("--not", action="append", default=[], metavar="TEXT", help="a caption that must not hold")
    parser.add_argument(
        "--hybrid", action="store_true", help="also look for the texts' words (BM25) in the rows' texts"
    )
    parser.add_argument(
        "--in", default="", metavar="MODALITY", help="image, audio, text, joined by commas; default: media"
    )
    parser.add_argument("-k", "--count", type=int, default=10, help="answers")
    parser.add_argument("--model", help="where the model of the index is now; default: where it was")
    parser.add_argument("--device", default="cpu", help="torch device of the model")
    parser.add_argument("--refine", metavar="REFINER", help="what mmcontrast refine has written; refines the question")
    parser.add_argument("--memory", metavar="INDEX", help="index whose pairs the refiner reads; default: this one")
    parser.add_argument(
        "--head", action="append", default=[], help="a combiner, sprc or a prior (mmcontrast head train)"
    )
    parser.add_argument("--json", action="store_true", help="answers as JSON, one modality a line")
    parser.set_defaults(call=_search)


def _search(parsed: argparse.Namespace) -> int:
    from mmcontrast.search.query import Query, named_row
    from mmcontrast.search.searcher import Searcher

    given = vars(parsed)
    query = Query(
        text=tuple(parsed.text),
        image=tuple(parsed.image),
        audio=tuple(parsed.audio),
        rows=tuple(named_row(each) for each in parsed.row),
        text_weight=parsed.text_weight,
        also=tuple(given["and"]),
        without=tuple(given["not"]),
        hybrid=parsed.hybrid,
    )
    searcher = Searcher.open(
        parsed.index,
        model=parsed.model,
        device=parsed.device,
        refiner=parsed.refine,
        memory=parsed.memory,
        heads=parsed.head,
    )
    wanted = [name for name in given["in"].split(",") if name] or searcher.default_modalities()
    for modality in wanted:
        answers = searcher.search(query, modality=modality, count=parsed.count)
        if parsed.json:
            print(json.dumps(asdict(answers), ensure_ascii=False))
        else:
            print("\n".join(in_words(answers)))
    return 0


def in_words(answers: Answers) -> list[str]:
    """Answers for people: rank, score, key, text."""
    lines = [f"{answers.modality}, by {answers.measure}, of {answers.searched:,}"]
    width = max((len(hit.row.key) for hit in answers.hits), default=0)
    for hit in answers.hits:
        lines.append(f"{hit.rank:>4}  {hit.score:7.4f}  {hit.row.key:<{width}}  {hit.text}".rstrip())
    return lines
