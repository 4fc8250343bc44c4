"""What the page does when something is asked, without the page."""

from __future__ import annotations

from typing import Any

from mmcontrast.errors import MMContrastError
from mmcontrast.search.explore.cards import cards, note
from mmcontrast.search.explore.embedding_map import drawn, gap_table
from mmcontrast.search.explore.media import Media
from mmcontrast.search.query import Query, named_row
from mmcontrast.search.searcher import Searcher


class Explorer:
    """A searcher with the media of its rows."""

    def __init__(self, searcher: Searcher, media: Media) -> None:
        self.searcher, self.media = searcher, media

    def answer(
        self,
        *,
        texts: str = "",
        also: str = "",
        without: str = "",
        rows: str = "",
        image: Any = None,
        audio: Any = None,
        text_weight: float = 1.0,
        modality: str,
        count: int,
        hybrid: bool = False,
    ) -> str:
        """Cards of the answers, or what is wrong with the question.

        Args:
            texts, also, without, rows: one a line.
            image: a PIL picture.
            audio: rate in hertz and samples, as browsers record them.
        """
        try:
            query = Query(
                text=lines(texts),
                also=lines(also),
                without=lines(without),
                rows=tuple(named_row(each) for each in lines(rows)),
                image=() if image is None else (image,),
                audio=() if audio is None else ((audio[1], int(audio[0])),),
                text_weight=text_weight,
                hybrid=hybrid,
            )
            return cards(self.searcher.search(query, modality=modality, count=int(count)), self.media)
        except MMContrastError as error:
            return note(str(error))

    def map(self, method: str) -> str:
        """The embedding map and the modality gaps."""
        try:
            return f'<div class="map">{drawn(self.searcher.index, method)}</div>{gap_table(self.searcher.index)}'
        except MMContrastError as error:
            return note(str(error))


def lines(text: str) -> tuple[str, ...]:
    """The lines of a box that are not empty."""
    return tuple(line.strip() for line in (text or "").splitlines() if line.strip())
