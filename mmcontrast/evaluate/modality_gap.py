"""How far apart the modalities lie in the shared space."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Evaluator, Metric, Report
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.metrics.health import alignment, gap, uniformity

POINTS = 150  # rows drawn in the report


@EVALUATORS.register("modality_gap")
class ModalityGap(Evaluator):
    """Distance between the means of two modalities' embeddings, with alignment and uniformity.

    Distances are those of the coordinates, so numbers of different geometries do not compare.  A gap is neither good
    nor bad by itself; it says why scores of different pairs of modalities cannot share a threshold.

    Source: Liang et al. 2022, arXiv:2203.02053, section 2 (gap); Wang and Isola 2020, arXiv:2005.10242, equations 1
    and 2 (alignment with exponent 2, uniformity with t = 2).
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # manifest folder, or package:NAME
        modalities: tuple[str, ...] = ("image", "audio", "text")  # columns of the source
        caption_field: str = "caption"  # JSON field of the captions
        where: dict[str, str] = {}  # keep rows whose JSON field has this value
        title: str = ""  # heading in reports

        def __post_init__(self) -> None:
            if len(set(self.modalities)) < 2:
                raise ValueError("modalities: a gap needs two.")

    @classmethod
    def modalities(cls, config: Any) -> tuple[str, ...]:
        """What the model must be able to encode."""
        return tuple(config.modalities)

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return tuple(f"gap {a}-{b}" for a, b in combinations(config.modalities, 2))

    def run(self, bench: Bench) -> Report:
        """Measure the rows that have every modality."""
        config = self.config
        media = {name: bench.media(config.source, config.where, name) for name in config.modalities if name != "text"}
        if not media:
            raise ConfigError("modality_gap needs an image or an audio modality.")
        shared = set.intersection(*({item.position for item in rows.items} for rows, _ in media.values()))
        z: dict[str, dict[str, Tensor]] = {}  # modality -> encoder -> (N, D)
        some: Rows = next(iter(media.values()))[0]
        kept = [item for item in some.items if item.position in shared]
        for name, (rows, points) in media.items():
            mask = torch.tensor([item.position in shared for item in rows.items])
            z[name] = {who: each[mask] for who, each in points.items()}
        captions = [str(item.info[config.caption_field]) for item in kept if config.caption_field in item.info]
        if "text" in config.modalities:
            if len(captions) != len(kept):
                raise ConfigError(f"'{config.source}' has rows without a field '{config.caption_field}'.")
            z["text"] = bench.texts(captions)
        return self.report(
            metrics={
                f"gap {a}-{b}": Metric(
                    value=gap(z[a]["trained"], z[b]["trained"]),
                    count=len(kept),
                    controls={who: gap(z[a][who], z[b][who]) for who in bench.encoders if who != "trained"},
                    unit="number",
                )
                for a, b in combinations(config.modalities, 2)
            },
            primary=self.metric_names(config)[0],
            num_rows=len(kept),
            missing=list(dict.fromkeys(message for rows, _ in media.values() for message in rows.missing)),
            facts={
                f"alignment {a}-{b}": alignment(z[a]["trained"], z[b]["trained"])
                for a, b in combinations(config.modalities, 2)
            }
            | {f"uniformity {name}": uniformity(z[name]["trained"]) for name in config.modalities},
            scatter=_scatter({name: z[name]["trained"] for name in config.modalities}, captions),
        )


def two_dimensions(z: Float[Tensor, "B D"]) -> Float[Tensor, "B 2"]:
    """Coordinates along the two directions of most variance, each with a fixed sign."""
    centred = (z - z.mean(dim=0)).double()
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    signs = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True)).sign()
    return (centred @ (directions * signs)[:2].T).float()


def _scatter(z: dict[str, Tensor], captions: list[str]) -> list[dict[str, Any]]:
    size = min(len(next(iter(z.values()))), POINTS)
    points = two_dimensions(torch.cat([each[:size] for each in z.values()])).split(size)
    return [
        {
            "modality": name,
            "row": row,
            "x": round(float(point[0]), 4),
            "y": round(float(point[1]), 4),
            "label": captions[row] if captions else "",
        }
        for name, part in zip(z, points, strict=True)
        for row, point in enumerate(part)
    ]
