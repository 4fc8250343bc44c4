"""An index's folder: what lies in it, and what it says of itself.

``index.json`` tells how it was made; ``rows.arrow`` names the rows; each modality has its points (``image.npy``), the
rows that they belong to (``image.rows.npy``) and the faiss index over them (``image.faiss``); ``words/`` is the BM25
index of the rows' texts; ``sha256.json`` holds the digest of every file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch

from mmcontrast.config import OneOf, config, parse
from mmcontrast.errors import ConfigError, SearchError
from mmcontrast.exported.folder import HASHES, verify
from mmcontrast.geometry import GEOMETRIES
from mmcontrast.geometry.base import Geometry

ABOUT = "index.json"
ROWS = "rows.arrow"
WORDS = "words"
PACKAGES = ("faiss", "pyarrow", "bm25s")  # that an index needs
FORMAT, VERSION = "mmcontrast index", 1


@dataclass(frozen=True, kw_only=True)
class ModalityAbout:
    """One modality's share of an index."""

    points: int
    width: int  # asked of faiss: efSearch of hnsw, nprobe of ivf; 0 for exact
    recall: float  # of the 10 nearest, beside the exact answer, as measured when it was built
    asked_with: str  # modality of the points that it was measured with


@dataclass(frozen=True, kw_only=True)
class IndexAbout:
    """What an index says of itself."""

    kind: str  # exact, hnsw or ivf
    dtype: str  # of what faiss compares: fp32, fp16 or int8
    dim: int  # coordinates of a point
    rows: int
    geometry: dict[str, Any]
    geometry_state: dict[str, list[float]]
    model: str  # where it was when the rows were embedded
    towers: dict[str, str]  # digest of each modality's tower
    sources: list[dict[str, Any]]
    text_field: str | None
    has_words: bool  # whether the rows' texts can be searched by BM25
    modalities: dict[str, ModalityAbout] = field(default_factory=dict)


@config
class _Space:
    geometry: Annotated[Any, OneOf(GEOMETRIES)]  # where the points live


def geometry_of(fields: dict[str, Any], state: dict[str, list[float]], *, where: str) -> Geometry:
    """Build the geometry that points were made with.

    Raises:
        ConfigError: no such geometry.
    """
    built: Geometry = GEOMETRIES.build(parse(_Space, {"geometry": fields}, where=where).geometry)
    built.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    return built.requires_grad_(False)


def write_about(folder: Path, about: IndexAbout) -> None:
    """Write ``index.json``."""
    tree = {"format": FORMAT, "version": VERSION, **asdict(about)}
    (folder / ABOUT).write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_about(folder: Path) -> IndexAbout:
    """Check every file of an index against its digest, and read what it says of itself.

    Raises:
        SearchError: there is none; or it is damaged, or of another version.
    """
    if not (folder / ABOUT).is_file() and not (folder / HASHES).is_file():
        raise SearchError(f"'{folder}' is no index: it has no {ABOUT}. Write one: mmcontrast index EMBEDDINGS --out.")
    problem = verify(folder)
    if problem is not None:
        raise SearchError(f"index '{folder}': {problem}. Index again, or copy it again.")
    try:
        tree = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        found = (tree.pop("format"), tree.pop("version"))
        if found != (FORMAT, VERSION):
            raise SearchError(f"'{folder}/{ABOUT}' is {found[0]} version {found[1]}; this reads {FORMAT} {VERSION}.")
        modalities = {name: ModalityAbout(**each) for name, each in tree.pop("modalities").items()}
        return IndexAbout(modalities=modalities, **tree)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise SearchError(f"index '{folder}': {ABOUT} does not read: {error!r}. Index again.") from error
