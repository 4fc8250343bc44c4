"""ARO's Visual Genome Attribution: the paved road and the white house, or the white road and the paved house?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.aro_relation import visual_genome


@READERS.register("aro_attribution")
class AROImageAttribution:
    """``visual_genome_attribution.json`` and ``images/``; the pictures are cut to the box of both objects.

    Categories are pairs of attributes, in the order of the file.  The paper's number is ``text macro`` with
    ``min_count: 25``.

    Source: Yuksekgonul et al. 2023, arXiv:2210.01936.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the json
        images: str = "images"  # folder of the pictures below root

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the items."""
        return visual_genome(
            self.config.root / "visual_genome_attribution.json", self.config.root / self.config.images,
            name="ARO attribution", category=_attributes,
        )  # fmt: skip


def _attributes(row: dict[str, Any], where: str) -> str:
    found = row.get("attributes")
    if not isinstance(found, list) or len(found) != 2:
        raise ConfigError(f"{where}: expected two 'attributes', got {found!r}.")
    return f"{found[0]}_{found[1]}"
