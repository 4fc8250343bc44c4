"""Pictures and sounds of an index's rows, as a page can show and play them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.errors import SearchError
from mmcontrast.evaluate.collection import Collection
from mmcontrast.export.plain_folder import open_source
from mmcontrast.search.index import Index
from mmcontrast.search.rows import Row

PLAYED = {"wav": "wav", "flac": "flac", "ogg": "ogg", "opus": "ogg", "mp3": "mpeg", "m4a": "mp4"}  # by browsers
SHOWN_PIXELS = 256
SENT_BYTES = 2**22  # longer sounds are cut
CUT_SECONDS = 20.0
CUT_RATE_HZ = 22_050


class Media:
    """The sets that an index was made of."""

    def __init__(self, index: Index, *, sources: Sequence[str] = ()) -> None:
        """Open them where they were, or where ``sources`` says they are now, in the index's order.

        Raises:
            SearchError: a set is another one than was embedded, or the number of sources is wrong.
            MissingData, ShardError: nothing usable is there.
        """
        abouts = index.about.sources
        if sources and len(sources) != len(abouts):
            names = ", ".join(f"'{about['location']}'" for about in abouts)
            raise SearchError(
                f"{len(sources)} sources are named; the index has {len(abouts)}, in this order: {names}."
            )
        self._sets: list[Collection] = []
        for about, location in zip(abouts, sources or [about["location"] for about in abouts], strict=True):
            opened = open_source(location)
            if opened.facts()["manifest_sha256"] != about["manifest_sha256"]:
                raise SearchError(
                    f"'{location}' is not what was embedded: its rows or files have changed. Embed and index again."
                )
            self._sets.append(opened)

    def modalities(self, row: Row) -> tuple[str, ...]:
        """Which media a row has."""
        where = self._sets[row.source]
        return tuple(name for name in where.modalities if where.extension(row.position, name))

    def picture(self, row: Row) -> str:
        """A row's picture as a data URI: decoded, made small and encoded again, whatever the file was.

        Raises:
            SkipSample: it does not decode.
        """
        content = self._sets[row.source].content(row.position, "image")
        picture = decode_image(content, key=row.key)
        picture.thumbnail((SHOWN_PIXELS, SHOWN_PIXELS))
        stream = io.BytesIO()
        picture.save(stream, "WEBP", quality=85)
        return _uri("image/webp", stream.getvalue())

    def sound(self, row: Row) -> str:
        """A row's sound as a data URI: as it is if browsers play it, else its beginning as WAV.

        Raises:
            SkipSample: it does not decode.
        """
        where = self._sets[row.source]
        content, ending = where.content(row.position, "audio"), where.extension(row.position, "audio")
        if ending in PLAYED and len(content) <= SENT_BYTES:
            return _uri(f"audio/{PLAYED[ending]}", content)
        import soundfile

        wave = decode_audio(content, key=row.key, sample_rate_hz=CUT_RATE_HZ, max_seconds=CUT_SECONDS)
        stream = io.BytesIO()
        soundfile.write(stream, wave, CUT_RATE_HZ, format="WAV", subtype="PCM_16")
        return _uri("audio/wav", stream.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
