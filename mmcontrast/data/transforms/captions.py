"""A row's captions as they are stored: from one column or several JSON fields, from labels, from keywords."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mmcontrast.data.shards import resolve
from mmcontrast.errors import ConfigError, SkipSample


@dataclass(frozen=True)
class Captions:
    """Texts to choose from, with weights, and keywords to make one of."""

    texts: list[str]
    weights: list[float] | None = None  # of the choice by weight; None: all alike
    keywords: tuple[str, ...] = ()


def captions_of(value: object, *, key: str, max_bytes: int) -> list[str]:
    """Return a row's captions from a string or a list of strings.

    Raises:
        SkipSample: none, not text, empty, or too long.
    """
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise SkipSample(f"{key}: captions are not a string or a list of strings", cause="caption_type")
    captions = [caption.strip() for caption in captions if caption.strip()]
    if not captions:
        raise SkipSample(f"{key}: no caption that is not empty", cause="caption_empty")
    if max(_bytes(caption, key=key) for caption in captions) > max_bytes:
        raise SkipSample(f"{key}: a caption is longer than {max_bytes} bytes", cause="caption_bytes")
    return captions


def _bytes(text: str, *, key: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can spell and UTF-8 cannot
        raise SkipSample(f"{key}: caption is not UTF-8", cause="caption_utf8") from error


def weighted_captions(info: Mapping[str, Any], fields: Mapping[str, float], *, key: str, max_bytes: int) -> Captions:
    """Captions of several JSON fields; a field's weight is shared by its captions.  Fields may be missing.

    Raises:
        SkipSample: a field holds no text, or one that is too long.
    """
    texts: list[str] = []
    weights: list[float] = []
    for field, weight in fields.items():
        if info.get(field) in (None, "", []):
            continue
        found = captions_of(info[field], key=f"{key}, field '{field}'", max_bytes=max_bytes)
        texts += found
        weights += [weight / len(found)] * len(found)
    return Captions(texts, weights)


def keywords_of(value: object, *, key: str, max_bytes: int) -> tuple[str, ...]:
    """Keywords from a list of strings, or from one string with commas between them; none where the value is none.

    Raises:
        SkipSample: not text, or too long.
    """
    words = value.split(",") if isinstance(value, str) else value or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise SkipSample(f"{key}: keywords are not a string or a list of strings", cause="caption_type")
    words = [word.strip() for word in words if word.strip()]
    if sum(_bytes(word, key=key) for word in words) > max_bytes:
        raise SkipSample(f"{key}: keywords are longer than {max_bytes} bytes", cause="caption_bytes")
    return tuple(words)


def named(value: object, names: Mapping[str, str], *, key: str) -> str:
    """The name of a label, a number or a string.

    Raises:
        SkipSample: the label has none.
    """
    if str(value).strip() not in names:
        raise SkipSample(f"{key}: label '{value}' has no name", cause="label")
    return names[str(value).strip()]


@lru_cache(maxsize=32)
def read_names(location: str) -> Mapping[str, str]:
    """Read names of labels: a JSON map, or a list whose places are the labels.

    Raises:
        ConfigError: no such file, or neither.
    """
    value = _read_json(location, "a JSON map or list of names")
    names = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise ConfigError(f"'{location}' is not a JSON map or list of names.")
    return {str(label): name for label, name in names.items()}


@lru_cache(maxsize=32)
def read_templates(templates: tuple[str, ...]) -> tuple[str, ...]:
    """Templates as they stand, and those of each entry that is a JSON file.

    Raises:
        ConfigError: no such file, not a list of strings, or a template without {}.
    """
    found: list[str] = []
    for entry in templates:
        if not entry.endswith(".json"):
            found.append(entry)
            continue
        value = _read_json(entry, "a JSON list of templates")
        if not isinstance(value, list) or not value or not all(isinstance(template, str) for template in value):
            raise ConfigError(f"'{entry}' is not a JSON list of templates.")
        found += value
    for template in found:
        if template.count("{}") != 1:
            raise ConfigError(f"template '{template}' should hold one {{}}, where the text goes.")
    return tuple(found)


def _read_json(location: str, what: str) -> Any:
    path = resolve(location)
    if not path.is_file():
        raise ConfigError(f"no file at '{path}'. Expected {what}.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"'{path}' is not {what}: {error}") from error
