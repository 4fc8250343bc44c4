"""One job's settings in words: fields with defaults, what may stand in them, and commands to copy."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

from data_pipelines.job import JOBS
from mmcontrast.config import OneOf, to_tree
from mmcontrast.errors import ConfigError, did_you_mean

EXAMPLES: dict[str, tuple[str, ...]] = {
    "pack": (
        "run pack out=data/pets reader.type=folder reader.folder=pictures",
        "run pack out=data/web reader.type=table reader.file=list.csv 'reader.media={image: path}' "
        "'reader.captions=[title]'",
        "run pack out=data/coco reader.type=coco reader.file=captions_val2017.json reader.images=val2017",
    ),
    "caption": ("run caption out=data/captioned source=data/tags 'templates=[\"the sound of {tags}\"]'",),
    "filter": (
        "run filter out=data/good source=data/web 'filters={size: {type: resolution}, english: {type: language}}'",
        "run filter out=data/alike source=data/web "
        "'filters={alike: {type: score, model: {run: runs/quickstart}, best: 0.3}}'",
    ),
    "dedup": (
        "run dedup out=data/clean source=data/train 'against=[data/test]' 'signatures={look: {type: image_hash}}'",
    ),
    "subset": (
        "run subset out=data/half source=data/train 'model={run: runs/quickstart}' "
        "'selection={type: coverage, share: 0.5}'",
    ),
    "negatives": ("run negatives out=data/hard source=data/train 'perturb={swapped: swap_words}'",),
    "merge": ("run merge out=data/all 'sources=[data/pets, data/web]' rows_per_shard=5000",),
    "split": ("run split out=data/parts source=data/pets 'parts={train: 9, test: 1}' by=family",),
    "inspect": ("run inspect out=pages/pets source=data/pets",),
    "verify": ("run verify out=checks/pets source=data/pets",),
}


def settings_page(job: str, component: str | None = None) -> str:
    """A job's settings, or those of one thing that may stand in them ("filter", "silence").

    Raises:
        ConfigError: no such job, or nothing of that name in its settings.
    """
    cls = JOBS.get(job)
    if component is not None:
        found = _components(cls.Config)
        if component not in found:
            known = ", ".join(sorted(found)) or "nothing"
            raise ConfigError(
                f"{job} names no '{component}'.{did_you_mean(component, list(found))} It names: {known}."
            )
        return "\n".join([f"{component}: {first_line(found[component])}", "", *_fields(found[component].Config)])
    lines = [f"{job}: {first_line(cls)}", "", *_fields(cls.Config)]
    for field, hint in _hints(cls.Config):
        for choice in _choices(hint):
            lines += ["", f"{field}: one of (settings: mmcontrast-data list {job} NAME)"]
            lines += [f"  {name:<18} {first_line(choice.get(name))}" for name in choice.names()]
    return "\n".join([*lines, "", "examples:", *(f"  mmcontrast-data {each}" for each in EXAMPLES[job])])


def first_line(cls: type) -> str:
    """What a class is, in one line."""
    return (cls.__doc__ or "").strip().split("\n")[0]


def _hints(config: type) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(config, include_extras=True)
    yield from ((field.name, hints[field.name]) for field in dataclasses.fields(config))


def _choices(hint: Any) -> Iterator[Any]:
    """Registries in a field's type, however deep."""
    for each in getattr(hint, "__metadata__", ()):
        if isinstance(each, OneOf):
            yield each.registry
    for part in typing.get_args(hint):
        if not isinstance(part, OneOf):
            yield from _choices(part)


def _components(config: type) -> dict[str, Any]:
    return {
        name: choice.get(name) for _, hint in _hints(config) for choice in _choices(hint) for name in choice.names()
    }


def _fields(config: type, indent: str = "") -> list[str]:
    notes: dict[str, str] = {}
    for cls in reversed(config.__mro__):
        if dataclasses.is_dataclass(cls):
            notes.update(re.findall(r"^\s+(\w+): [^#\n]*#\s*(.*)$", inspect.getsource(cls), flags=re.M))
    hints = dict(_hints(config))
    lines = []
    for field in dataclasses.fields(config):
        if field.default is not dataclasses.MISSING:
            default = f" = {to_tree(field.default)}"
        elif field.default_factory is not dataclasses.MISSING:
            default = f" = {to_tree(field.default_factory())}"
        else:
            default = " (required)"
        note = f"  # {notes[field.name]}" if notes.get(field.name) else ""
        lines.append(f"{indent}{field.name}{default}{note}")
        for inner in (hints[field.name], *typing.get_args(hints[field.name])):
            if isinstance(inner, type) and getattr(inner, "__is_config__", False):
                lines += _fields(inner, f"{indent}  {field.name}.")
    return lines
