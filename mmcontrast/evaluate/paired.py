"""Rows of a source that have every modality, with their embeddings: one row, several points of the shared space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.bench import Bench, Rows

POINTS = 150  # rows drawn in the report


@dataclass(frozen=True)
class PairedRows:
    """Row k of every modality belongs together."""

    z: dict[str, dict[str, Tensor]]  # modality -> encoder -> (N, D)
    keys: list[str]
    captions: list[str]  # empty where the source has none and text is not asked for
    missing: list[str]

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.keys)

    def scatter(self) -> list[dict[str, Any]]:
        """Points of the first rows in two dimensions, for the report."""
        size = min(self.count, POINTS)
        trained = {name: each["trained"][:size] for name, each in self.z.items()}
        points = two_dimensions(torch.cat(list(trained.values()))).split(size)
        return [
            {
                "modality": name,
                "row": row,
                "x": round(float(point[0]), 4),
                "y": round(float(point[1]), 4),
                "label": self.captions[row] if self.captions else "",
            }
            for name, part in zip(trained, points, strict=True)
            for row, point in enumerate(part)
        ]


def paired_rows(bench: Bench, config: Any) -> PairedRows:
    """Embed every modality of ``config.modalities`` and keep the rows that have all of them.

    Raises:
        ConfigError: text alone, or rows without the caption's field.
    """
    media = {name: bench.media(config.source, config.where, name) for name in config.modalities if name != "text"}
    if not media:
        raise ConfigError(f"{config.registry_name} needs an image or an audio modality.")
    shared = set.intersection(*({item.position for item in rows.items} for rows, _ in media.values()))
    some: Rows = next(iter(media.values()))[0]
    kept = [item for item in some.items if item.position in shared]
    z: dict[str, dict[str, Tensor]] = {}
    captions = [str(item.info[config.caption_field]) for item in kept if config.caption_field in item.info]
    for name in config.modalities:
        if name == "text":
            if len(captions) != len(kept):
                raise ConfigError(f"'{config.source}' has rows without a field '{config.caption_field}'.")
            z[name] = bench.texts(captions)
            continue
        rows, points = media[name]
        mask = torch.tensor([item.position in shared for item in rows.items])
        z[name] = {who: each[mask] for who, each in points.items()}
    missing = list(dict.fromkeys(message for rows, _ in media.values() for message in rows.missing))
    return PairedRows(z, [item.key for item in kept], captions, missing)


def two_dimensions(z: Float[Tensor, "B D"]) -> Float[Tensor, "B 2"]:
    """Coordinates along the two directions of most variance, each with a fixed sign."""
    centred = (z - z.mean(dim=0)).double()
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    signs = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True)).sign()
    return (centred @ (directions * signs)[:2].T).float()
