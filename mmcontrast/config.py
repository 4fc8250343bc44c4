"""Typed configs: YAML with ``extends``, dotted overrides, every error at once, and back to YAML.

Configs are frozen keyword-only dataclasses made with ``@config``.  Leaf values are checked by pydantic (strictly:
a string is no number); maps, nested configs and registered components are walked here, so that each problem is
reported with its dotted path and a suggestion.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform

import yaml
from annotated_types import Ge, Gt, Le
from pydantic import TypeAdapter, ValidationError

from mmcontrast.errors import ConfigError, did_you_mean
from mmcontrast.registry import Registry

T = TypeVar("T")

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Gt(0)]
NonNegativeCount = Annotated[int, Ge(0)]


@dataclasses.dataclass(frozen=True)
class OneOf:
    """Annotation of a field that holds a registered component: ``Annotated[Any, OneOf(OBJECTIVES)]``."""

    registry: Registry
    default: str | None = None  # the component that a map without a type describes; none: the type is required


@dataclass_transform(kw_only_default=True, frozen_default=True)
def config(cls: type[T]) -> type[T]:
    """Turn a class into a frozen, keyword-only dataclass that :func:`load` can fill from YAML."""
    for name in vars(cls).get("__annotations__", {}):
        default = vars(cls).get(name)
        if isinstance(default, dict):  # each instance gets a copy of its own
            setattr(cls, name, dataclasses.field(default_factory=partial(dict, default)))
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    made.__is_config__ = True  # type: ignore[attr-defined]
    return made


# ------------------------------------------------------------------ reading


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: 5e-4 is a float; yes, no, on and off are strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith((":bool", ":float", ":timestamp"))]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$", re.I), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.inf|\.nan)$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, *, where: str) -> Any:
    """Parse one YAML document.

    Raises:
        ConfigError: not YAML; names the place.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader subclass)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {error}") from error


