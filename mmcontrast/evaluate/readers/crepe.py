"""CREPE: a caption of a region of a picture among hard negatives made of its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, read_table
from mmcontrast.evaluate.readers.choices import Asking, box_of, cropped, media_folder, number_of, text_of
from mmcontrast.evaluate.readers.rows import literal_list

COLUMNS = ("image_id", "caption", "x", "y", "width", "height")
NEGATIVES = ("valid_hard_negs_atom", "valid_hard_negs_comp", "valid_hard_negs_combined", "hard_negs")


@READERS.register("crepe")
class CREPE:
    """All csv files below a folder: productivity (``hard_negs``) or systematicity (``valid_hard_negs_KIND``).

    Categories are ``FILE`` (productivity, which names kind and complexity) or ``FILE KIND``.  The paper reports
    recall at 1 over the caption and its negatives: ``recall: [1, 3, 5, 10]``.  Systematicity is meaningful only for
    models trained on the corpus that a file names.

    Source: Ma et al. 2023, arXiv:2212.07796; no licence is given.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the csv files, or one above them
        images: str = "VG_100K"  # folder of Visual Genome's pictures below root or beside it; also VG_100K_2

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the items of every file."""
        root = existing(self.config.root, what="CREPE")
        asking = Asking("CREPE", modality="image")
        paths = sorted(root.rglob("*.csv"))
        if not paths:
            raise MissingData(f"CREPE: expected csv files with hard negatives below '{root}'.")
        for path in paths:
            rows = read_table(path, COLUMNS)
            kinds = [name for name in NEGATIVES if rows and name in rows[0]]
            if not kinds:
                raise ConfigError(f"'{path}' has no column of hard negatives: {', '.join(NEGATIVES)}.")
            for number, row in enumerate(rows):
                for kind in kinds:
                    self._ask(asking, path, number, row, kind)
        return asking.listed()

    def _ask(self, asking: Asking, path: Path, number: int, row: dict[str, Any], kind: str) -> None:
        where = f"'{path}' line {number + 2}"
        picture = str(number_of(row, "image_id", where=where))
        box = box_of(row, ("x", "y", "width", "height"), where=where)
        key = f"{picture} {' '.join(map(str, box))}"
        context = asking.made(
            key, cropped(self._place(picture), box, key=key), extension="png",
            info={"picture": picture, "box": list(box)},
        )  # fmt: skip
        wrong = literal_list(row[kind], where=where)
        if not wrong:
            return  # the published code cannot ask it either
        name = path.stem if kind == "hard_negs" else f"{path.stem} {kind.rsplit('_', 1)[-1]}"
        texts = [text_of(row, "caption", where=where), *wrong]
        asking.ask(f"{name} {number}", category=name, contexts=[context], texts=texts, right=[[0]], cluster=picture)

    def _place(self, picture: str) -> Path:
        root, name = self.config.root, self.config.images
        folders = [media_folder(root, each, f"../{each}") for each in (name, f"{name}_2")]
        return next((each / f"{picture}.jpg" for each in folders if (each / f"{picture}.jpg").is_file()),
                    folders[0] / f"{picture}.jpg")  # fmt: skip
