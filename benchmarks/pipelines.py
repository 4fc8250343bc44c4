"""What the jobs of ``mmcontrast-data`` find, and how fast: planted copies, known silence, written captions, languages.

Quality: ``ours`` is the share that was found or kept, ``peer`` what ought to be, or what another method finds.
Speed: rows a second of processor time, in one process; the peer is the package that does the same work alone.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pipeline_plants import (
    CAPTION_COPIES,
    LANGUAGES,
    MANIFEST,
    PICTURE_COPIES,
    SOUND_COPIES,
    encoded,
    look,
    mostly_silent,
    photographs,
    shipped,
    written_on,
)
from benchmarks.row import Row
from data_pipelines.cli import main as data
from data_pipelines.filters import FILTERS
from data_pipelines.filters.text_spotting import read_text
from data_pipelines.media import Look, encode_flac
from data_pipelines.signatures import SIGNATURES

PICTURES, SOUNDS, CAPTIONS, WRITTEN, PACKED = 200, 40, 300, 16, 400
TURNS = 3
PLANTED = "peer: all that was planted"


def measure() -> list[Row]:
    """Every row, quality first."""
    return [*pictures(), *sounds(), *captions(), *filtered(), *packing()]


# ------------------------------------------------------------------- copies


def pictures() -> list[Row]:
    """Recall of pHash on each kind of copy; originals that match one another; speed beside imagehash."""
    emoji = [each.image for each in shipped("emoji-train", PICTURES)]
    result = []
    for kind, images in {"emoji of 80 px": emoji, "crops of photographs": photographs()}.items():
        originals = [look(f"a{place}", image=encoded(image, quality=95)) for place, image in enumerate(images)]
        for distance in (3, 8):
            signature = build(SIGNATURES, "image_hash", distance=distance)
            setting = f"{len(images)} {kind}, image_hash at distance {distance}; {PLANTED}"
            for name, copied in PICTURE_COPIES.items():
                copies = [look(f"b{place}", image=copied(image)) for place, image in enumerate(images)]
                result.append(share(f"copies found: {name}", recall(signature, originals, copies), setting))
            result.append(share("originals said to be copies", confused(signature, originals), setting, truth=0.0))
    return [*result, hashing(emoji)]


def hashing(images: Sequence[Any]) -> Row:
    """Pairs of hashes: ours by bands, imagehash's by comparing all."""
    import imagehash

    signature = build(SIGNATURES, "image_hash", distance=3)
    hashes = [imagehash.phash(image) for image in images]
    table = signature.sign([look(str(place), image=encoded(each, quality=95)) for place, each in enumerate(images)])

    def peer() -> int:
        return sum(hashes[i] - hashes[j] <= 3 for j in range(len(hashes)) for i in range(j))

    ours, theirs = fastest(lambda: list(signature.pairs([table]))), fastest(peer)
    setting = f"{len(images)} hashes, distance 3; peer: imagehash's difference of every pair"
    return speed("hashes compared", len(images) / ours, len(images) / theirs, setting)


def sounds() -> list[Row]:
    """Recall of fingerprints on each kind of copy; different recordings that match one another."""
    clips = [each.sound for each in [*shipped("instruments-train", SOUNDS), *shipped("effects-train", SOUNDS)]]
    originals = [
        look(f"a{place}", audio=encode_flac(each.wave, rate_hz=each.rate_hz)) for place, each in enumerate(clips)
    ]
    signature = build(SIGNATURES, "audio_fingerprint")
    setting = f"{len(clips)} clips of 2 s, defaults; {PLANTED}"
    result = []
    for name, copied in SOUND_COPIES.items():
        copies = [look(f"b{place}", audio=copied(each)) for place, each in enumerate(clips)]
        result.append(share(f"copies found: {name}", recall(signature, originals, copies), setting))
    result.append(share("originals said to be copies", confused(signature, originals), setting, truth=0.0))
    ours = fastest(lambda: signature.sign([Look(each.row, MANIFEST) for each in originals]), turns=1)
    peer = fastest(lambda: [Look(each.row, MANIFEST).sound for each in originals], turns=1)
    setting = f"{len(clips)} clips of 2 s; peer: decoding alone"
    return [*result, speed("sounds fingerprinted", len(clips) / ours, len(clips) / peer, setting)]


