"""Rows as cards of a page: a picture, a sound with its waveform, captions, and the JSON member behind a click."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from data_pipelines.media import Look, encode_flac
from data_pipelines.readers.base import sniff
from data_pipelines.report import render
from mmcontrast.errors import SkipSample

PICTURE_SIDE = 320
MAX_SOUND_BYTES = 400_000
SHOWN_SECONDS = 10
WAVE_POINTS = 120
PLAYABLE = {"wav": "audio/wav", "ogg": "audio/ogg", "flac": "audio/flac", "mp3": "audio/mpeg"}


def card(look: Look, problems: list[str]) -> dict[str, Any]:
    """What the page needs of one row, as plain values with media inside."""
    shown: dict[str, Any] = {"key": look.row.key, "problems": problems, "image": None, "sounds": [], "texts": []}
    for column, spec in look.columns.items():
        try:
            if not look.has(column):
                continue
            if column == "image":
                shown["image"] = _picture(look)
            elif column == "audio":
                shown["sounds"].append(_sound(look))
            elif spec.modality == "text":
                shown["texts"].append({"column": column, "captions": look.texts(column)[:12]})
        except SkipSample:
            continue  # named in problems by whoever measured the row
    try:
        shown["info"] = look.row.info()
    except SkipSample as error:
        shown["info"] = {"error": str(error)}
    return shown


def gallery(cards: list[dict[str, Any]], bars: dict[str, str]) -> str:
    """The HTML of all cards and further plots."""
    return render("gallery.html.j2", cards=cards, bars={title: plot for title, plot in bars.items() if plot})


def _picture(look: Look) -> str:
    image = look.image.copy()
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=80)
    return _data("image/webp", stream.getvalue())


def _sound(look: Look) -> dict[str, str]:
    content = look.content("audio")
    kind = sniff(content)
    sound = look.sound
    if kind not in PLAYABLE or len(content) > MAX_SOUND_BYTES:
        wave = sound.wave[: SHOWN_SECONDS * sound.rate_hz]
        content, kind = encode_flac(wave, rate_hz=sound.rate_hz), "flac"
    return {"source": _data(PLAYABLE[kind], content), "wave": _envelope(sound.wave)}


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _envelope(wave: np.ndarray) -> str:
    """Points of an SVG polygon, 120 x 30: the largest and smallest sample of 120 pieces, to the peak's scale."""
    pieces = np.array_split(wave / max(float(np.abs(wave).max()), 1e-6), min(WAVE_POINTS, len(wave)))
    tops = [f"{place},{15 - 15 * float(piece.max()):.1f}" for place, piece in enumerate(pieces)]
    lows = [f"{place},{15 - 15 * float(piece.min()):.1f}" for place, piece in enumerate(pieces)]
    return " ".join([*tops, *reversed(lows)])
