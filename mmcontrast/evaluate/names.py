"""Class names and prompt sets: json files, ours under ``assets/`` or the user's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcontrast.data.shards import resolve
from mmcontrast.errors import ConfigError, MissingPackage, did_you_mean

FROM_OPEN_CLIP = "open_clip:imagenet"


def class_names(names: str | None, raw: list[str]) -> list[str]:
    """Turn a set's own class labels into words.

    Args:
        names: null keeps the labels, ``_`` becoming a space; else a json file or the name of a shipped one, holding a
            list (in the labels' order) or a map from label to name; ``open_clip:imagenet`` takes the 1,000 names that
            open_clip's package holds, in the order of WordNet ids.

    Raises:
        ConfigError: no such file, or it does not fit the labels.
    """
    if names is None:
        return [label.replace("_", " ") for label in raw]
    if names == FROM_OPEN_CLIP:
        found: Any = _open_clip("IMAGENET_CLASSNAMES")
    else:
        found = _read(names, "classes")
    if isinstance(found, dict):
        lacking = [label for label in raw if label not in found]
        if lacking:
            raise ConfigError(f"class names '{names}' lack {len(lacking)} labels, the first is '{lacking[0]}'.")
        return [str(found[label]) for label in raw]
    if len(found) != len(raw):
        raise ConfigError(f"class names '{names}' hold {len(found)} names for {len(raw)} classes.")
    return [str(each) for each in found]


def shipped_classes(name: str) -> list[str]:
    """The names of a shipped list of classes, in order."""
    found = _read(name, "classes")
    return list(found.values()) if isinstance(found, dict) else list(found)


@dataclass(frozen=True)
class PromptSet:
    """Prompts of every class."""

    name: str
    templates: tuple[str, ...] = ()  # {} is the class name
    of_class: dict[str, tuple[str, ...]] | None = None  # prompts written out for each class, as CuPL has them

    def prompts(self, name: str) -> list[str]:
        """The prompts of one class.

        Raises:
            ConfigError: the set has none for it.
        """
        if self.of_class is None:
            return [fill(template, name) for template in self.templates]
        if not self.of_class.get(name):
            raise ConfigError(
                f"prompts '{self.name}' have none for class '{name}'.{did_you_mean(name, self.of_class)}"
            )
        return list(self.of_class[name])

    def sha256(self) -> str:
        """Digest of the set's content."""
        return hashlib.sha256(json.dumps([self.templates, self.of_class], sort_keys=True).encode()).hexdigest()


def fill(template: str, name: str) -> str:
    """Put a class name into a template; ``{}`` and clip_benchmark's ``{c}`` are the same."""
    return template.replace("{c}", name).replace("{}", name)


def prompt_set(name: str) -> PromptSet:
    """Read a prompt set: a shipped one by name, a json file (a list, or a map of lists), or ``open_clip:imagenet``.

    Raises:
        ConfigError: no such set, or a template without a place for the class name.
    """
    if name == FROM_OPEN_CLIP:
        return PromptSet(name, tuple(template("{}") for template in _open_clip("OPENAI_IMAGENET_TEMPLATES")))
    found = _read(name, "prompts")
    if isinstance(found, dict):
        return PromptSet(name, of_class={label: tuple(map(str, texts)) for label, texts in found.items()})
    return PromptSet(name, checked(tuple(map(str, found)), where=f"prompts '{name}'"))


def checked(templates: tuple[str, ...], *, where: str) -> tuple[str, ...]:
    """Refuse templates without a place for the class name.

    Raises:
        ConfigError: names the first.
    """
    bad = [template for template in templates if "{}" not in template and "{c}" not in template]
    if bad or not templates:
        raise ConfigError(f"{where}: every prompt needs a {{}} for the class name, got {bad[:3] or 'none'}.")
    return templates


def exclusions(name: str) -> tuple[str, ...]:
    """Categories that a protocol leaves out of its mean: a shipped list by name, or a json file with a list.

    Raises:
        ConfigError: no such list.
    """
    found = _read(name, "exclusions")
    if not isinstance(found, list):
        raise ConfigError(f"exclusions '{name}' should hold a list of categories.")
    return tuple(map(str, found))


def known(kind: str) -> list[str]:
    """Names of the shipped lists of classes, or of prompts."""
    return sorted(path.stem for path in resolve(f"package:{kind}").glob("*.json"))


def _read(name: str, kind: str) -> Any:
    from mmcontrast.evaluate.readers.base import read_json

    path = Path(name) if name.endswith(".json") else resolve(f"package:{kind}/{name}.json")
    if not path.is_file():
        names = known(kind)
        raise ConfigError(
            f"no {kind} are named '{name}'.{did_you_mean(name, names)} Known: {', '.join(names)}, or a json file."
        )
    return read_json(path, (list, dict))


def _open_clip(constant: str) -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise MissingPackage("ImageNet's names come from open_clip: pip install open_clip_torch.") from error
    return getattr(open_clip, constant)
