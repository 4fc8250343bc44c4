"""A folder of files as rows: pictures, sounds and texts by their endings, paired where their names are equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.data.shards import PACKAGE_PREFIX
from mmcontrast.errors import MissingData
from mmcontrast.evaluate.collection import Collection, Entry, Listed, open_collection

ENDINGS = {
    "image": ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"),
    "audio": ("wav", "flac", "ogg", "opus", "mp3", "m4a", "aac", "aif", "aiff"),
}
MAX_TEXT_BYTES = 8192


def open_source(source: str) -> Collection:
    """A manifest's shards, files that evaluation reads (``READER:FOLDER``), or any folder with pictures or sounds.

    Raises:
        MissingData: nothing is there.
        ConfigError, ShardError: no such reader, or damaged files.
    """
    path = Path(source)
    if source.startswith(PACKAGE_PREFIX) or not path.is_dir() or (path / "manifest.json").is_file():
        return open_collection(source)
    return plain_folder(path)


def plain_folder(folder: Path) -> Listed:
    """Rows of a folder and those below it, by the files' names without endings, sorted.

    ``cat.jpg`` and ``cat.wav`` are one row with the key ``cat``; ``cat.txt`` is its text.

    Raises:
        MissingData: no picture, sound or text in it.
    """
    media: dict[str, dict[str, Path | Any]] = {}
    texts: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        key = path.relative_to(folder).with_suffix("").as_posix()
        ending = path.suffix.lower().lstrip(".")
        if ending == "txt" and path.stat().st_size <= MAX_TEXT_BYTES:
            texts[key] = path.read_text(encoding="utf-8", errors="replace").strip()
        for modality, endings in ENDINGS.items():
            if ending in endings:
                # Two pictures of one name differ in their endings, which then stay in the key.
                place = key if modality not in media.get(key, {}) else path.relative_to(folder).as_posix()
                media.setdefault(place, {})[modality] = path
    keys = sorted({*media, *texts})
    if not keys:
        known = ", ".join(f".{ending}" for endings in ENDINGS.values() for ending in endings)
        raise MissingData(f"'{folder}' holds no manifest.json and no files that are embedded ({known}, .txt).")
    entries = [Entry(key, {"text": texts[key]} if key in texts else {}, media.get(key, {})) for key in keys]
    return Listed(folder.name, entries)
