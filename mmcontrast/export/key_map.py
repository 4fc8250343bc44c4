"""Names of weights in two layouts, as rules that are read in both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rule:
    """One name, or a family of them.

    A place ``{x}`` stands for a part of a name without dots, ``{rest}`` for any number of parts.  Places have the same
    names on both sides.
    """

    theirs: str | tuple[str, ...]  # several: ours is all of them, stacked along the first axis
    ours: str
    transposed: bool = False  # a matrix that multiplies from the other side

    @property
    def parts(self) -> tuple[str, ...]:
        """Their names, also where it is one."""
        return (self.theirs,) if isinstance(self.theirs, str) else self.theirs


def same(*names: str) -> tuple[Rule, ...]:
    """Rules for what has the same name in both layouts."""
    return tuple(Rule(name, name) for name in names)


@dataclass(frozen=True)
class Mapped:
    """A state dict under the other layout's names."""

    state: dict[str, Tensor]
    origin: dict[str, str]  # name before -> name after
    unknown: list[str]  # names that no rule reads
    incomplete: list[str]  # stacked ones of which a part is not there, by the name that they would have


@dataclass(frozen=True)
class KeyMap:
    """Rules; the first that fits a name is the one that counts."""

    rules: tuple[Rule, ...]

    def under(self, theirs: str, ours: str) -> KeyMap:
        """The same map with a prefix before every name of either side."""
        return KeyMap(
            tuple(
                replace(rule, theirs=tuple(f"{theirs}{part}" for part in rule.parts), ours=f"{ours}{rule.ours}")
                for rule in self.rules
            )
        )

    def __add__(self, other: KeyMap) -> KeyMap:
        return KeyMap((*self.rules, *other.rules))

    def to_ours(self, state: Mapping[str, Tensor]) -> Mapped:
        """Rename, transpose and stack."""
        whole: dict[str, Tensor] = {}
        origin: dict[str, str] = {}
        stacks: dict[str, tuple[Rule, dict[int, Tensor]]] = {}
        unknown = []
        for name, value in state.items():
            found = self._place(name)
            if found is None:
                unknown.append(name)
                continue
            rule, number, renamed = found
            origin[name] = renamed
            value = value.T if rule.transposed else value
            if len(rule.parts) == 1:
                whole[renamed] = value
            else:
                stacks.setdefault(renamed, (rule, {}))[1][number] = value
        incomplete = []
        for renamed, (rule, parts) in stacks.items():
            if len(parts) < len(rule.parts):
                incomplete.append(renamed)
            else:
                whole[renamed] = torch.cat([parts[number] for number in range(len(rule.parts))])
        return Mapped(whole, origin, unknown, incomplete)

    def to_theirs(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename, transpose and take apart; every name must have a rule."""
        result: dict[str, Tensor] = {}
        for name, value in state.items():
            fitting = ((rule, _match(rule.ours, name)) for rule in self.rules)
            rule, places = next(((rule, places) for rule, places in fitting if places is not None), (None, {}))
            assert rule is not None, f"no rule for '{name}'"
            value = value.T if rule.transposed else value
            names = [_filled(part, places) for part in rule.parts]
            result |= dict(zip(names, value.chunk(len(names)) if len(names) > 1 else [value], strict=True))
        return result

    def _place(self, name: str) -> tuple[Rule, int, str] | None:
        """The rule for one of their names, which of its parts that is, and our name."""
        for rule in self.rules:
            for number, part in enumerate(rule.parts):
                places = _match(part, name)
                if places is not None:
                    return rule, number, _filled(rule.ours, places)
        return None


def fits(pattern: str, name: str) -> bool:
    """Whether a name is one of a pattern's."""
    return _match(pattern, name) is not None


def first_fit(patterns: Sequence[str], name: str) -> str | None:
    """The first pattern that a name fits."""
    return next((pattern for pattern in patterns if fits(pattern, name)), None)


def _match(pattern: str, name: str) -> dict[str, str] | None:
    found = _expression(pattern).fullmatch(name)
    return None if found is None else found.groupdict()


def _filled(pattern: str, places: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda place: places[place[1]], pattern)


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    pieces = re.split(r"\{(\w+)\}", pattern)
    made = "".join(
        re.escape(piece) if number % 2 == 0 else f"(?P<{piece}>{'.+' if piece == 'rest' else '[^.]+'})"
        for number, piece in enumerate(pieces)
    )
    return re.compile(made)