def captions() -> list[Row]:
    """Recall of MinHash against every pair compared, beside datasketch's own choice of bands."""
    from datasketch import MinHash, MinHashLSH

    rows = [*shipped("sequences-seen-font", CAPTIONS), *shipped("instruments-train", CAPTIONS // 5)]
    texts = list(dict.fromkeys(max(each.captions, key=len) for each in rows))[:CAPTIONS]
    signature = build(SIGNATURES, "caption_minhash")
    result = []
    for name, changed in CAPTION_COPIES.items():
        rng = np.random.default_rng(0)
        every = [*texts, *(changed(text, rng) for text in texts)]
        exact = alike(every, least=0.8)
        table = signature.sign([look(str(place), captions=[text]) for place, text in enumerate(every)])
        found = {(pair.first, pair.second) for pair in signature.pairs([table])}
        index, theirs = MinHashLSH(threshold=0.8, num_perm=128), set()
        for place, each in enumerate(shingles(every)):
            sketch = MinHash(num_perm=128, seed=1)
            sketch.update_batch([shingle.encode() for shingle in sorted(each)])
            theirs |= {(int(other), place) for other in index.query(sketch)}
            index.insert(str(place), sketch)
        setting = f"{len(exact)} pairs at 0.8 or over, of {len(every)} captions; peer: MinHashLSH(threshold=0.8)"
        ours, peer = len(found & exact) / len(exact), len(theirs & exact) / len(exact)
        result.append(
            Row(name=f"pairs found: {name}", ours=ours, peer=peer, ratio=ours / peer, unit="share", setting=setting)
        )
    return result


def shingles(texts: Sequence[str]) -> list[set[str]]:
    """Pieces of four characters, as the signature's defaults make them."""
    plain = [" ".join(re.findall(r"\w+", text.lower())) for text in texts]
    return [{text[place : place + 4] for place in range(len(text) - 3)} for text in plain]


def alike(texts: Sequence[str], *, least: float) -> set[tuple[int, int]]:
    """Pairs by Jaccard similarity, every pair compared."""
    sets = shingles(texts)
    return {
        (first, second)
        for second in range(len(sets))
        for first in range(second)
        if len(sets[first] & sets[second]) >= least * len(sets[first] | sets[second])
    }


def matches(signature: Any, looks: Sequence[Look]) -> set[tuple[int, int]]:
    """Pairs of places."""
    return {(pair.first, pair.second) for pair in signature.pairs([signature.sign(looks)])}


def recall(signature: Any, originals: Sequence[Look], copies: Sequence[Look]) -> float:
    """Share of copies that match their own original."""
    found = matches(signature, [*originals, *copies])
    return float(np.mean([(place, len(originals) + place) in found for place in range(len(originals))]))


def confused(signature: Any, originals: Sequence[Look]) -> float:
    """Share of originals that match another one."""
    return len({second for _, second in matches(signature, originals)}) / len(originals)


# ------------------------------------------------------------------ filters


def filtered() -> list[Row]:
    """Silence, languages and written captions, each with what must go and what must stay."""
    return [*silence(), *languages(), *written()]


def silence() -> list[Row]:
    """Clips with 5% and with 20% of sound, over floors of three levels."""
    clips = [each.sound for each in shipped("instruments-train", SOUNDS)]
    judge = build(FILTERS, "silence", manifest=MANIFEST)
    result = []
    for floor in (-90.0, -70.0, -50.0):
        for loud, name in ((0.05, "mostly silent clips dropped"), (0.2, "clips with sound dropped")):
            looks = [look("a", audio=mostly_silent(each, loud_share=loud, floor_db=floor)) for each in clips]
            gone = float(np.mean([judge.reason(judge.measure(each), None) is not None for each in looks]))
            setting = f"{len(clips)} clips, sound in {100 * loud:.0f}% of 2 s, noise at {floor:.0f} dB; defaults"
            result.append(share(name, gone, f"{setting}; peer: what ought to go", truth=float(loud < 0.1)))
    return result


def languages() -> list[Row]:
    """Sentences whose language is known, judged among 97 languages and among the eight."""
    result = []
    for among in ((), tuple(LANGUAGES)):
        judge = build(FILTERS, "language", manifest=MANIFEST, among=among)
        said = {code: [judge.measure_caption(text) for text in texts] for code, texts in LANGUAGES.items()}
        setting = f"among {len(among) or 97} languages; peer: what ought to stay"
        english = [each in ("en", "short") for each in said["en"]]
        others = [each in ("en", "short") for code, listed in said.items() if code != "en" for each in listed]
        result.append(share("English captions kept", float(np.mean(english)), f"{len(english)} captions, {setting}"))
        setting = f"{len(others)} captions, {setting}"
        result.append(share("captions of seven other languages kept", float(np.mean(others)), setting, truth=0.0))
    texts = [text for listed in LANGUAGES.values() for text in listed]
    ours = fastest(lambda: [judge.measure_caption(text) for text in texts])
    theirs = fastest(lambda: [judge.identifier.classify(text) for text in texts])
    return [*result, speed("captions by language", len(texts) / ours, len(texts) / theirs, "peer: py3langid alone")]


def written() -> list[Row]:
    """Pictures with their caption, with other words, and with none."""
    rows = [each for each in shipped("emoji-train", 8 * WRITTEN) if len(each.captions[0]) >= 6][:WRITTEN]
    texts = [each.captions[0] for each in rows]
    judge = build(FILTERS, "text_spotting", manifest=MANIFEST)
    cases = {
        "pictures of their caption dropped": (texts, 1.0),
        "pictures with other words dropped": ([*texts[1:], texts[0]], 0.0),
    }
    result = []
    for name, (shown, truth) in cases.items():
        looks = [
            look("a", image=written_on(each.image, words), captions=[text])
            for each, words, text in zip(rows, shown, texts, strict=True)
        ]
        gone = [judge.reason(judge.measure(each), None) is not None for each in looks]
        setting = f"{len(looks)} pictures of 320 px, letters of 26 px; peer: what ought to go"
        result.append(share(name, float(np.mean(gone)), setting, truth=truth))
    looks = [
        look("a", image=written_on(each.image, text), captions=[text]) for each, text in zip(rows, texts, strict=True)
    ]
    ours = fastest(lambda: [judge.measure(each) for each in looks], turns=1)
    peer = fastest(lambda: [read_text(each.image, confidence=0.8) for each in looks], turns=1)
    setting = "320 px with a line of text; peer: RapidOCR alone"
    return [*result, speed("pictures read", len(looks) / ours, len(looks) / peer, setting)]


# --------------------------------------------------------------------- pack


def packing() -> list[Row]:
    """Files to shards: the whole job, sha256 and index included, beside webdataset's writer on the same files."""
    result = []
    with tempfile.TemporaryDirectory() as name:
        raw = Path(name) / "raw"
        raw.mkdir()
        for place, image in enumerate((photographs() * PACKED)[:PACKED]):
            (raw / f"{place:06d}.jpg").write_bytes(encoded(image, quality=90))
            (raw / f"{place:06d}.txt").write_text(f"photograph number {place}")
        for check in ("none", "decode"):
            folders = iter([Path(name) / f"{check}-{turn}" for turn in range(TURNS)])
            seconds = fastest(partial(pack, raw, folders, check))
            theirs = fastest(partial(write_tar, raw, Path(name) / "peer.tar", decode=check == "decode"))
            setting = f"{PACKED} JPEGs of 200 px, check={check}; peer: webdataset.TarWriter, without sha256 and index"
            result.append(speed("files packed", PACKED / seconds, PACKED / theirs, setting))
    return result


def pack(raw: Path, folders: Iterator[Path], check: str) -> None:
    """The job, as its user runs it, into the next folder."""
    out = next(folders)
    reader = ("reader.type=folder", f"reader.folder={raw}")
    with contextlib.redirect_stdout(sys.stderr):
        code = data(["run", "pack", f"out={out}", *reader, f"check={check}", "--processes=1"])
    assert code == 0, f"pack ended with {code}"


def write_tar(raw: Path, out: Path, *, decode: bool) -> None:
    """The same rows by webdataset's writer."""
    import webdataset
    from PIL import Image

    with webdataset.TarWriter(str(out)) as writer:
        for path in sorted(raw.glob("*.jpg")):
            content = path.read_bytes()
            if decode:
                Image.open(io.BytesIO(content)).convert("RGB").load()
            text = path.with_suffix(".txt").read_text()
            writer.write({"__key__": path.stem, "jpg": content, "json": {"captions": [text]}})


# --------------------------------------------------------------------- rows


def build(registry: Any, name: str, *, manifest: Any = None, **settings: Any) -> Any:
    """A filter or signature from its settings."""
    runtime = {} if manifest is None else {"manifest": manifest}
    return registry.build(registry.get(name).Config(**settings), **runtime)


def fastest(work: Callable[[], Any], *, turns: int = TURNS) -> float:
    """Processor seconds of the best of a few turns."""
    seconds = []
    for _ in range(turns):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def share(name: str, ours: float, setting: str, *, truth: float = 1.0) -> Row:
    """A row of quality; where nothing ought to be found, the ratio is that of what is rightly left."""
    ratio = ours / truth if truth else 1 - ours
    return Row(name=name, ours=ours, peer=truth, ratio=ratio, unit="share", setting=setting)


def speed(name: str, ours: float, peer: float, setting: str) -> Row:
    """A row of rates."""
    return Row(name=name, ours=ours, peer=peer, ratio=ours / peer, unit="rows/s", setting=setting)
