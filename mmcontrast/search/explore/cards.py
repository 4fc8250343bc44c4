"""Answers as HTML: a card a row, with its picture and its sound."""

from __future__ import annotations

from html import escape

from mmcontrast.errors import SkipSample
from mmcontrast.search.explore.media import Media
from mmcontrast.search.searcher import Answers, Hit

CSS = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 12px; }
.card { border: 1px solid #d5dae1; border-radius: 8px; padding: 10px; overflow: hidden; }
.card img { display: block; width: 100%; height: 150px; object-fit: contain; background: #f3f5f8; border-radius: 4px; }
.card audio { display: block; width: 100%; height: 34px; margin-top: 6px; }
.card .text { margin: 8px 0 2px; }
.card .key { font-family: monospace; font-size: 11px; overflow-wrap: anywhere; opacity: 0.7; }
.summary { margin: 0 0 10px; }
.note { border-left: 4px solid #c2410c; padding: 8px 12px; }
.map svg { width: 100%; max-width: 900px; height: auto; background: #fff; }
.map .tick { font-size: 12px; fill: #1c2430; }
.gaps td, .gaps th { padding: 4px 14px !important; text-align: left; }
"""


def cards(answers: Answers, media: Media) -> str:
    """All answers."""
    inside = "".join(_card(hit, media) for hit in answers.hits)
    summary = f"{len(answers.hits)} of {answers.searched:,} rows with {answers.modality}, by {answers.measure}"
    return f'<p class="summary">{escape(summary)}</p><div class="cards">{inside}</div>'


def note(message: str) -> str:
    """A message in the place of answers."""
    return f'<p class="note">{escape(message)}</p>'


def _card(hit: Hit, media: Media) -> str:
    parts = []
    for modality in media.modalities(hit.row):
        try:
            if modality == "image":
                parts.append(f'<img src="{media.picture(hit.row)}" alt="{escape(hit.row.key)}">')
            elif modality == "audio":
                parts.append(f'<audio controls preload="metadata" src="{media.sound(hit.row)}"></audio>')
        except SkipSample as error:
            parts.append(note(str(error)))
    parts.append(f'<p class="text">{escape(hit.text)}</p>')
    parts.append(f'<span class="key">{hit.rank}. {hit.score:.4f}<br>{escape(hit.row.key)}</span>')
    return f'<div class="card">{"".join(parts)}</div>'
