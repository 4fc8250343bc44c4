"""Queries that are no rows of a source: composed, graded or by analogy; each names the rows that it is about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate.bench import Rows


class Asked:
    """Queries whose rows are all there; the others are named in ``missing``."""

    def __init__(self, rows: Rows) -> None:
        """Number the rows by their keys.

        Raises:
            ConfigError: the source has rows alone.
        """
        self.place = {item.key: number for number, item in enumerate(rows.items)}
        self.missing = list(rows.missing)
        self.queries: list[dict[str, Any]] = []
        self._all, self._source = rows.collection.queries, rows.source
        if not self._all:
            raise ConfigError(
                f"'{rows.source}' lists no queries. Readers that do: cirr, fashioniq, judgements, simat, probe, "
                "and those of choices, such as sugarcrepe."
            )

    def needing(self, *fields: str) -> Asked:
        """Keep the queries whose rows, under these fields, decoded.

        Args:
            fields: of a query, each a row's key or a list of them.

        Raises:
            ConfigError: queries of another kind.
            MissingData: none is left.
        """
        for query in self._all:
            lacking = [name for name in fields if name not in query]
            if lacking:
                known = ", ".join(query)
                raise ConfigError(f"queries of '{self._source}' have no '{lacking[0]}'; they have: {known}.")
            gone = next((key for name in fields for key in _keys(query[name]) if key not in self.place), None)
            if gone is None:
                self.queries.append(query)
            else:
                self.missing.append(f"query '{query['key']}': row '{gone}' is not there, or did not decode")
        if not self.queries:
            raise MissingData(f"no query of '{self._source}' is left; the first: {self.missing[-1]}")
        return self

    def places(self, name: str) -> list[int]:
        """Row number of every query's field."""
        return [self.place[query[name]] for query in self.queries]

    def keys(self) -> list[str]:
        """Every query's own name."""
        return [query["key"] for query in self.queries]


def _keys(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
