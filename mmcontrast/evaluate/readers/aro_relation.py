"""ARO's Visual Genome Relation: does the horse eat the grass, or the grass the horse?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_json
from mmcontrast.evaluate.readers.choices import Asking, box_of, cropped, text_of

LICENCE = "annotations MIT, pictures of GQA and Visual Genome"


@READERS.register("aro_relation")
class AROImageRelation:
    """``visual_genome_relation.json`` and ``images/``; the pictures are cut to the box of both objects.

    The false caption stands first, as in the published code; categories are relations.  The paper's number is
    ``text macro`` with ``exclude: aro_symmetric``.

    Source: Yuksekgonul et al. 2023, arXiv:2210.01936; the list is that of their notebook.
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
            self.config.root / "visual_genome_relation.json", self.config.root / self.config.images,
            name="ARO relation", category=lambda row, where: text_of(row, "relation_name", where=where),
        )  # fmt: skip


def visual_genome(
    path: Path, images: Path, *, name: str, category: Callable[[dict[str, Any], str], str]
) -> Collection:
    """Both sets of ARO on Visual Genome: boxes of pictures with a false and a true caption.

    Args:
        category: of a row; is given where it stands, for its message.

    Raises:
        ConfigError: a row lacks a field.
    """
    asking = Asking(name, modality="image", licence=LICENCE)
    for number, row in enumerate(read_json(existing(path, what=name), list)):
        where = f"'{path}' item {number}"
        if not isinstance(row, dict):
            raise ConfigError(f"{where}: expected a map.")
        picture = text_of(row, "image_path", where=where)
        box = box_of(row, ("bbox_x", "bbox_y", "bbox_w", "bbox_h"), where=where)
        key = f"{picture} {' '.join(map(str, box))}"
        place = inside(images, picture)
        context = asking.made(
            key, cropped(place, box, key=key), extension="png", info={"picture": picture, "box": list(box)},
        )  # fmt: skip
        captions = [text_of(row, field, where=where) for field in ("false_caption", "true_caption")]
        asking.ask(
            f"{number}", category=category(row, where), contexts=[context], texts=captions, right=[[1]],
            cluster=picture,
        )  # fmt: skip
    return asking.listed()
