"""Which thing of several an embedding is nearest to: the one named first, the one drawn large."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mmcontrast.config import Count, NonNegativeCount, config
from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Evaluator, Example, Metric, Report, constant_like, proportion, spread_out
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.classifier import class_means

FOUND = "found"  # the metric of all places together


@EVALUATORS.register("object_bias")
class ObjectBias(Evaluator):
    """Share of scenes whose nearest single object is the scene's first, second, ...; ``found``: any of them.

    Scenes are rows with a list of ``objects``, single objects rows with an ``object``, as the reader ``comco`` gives.
    An image is compared with the images of single objects (IOR), a caption of the objects, joined by ``join``, with
    their names (TOR).  As in the published tables the places' shares are of the scenes of which any object is found.
    With ``rotate``, the default, a caption is asked once with each of its objects first, so that no object stands in
    one place more often than another; without it, once in the order of the files' names, as published, where a name's
    place in the alphabet is its place in captions.

    Source: Abbasi et al. 2025, arXiv:2502.19842, section 2.2.
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # comco:FOLDER, or another source with these fields
        modality: Literal["image", "text"] = "text"  # image: IOR; text: TOR
        places: Count = 4  # objects of a scene; others are left out and counted
        join: str = " and "  # between the objects of a caption
        prompts: tuple[str, ...] = ("{}",)  # {} is the caption, or one object's name
        rotate: bool = True  # captions with each object first
        examples: NonNegativeCount = 6  # scenes shown in reports
        title: str = ""  # heading in reports

        def __post_init__(self) -> None:
            if not self.prompts or any("{}" not in each for each in self.prompts):
                raise ValueError("prompts: give at least one, each with a {}.")

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return (*(f"place {number + 1}" for number in range(config.places)), FOUND)

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        config = self.config
        rows = (
            bench.rows(config.source, {}) if config.modality == "text" else bench.media(config.source, {}, "image")[0]
        )
        single = [number for number, item in enumerate(rows.items) if "object" in item.info]
        place = {rows.items[number].info["object"]: column for column, number in enumerate(single)}
        scenes, missing = _scenes(rows, config.places, place)
        asked = [
            (scene, objects[turn:] + objects[:turn])
            for scene, objects in scenes
            for turn in range(len(objects) if config.modality == "text" and config.rotate else 1)
        ]
        columns = torch.tensor([[place[name] for name in objects] for _, objects in asked])
        points = self._points(bench, asked, single, list(place))

        def hits(who: str, scene_z: Tensor, single_z: Tensor) -> Bool[Tensor, "Q P"]:
            return nearest(bench.similarity(who)(scene_z, single_z).float(), columns)

        found = {who: hits(who, *each) for who, each in points.items()}
        found["constant"] = hits("trained", *(constant_like(each) for each in points["trained"]))
        clusters = torch.tensor([scene for scene, _ in asked])
        if not found["trained"].any():
            raise MissingData(f"'{rows.source}': of no scene is the nearest single object one of its own.")
        return self.report(
            metrics=self._metrics(found, clusters, pool=len(place)),
            num_rows=len(asked),
            missing=[*rows.missing, *missing],
            facts={"scenes": len(scenes), "pool": len(place), "prompts": list(config.prompts)},
            gallery=_gallery(rows, asked, found["trained"], config),
        )

    def _points(
        self, bench: Bench, asked: list[tuple[int, list[str]]], single: list[int], names: list[str]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Embeddings of scenes and of single objects, for each encoder."""
        if self.config.modality == "image":
            _, z = bench.media(self.config.source, {}, "image")
            chosen = [scene for scene, _ in asked]
            return {who: (each[chosen], each[single]) for who, each in z.items()}
        texts = [*(self.config.join.join(objects) for _, objects in asked), *names]
        prompts = self.config.prompts
        z = bench.texts([prompt.replace("{}", text) for text in texts for prompt in prompts])
        result = {}
        for who, each in z.items():
            mean = class_means(each, [len(prompts)] * len(texts), bench.encoders[who].geometry)
            result[who] = (mean[: len(asked)], mean[len(asked) :])
        return result

    def _metrics(self, found: dict[str, Bool[Tensor, "Q P"]], clusters: Tensor, *, pool: int) -> dict[str, Metric]:
        any_place = {who: each.any(1) for who, each in found.items()}
        of_found = any_place["trained"]
        metrics = {}
        for number, name in enumerate(self.metric_names(self.config)[:-1]):
            controls = {
                who: float(each[any_place[who], number].double().mean())
                for who, each in found.items()
                if who != "trained" and any_place[who].any()
            }
            metrics[name] = proportion(
                found["trained"][of_found, number].float(),
                clusters=clusters[of_found],
                chance=1 / self.config.places,
                controls=controls,
            )
        controls = {who: float(each.double().mean()) for who, each in any_place.items() if who != "trained"}
        chance = min(1.0, self.config.places / pool)
        metrics[FOUND] = proportion(of_found.float(), clusters=clusters, chance=chance, controls=controls)
        return metrics


def nearest(scores: Tensor, columns: Int[Tensor, "Q P"]) -> Bool[Tensor, "Q P"]:
    """Whether each of a scene's objects is strictly nearer than every other single object.

    Args:
        scores: similarity of scenes and single objects (Q, N).
        columns: the scene's objects among the N.
    """
    best, second = scores.topk(2, dim=1).values.unbind(1)
    return (scores.gather(1, columns) == best[:, None]) & (best > second)[:, None]


def _scenes(rows: Rows, places: int, known: dict[str, int]) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Rows with as many objects as asked for, all of them known; and what was left out.

    Raises:
        ConfigError: there are no scenes, or fewer than two single objects.
    """
    kept, missing, seen = [], [], False
    for number, item in enumerate(rows.items):
        objects = item.info.get("objects")
        if not isinstance(objects, list):
            continue
        seen = True
        unknown = [name for name in objects if name not in known]
        if len(objects) != places or len(set(objects)) != places or unknown:
            why = f"no single object {unknown[0]}" if unknown else f"{len(objects)} objects, places is {places}"
            missing.append(f"{item.key}: {why}")
        else:
            kept.append((number, list(objects)))
    if not seen or len(known) < 2:
        raise ConfigError(
            f"'{rows.source}' has no rows with a list of 'objects', or fewer than two with an 'object': "
            "object_bias reads comco:FOLDER and what has the same fields."
        )
    if not kept:
        raise MissingData(f"no scene of '{rows.source}' can be asked; the first: {missing[0]}")
    return kept, missing


def _gallery(rows: Rows, asked: list[tuple[int, list[str]]], found: Tensor, config: Any) -> list[Example]:
    if config.modality == "text":
        return []
    examples = []
    for number in spread_out(len(asked), config.examples):
        scene, objects = asked[number]
        place = int(found[number].int().argmax()) if found[number].any() else None
        said = f"nearest: {objects[place]} (place {place + 1})" if place is not None else "nearest: none of its own"
        query = rows.shown(scene, "image", caption=f"{config.join.join(objects)}; {said}")
        examples.append(Example(query=query, answers=[], rank=0 if place is None else place + 1))
    return examples
