"""An explanation to look at: a PNG of maps, and a page with both captions' words."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from mmcontrast.explain.explanation import Captioned, Explanation

WORDS_SHOWN = 12  # maps of a caption in the picture: those of most weight, in the order of the text
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
.word{padding:.15em .3em;margin:0 .1em;border-radius:.25em;display:inline-block}
.changed{outline:2px solid #1a1a1a}.number{font-size:.7em;color:#444;display:block;text-align:center}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem .2rem 0;text-align:left}img{max-width:100%}
"""


def write(found: Explanation, folder: Path) -> list[Path]:
    """Write ``explanation.json``, ``explanation.png`` and ``explanation.html``; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"explanation.{kind}" for kind in ("json", "png", "html")]
    paths[0].write_text(json.dumps(found.tree(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    drawn = draw(found)
    paths[1].write_bytes(drawn)
    paths[2].write_text(page(found, drawn), encoding="utf-8")
    return paths


def draw(found: Explanation) -> bytes:
    """A row a caption: the input, the whole caption's map, and a map of each word over the input, as a PNG."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = 2 + max(min(WORDS_SHOWN, len(each.words)) for each in found.captions)
    figure = Figure(figsize=(1.7 * columns, 2.3 * len(found.captions)), layout="constrained")
    axes = figure.subplots(len(found.captions), columns, squeeze=False)
    for row, caption in zip(axes, found.captions, strict=True):
        for axis in row:
            axis.set_axis_off()
        whole = caption.maps.sum(dim=0).numpy()
        chosen = _heaviest(caption)
        limit = max(float(np.abs(caption.maps[place]).max()) for place in chosen) or 1.0
        _ground(row[0], found)
        row[0].set_title(f"score {caption.pair.score:.3f}", fontsize=9)
        _overlay(row[1], found, whole, float(np.abs(whole).max()) or 1.0)
        row[1].set_title("all words", fontsize=9)
        for axis, place in zip(row[2:], chosen, strict=False):
            _overlay(axis, found, caption.maps[place].numpy(), limit)
            weight = "bold" if caption.changed[place] else "normal"
            word = caption.words[place].replace("$", r"\$")
            axis.set_title(f"{word}\n{caption.of_words()[place]:+.3f}", fontsize=9, fontweight=weight)
    stream = io.BytesIO()
    with matplotlib.rc_context({"savefig.dpi": 130}):
        figure.savefig(stream, format="png")
    return stream.getvalue()


def page(found: Explanation, drawn: bytes) -> str:
    """One self-contained page."""
    limit = max((abs(value) for each in found.captions for value in each.of_words()), default=1.0) or 1.0
    parts = [f"<h1>Why this score?</h1><p>{html.escape(found.model)}, {html.escape(found.file.name)}</p>"]
    for caption in found.captions:
        parts.append(f"<p>{_sentence(caption, limit)}</p>")
    if len(found.captions) == 2:
        first, second = (each.pair.score for each in found.captions)
        parts.append(
            f"<p>The first caption scores {first - second:+.4f} against the second. Outlined words are not in the "
            "other caption in that place.</p>"
        )
    parts.append(f'<img alt="maps of attributions" src="data:image/png;base64,{base64.b64encode(drawn).decode()}">')
    parts.append(
        "<p>Red raises the similarity, blue lowers it. A word's map shows with which places of the input it agrees; "
        "grey or silence is the reference.</p><table><tr><th>caption<th>score<th>sum of attributions"
        "<th>terms of the references<th>integration error</tr>"
    )
    for caption in found.captions:
        pair = caption.pair
        parts.append(
            f"<tr><td>{html.escape(caption.text)}<td>{pair.score:.4f}<td>{pair.total:.4f}<td>{pair.references:.4f}"
            f"<td>{pair.error:+.1e}</tr>"
        )
    parts.append("</table><p>Score = sum + terms of the references - error (Moeller et al. 2024, arXiv:2408.14153).")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Explanation</title><style>{STYLE}</style>'
    return head + "\n".join(parts) + "</html>\n"


def _sentence(caption: Captioned, limit: float) -> str:
    spans = []
    for word, mark, value in zip(caption.words, caption.changed, caption.of_words(), strict=True):
        share = min(1.0, abs(value) / limit)
        color = "214,69,65" if value > 0 else "52,120,198"
        name = "word changed" if mark else "word"
        spans.append(
            f'<span class="{name}" style="background:rgba({color},{0.85 * share:.2f})">{html.escape(word)}'
            f'<span class="number">{value:+.3f}</span></span>'
        )
    return "".join(spans)


def _heaviest(caption: Captioned) -> list[int]:
    weights = caption.of_words()
    order = sorted(range(len(weights)), key=lambda place: (not caption.changed[place], -abs(weights[place])))
    return sorted(order[:WORDS_SHOWN])


def _ground(axis: Any, found: Explanation) -> None:
    if found.modality == "image":
        axis.imshow(found.shown)
    else:
        axis.plot(np.linspace(0, 1, len(found.shown)), found.shown, linewidth=0.4, color="#444444")
        axis.set_xlim(0, 1)


def _overlay(axis: Any, found: Explanation, plane: np.ndarray, limit: float) -> None:
    """A map over the picture, or over time (and pitch, low below) for a sound."""
    if found.modality == "image":
        axis.imshow(found.shown, extent=(0, 1, 0, 1), alpha=0.45)
        axis.imshow(plane, extent=(0, 1, 0, 1), cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.6,
                    interpolation="bilinear")  # fmt: skip
    else:
        axis.imshow(plane[::-1], extent=(0, 1, 0, 1), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