def read_tree(path: Path, _seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a YAML file into a plain tree, with its ``extends`` chain merged underneath it."""
    path = Path(path)
    if not path.is_file():
        near = [other.name for other in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        raise ConfigError(f"no config file at '{path}'.{did_you_mean(path.name, near)}")
    if path.resolve() in _seen:
        raise ConfigError(f"'{path}' extends itself.")
    tree = parse_yaml(path.read_text(encoding="utf-8"), where=f"'{path}'") or {}
    if not isinstance(tree, dict):
        raise ConfigError(f"'{path}' should hold a map of fields, not a {type(tree).__name__}.")
    parents = tree.pop("extends", [])
    merged: dict[str, Any] = {}
    for parent in [parents] if isinstance(parents, str) else parents:
        merged = merge(merged, read_tree(path.parent / parent, (*_seen, path.resolve())))
    return merge(merged, tree)


def merge(base: Any, over: Any) -> Any:
    """Merge maps key by key; anything else is replaced.  A component whose ``type`` changes is replaced whole."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    if "type" in over and over["type"] != base.get("type"):
        return over
    result = dict(base)
    for key, value in over.items():
        result[key] = merge(base[key], value) if key in base else value
    return result


def apply_overrides(tree: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Apply ``a.b.c=value`` strings, in order; values are YAML."""
    problems = []
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not re.fullmatch(r"[\w.\-]+", path):
            problems.append(f"'{override}' is not an override. Expected dotted.path=value, as in optim.lr=1e-3.")
            continue
        value = parse_yaml(text, where=f"the value of '{path}'")
        branch: Any = value
        for key in reversed(path.split(".")):
            branch = {key: branch}
        tree = merge(tree, branch)
    if problems:
        raise ConfigError("\n".join(problems))
    return tree


def load(cls: type[T], path: Path, overrides: list[str] | None = None) -> T:
    """Read, override and check a config file.

    Raises:
        ConfigError: every problem of the whole tree, one a line.
    """
    tree = apply_overrides(read_tree(path), overrides or [])
    return parse(cls, tree, where=str(path))


def parse(cls: type[T], tree: Any, *, where: str = "config") -> T:
    """Turn a plain tree into a ``cls``, reporting every problem at once."""
    problems: list[str] = []
    result = _parse_config(cls, tree, "", problems)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ConfigError(f"{where}: {count}\n" + "\n".join(f"  {line}" for line in problems))
    return typing.cast(T, result)


# ------------------------------------------------------------------ walking


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else str(key)


def _parse_config(cls: type, tree: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(tree, dict):
        problems.append(f"{path or 'config'}: expected a map of fields, got {_say(tree)}.")
        return None
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    values = {}
    before = len(problems)
    for key, value in tree.items():
        if key not in fields:
            problems.append(f"{_join(path, key)}: no such key.{did_you_mean(str(key), fields)}")
        else:
            values[key] = _parse_value(hints[key], value, _join(path, key), problems)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in tree:
            problems.append(f"{_join(path, name)}: required, but missing.")
    if len(problems) > before:
        return None
    try:
        return cls(**values)
    except ValueError as error:  # a config's own __post_init__: several fields that do not fit together
        problems.append(f"{path or 'config'}: {error}")
        return None


def _parse_component(choice: OneOf, tree: Any, path: str, problems: list[str]) -> Any:
    registry = choice.registry
    if isinstance(tree, str):
        tree = {"type": tree}
    if isinstance(tree, dict) and choice.default is not None:
        tree = {"type": choice.default, **tree}
    if not isinstance(tree, dict) or "type" not in tree:
        problems.append(f"{path}: expected a map with 'type: NAME' ({registry.kind}), got {_say(tree)}.")
        return None
    try:
        cls = registry.get(str(tree["type"]))
    except ConfigError as error:
        problems.append(f"{path}.type: {error}")
        return None
    rest = {key: value for key, value in tree.items() if key != "type"}
    return _parse_config(cls.Config, rest, path, problems)


def _parse_value(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    optional, hint = _strip_optional(hint)
    if value is None and optional:
        return None
    choice = _choice_of(hint)
    if choice is not None:
        return _parse_component(choice, value, path, problems)
    if _is_config(hint):
        return _parse_config(hint, value, path, problems)
    if typing.get_origin(hint) is dict:
        return _parse_map(typing.get_args(hint)[1], value, path, problems)
    try:
        return TypeAdapter(hint).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        inner = "".join(f"[{part}]" for part in first["loc"] if not isinstance(part, str))
        problems.append(f"{path}{inner}: {_reword(first['msg'])}, got {_say(value)}.")
        return None


def _parse_map(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, dict):
        problems.append(f"{path}: expected a map of names, got {_say(value)}.")
        return {}
    return {
        str(key): _parse_value(hint, item, _join(path, str(key)), problems)
        for key, item in value.items()
        if item is not None  # null removes an inherited entry
    }


def _strip_optional(hint: Any) -> tuple[bool, Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        arms = [arm for arm in typing.get_args(hint) if arm is not type(None)]
        if len(arms) < len(typing.get_args(hint)) and len(arms) == 1:
            return True, arms[0]
    return False, hint


def _choice_of(hint: Any) -> OneOf | None:
    if typing.get_origin(hint) is Annotated:
        return next((note for note in typing.get_args(hint)[1:] if isinstance(note, OneOf)), None)
    return None


def _is_config(hint: Any) -> bool:
    return bool(getattr(hint, "__is_config__", False))


def _reword(message: str) -> str:
    message = message.replace("Input should be", "expected").replace("a valid ", "a ")
    return message[0].lower() + message[1:]


def _say(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# ------------------------------------------------------------------ writing


def to_tree(value: Any) -> Any:
    """Turn a config into plain maps, lists and scalars that :func:`parse` reads back to an equal config."""
    if _is_config(type(value)):
        name = getattr(value, "registry_name", None)
        tree = {} if name is None else {"type": name}
        return tree | {field.name: to_tree(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_tree(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_tree(item) for item in value]
    return str(value) if isinstance(value, Path) else value


class _Dumper(yaml.SafeDumper):
    """Writes floats so that every YAML reader sees a float, and quotes nothing needlessly."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(float, _represent_float)


def dump(value: Any) -> str:
    """Return the full resolved tree as YAML, loadable again."""
    return yaml.dump(to_tree(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def flatten(tree: Any, path: str = "") -> dict[str, Any]:
    """Return ``{"a.b.c": leaf}`` of a plain tree, for goldens and differences."""
    if isinstance(tree, dict) and tree:
        result: dict[str, Any] = {}
        for key, value in tree.items():
            result |= flatten(value, _join(path, str(key)))
        return result
    return {path: tree}
