"""A row's captions, read as its source's text transform says."""

from __future__ import annotations

from typing import Any

from mmcontrast.data.limits import Limits
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.shards import RawRow
from mmcontrast.data.transforms.captions import (
    Captions,
    captions_of,
    keywords_of,
    named,
    read_names,
    read_templates,
    weighted_captions,
)
from mmcontrast.data.transforms.text import TextTransform
from mmcontrast.errors import ConfigError, SkipSample


def read_captions(raw: RawRow, column: ColumnSpec, config: TextTransform, *, limits: Limits) -> Captions:
    """Read a row's captions, and its keywords where the transform uses them.

    Raises:
        SkipSample: there are neither, or they are damaged or over a limit.
    """
    most = min(limits.caption_bytes, config.max_bytes or limits.caption_bytes)
    keywords: tuple[str, ...] = ()
    if config.keywords is not None:
        keywords = keywords_of(raw.info().get(config.keywords.field), key=raw.key, max_bytes=most)
    if config.fields:
        found = weighted_captions(raw.info(), config.fields, key=raw.key, max_bytes=most)
        if not found.texts and not keywords:
            raise SkipSample(f"{raw.key}: none of the fields {', '.join(config.fields)}", cause="no_caption")
        return Captions(found.texts, found.weights, keywords)
    value = _stored(raw, column, needed=not keywords)
    if value is None and keywords:
        return Captions([], None, keywords)
    if config.names is not None:
        value = named(value, read_names(config.names), key=raw.key)
    return Captions(captions_of(value, key=raw.key, max_bytes=most), None, keywords)


def _stored(raw: RawRow, column: ColumnSpec, *, needed: bool) -> Any:
    """What the text column holds; None where it is missing and not needed."""
    if column.extension not in raw.members:
        if not needed:
            return None
        raise SkipSample(f"{raw.key}: no .{column.extension} member", cause="missing_member")
    if column.field is not None:
        info = raw.info()
        if column.field not in info and needed:
            raise SkipSample(f"{raw.key}: no field '{column.field}' in .{column.extension}", cause="json_field")
        return info.get(column.field)
    try:
        return raw.members[column.extension].decode("utf-8")
    except UnicodeDecodeError as error:
        raise SkipSample(f"{raw.key}: caption is not UTF-8", cause="caption_utf8") from error


def check_texts(where: str, config: TextTransform) -> list[str]:
    """What is wrong with the files and templates that a text transform names, as messages."""
    problems = []
    try:
        if config.names is not None:
            read_names(config.names)
    except ConfigError as error:
        problems.append(f"{where}.names: {error}")
    asked = {"templates": config.templates}
    if config.keywords is not None:
        asked["keywords.templates"] = config.keywords.templates
    for name, templates in asked.items():
        try:
            read_templates(templates)
        except ConfigError as error:
            problems.append(f"{where}.{name}: {error}")
    if config.keywords is not None and not config.keywords.templates:
        problems.append(f"{where}.keywords.templates: empty. '{{}}' alone gives the keywords as they are.")
    return problems
