"""Graded relevance: a table of query, product and how well they fit, as GCL's sets have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_table


@READERS.register("judgements")
class Judgements:
    """One line a judgement; products are told apart by ``product``, and have a picture, a text, or both.

    Source: Zhu et al. 2024, arXiv:2404.08535 (Marqo-GS-10M's columns are the defaults).
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path = Path(".")  # folder of the table and the pictures
        file: str = "query_1_product_id_1.csv"  # .csv or .tsv below root
        query: str = "query"  # column of the query's text
        product: str = "product_id"  # column of the product's name
        relevance: str = "score_linear"  # column of a number of at least 0
        image: str | None = "image_local"  # column of the product's picture; null: products are texts
        text: str = "title"  # column of the product's text

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the products, and the queries with their judgements."""
        config = self.config
        path = existing(config.root / config.file, what="judgements")
        columns = (config.query, config.product, config.relevance, config.text)
        columns += (config.image,) if config.image else ()
        products: dict[str, Entry] = {}
        queries: dict[str, dict[str, float]] = {}
        for number, row in enumerate(read_table(path, columns, delimiter="\t" if path.suffix == ".tsv" else ","), 2):
            name = row[config.product]
            media: dict[str, Any] = {"image": inside(config.root, row[config.image])} if config.image else {}
            products.setdefault(name, Entry(name, {"text": row[config.text], "product": name}, media))
            try:
                judged = float(row[config.relevance])
            except ValueError as error:
                raise ConfigError(
                    f"'{path}' line {number}: relevance '{row[config.relevance]}' is no number."
                ) from error
            if not judged >= 0:
                raise ConfigError(f"'{path}' line {number}: relevance {judged} is not at least 0.")
            queries.setdefault(row[config.query], {})[name] = judged
        listed = [{"key": text, "text": text, "judged": judged} for text, judged in queries.items()]
        return Listed(path.stem, list(products.values()), queries=listed)
