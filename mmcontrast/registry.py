"""Named components.  A registry imports its package on the first lookup, so there is no list to edit."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

from mmcontrast.errors import ConfigError, did_you_mean

C = TypeVar("C", bound=type)


class Registry:
    """Classes of one kind by name; each class carries a nested ``Config`` (see :mod:`mmcontrast.config`)."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind  # singular, as error messages say it: "objective"
        self._package = package
        self._classes: dict[str, type] = {}
        self._aliases: dict[str, str] = {}
        self._discovered = False

    def register(self, name: str, *aliases: str) -> Callable[[C], C]:
        """Register the decorated class under ``name``; its ``Config`` learns the name as ``type``."""

        def add(cls: C) -> C:
            assert "Config" in vars(cls), f"{cls.__name__} needs a Config of its own"
            for each in (name, *aliases):
                assert each not in self._classes and each not in self._aliases, f"{self.kind} '{each}' exists"
            self._classes[name] = cls
            self._aliases.update(dict.fromkeys(aliases, name))
            vars(cls)["Config"].registry_name = name
            return cls

        return add

    def discover(self) -> None:
        """Import every module of the registry's package, once."""
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__, prefix=f"{self._package}."):
            importlib.import_module(module.name)

    def names(self) -> list[str]:
        """Every registered name, sorted, without aliases."""
        self.discover()
        return sorted(self._classes)

    def get(self, name: str) -> Any:
        """Return the class registered under a name or alias.

        Raises:
            ConfigError: no such name; the message lists the known ones and suggests the closest.
        """
        self.discover()
        name = self._aliases.get(name, name)
        if name not in self._classes:
            known = [*self._classes, *self._aliases]
            raise ConfigError(
                f"no {self.kind} is named '{name}'.{did_you_mean(name, known)} Known: {', '.join(self.names())}."
            )
        return self._classes[name]

    def build(self, config: Any, **runtime: Any) -> Any:
        """Build the component that a parsed ``Config`` instance describes."""
        return self.get(config.registry_name)(config, **runtime)
