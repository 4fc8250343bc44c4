"""Graded relevance: a table of query, product and how well they fit, as GCL's sets have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_json, read_table

Grades = dict[str, dict[str, float]]  # query -> product -> relevance


@READERS.register("judgements")
class Judgements:
    """One line a judgement; products are told apart by ``product``, and have a picture, a text, or both.

    The pool is the table's products, or those of ``corpus`` (``corpus_2.json``: product -> its columns), which is
    what the published numbers of GCL search in.  ``truth`` (``query_1_product_id_1_gt_test.json``: query -> product ->
    relevance) replaces the table's relevance and chooses the queries.

    Source: Zhu et al. 2024, arXiv:2404.08535 (Marqo-GS-10M's columns are the defaults).
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path = Path(".")  # folder of the table and the pictures
        file: str = "query_1_product_id_1.csv"  # .csv or .tsv below root
        query: str = "query"  # column of the query's text
        query_key: str | None = None  # column that tells queries apart; null: their text
        product: str = "product_id"  # column of the product's name
        relevance: str = "score_linear"  # column of a number of at least 0; score_reciprocal is the other one
        scale: Literal["as_is", "gcl"] = "as_is"  # gcl: whole numbers from 1 to 100 over the table, as its code does
        image: str | None = "image_local"  # column of the product's picture; null: products are texts
        text: str = "title"  # column of the product's text
        corpus: str | None = None  # json below root with all products; null: those of the table
        truth: str | None = None  # json below root with the relevance; null: the table's

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the products, and the queries with their judgements."""
        config = self.config
        path = existing(config.root / config.file, what="judgements")
        rows = self._rows(path)
        products = {row[config.product]: row for row in rows} if config.corpus is None else self._corpus()
        texts = {row[config.query_key or config.query]: row[config.query] for row in rows}
        grades = _scaled(self._grades(path, rows), config.scale) if config.truth is None else self._truth(texts)
        strange = next((name for each in grades.values() for name in each if name not in products), None)
        if strange is not None:
            raise ConfigError(f"'{path}': judged product '{strange}' is not in '{config.corpus}'.")
        listed = [{"key": key, "text": texts[key], "judged": judged} for key, judged in grades.items()]
        entries = [self._entry(name, row) for name, row in products.items()]
        return Listed(path.stem, entries, queries=listed)

    def _rows(self, path: Path) -> list[dict[str, str]]:
        config = self.config
        columns: tuple[str, ...] = (config.query, config.product)
        columns += (config.relevance,) if config.truth is None else ()
        columns += (config.query_key,) if config.query_key else ()
        if config.corpus is None:
            columns += (config.text, config.image) if config.image else (config.text,)
        return read_table(path, columns, delimiter="\t" if path.suffix == ".tsv" else ",")

    def _entry(self, name: str, row: dict[str, Any]) -> Entry:
        config = self.config
        try:
            media: Any = {"image": inside(config.root, str(row[config.image]))} if config.image else {}
            return Entry(name, {"text": str(row[config.text]), "product": name}, media)
        except KeyError as error:
            raise ConfigError(f"'{config.corpus}': product '{name}' has no {error}.") from error

    def _corpus(self) -> dict[str, dict[str, Any]]:
        path = existing(self.config.root / self.config.corpus, what="the products")
        return {str(name): row for name, row in read_json(path, dict).items()}

    def _grades(self, path: Path, rows: list[dict[str, str]]) -> Grades:
        config, grades = self.config, Grades()
        for number, row in enumerate(rows, 2):
            try:
                judged = float(row[config.relevance])
            except ValueError as error:
                raise ConfigError(
                    f"'{path}' line {number}: relevance '{row[config.relevance]}' is no number."
                ) from error
            if not judged >= 0:
                raise ConfigError(f"'{path}' line {number}: relevance {judged} is not at least 0.")
            grades.setdefault(row[config.query_key or config.query], {})[row[config.product]] = judged
        return grades

    def _truth(self, texts: dict[str, str]) -> Grades:
        path = existing(self.config.root / self.config.truth, what="the relevance")
        grades = read_json(path, dict)
        unknown = next((key for key in grades if key not in texts), None)
        if unknown is not None:
            raise ConfigError(f"'{path}': query '{unknown}' is not in the table: set query_key to its column.")
        try:
            return {key: {str(name): float(grade) for name, grade in each.items()} for key, each in grades.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"'{path}' should hold query -> product -> number: {error}.") from error


def _scaled(grades: Grades, scale: str) -> Grades:
    """Relevance in whole numbers from 1 to 100, cut off rather than rounded."""
    if scale == "as_is":
        return grades
    everything = [grade for each in grades.values() for grade in each.values()]
    low, wide = min(everything), max(everything) - min(everything)
    if wide == 0:  # one grade alone says no more than right or wrong
        return {key: dict.fromkeys(each, 1.0) for key, each in grades.items()}
    return {
        key: {name: float(int((grade - low) / wide * 99 + 1)) for name, grade in each.items()}
        for key, each in grades.items()
    }
