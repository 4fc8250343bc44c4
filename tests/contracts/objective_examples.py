"""Working configs of every registered objective; a name without one fails the contract tests.

A key is a registered name, or a name and a variant: ``supcon:balanced``.
"""

from __future__ import annotations

from typing import Any

from mmcontrast.geometry.gaussian import Gaussian
from mmcontrast.geometry.lorentz import Lorentz
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.tiles.tiling import TilesConfig

VIEWS = ("image", "image.view2")
TILES = TilesConfig(from_rows=0, rows=3, columns=2)


def _of(name: str, **fields: Any) -> Any:
    return OBJECTIVES.get(name).Config(**fields)


OBJECTIVE_EXAMPLES: dict[str, Any] = {
    "infonce": _of("infonce", pairs=(("image", "text"), ("audio", "text"), ("image", "audio")), group="group"),
    "infonce:tiles": _of("infonce", pairs=(("image", "text"), ("audio", "text")), group="group", tiles=TILES),
    "siglip": _of("siglip", group="group"),
    "siglip:tiles": _of("siglip", group="group", tiles=TILES),
    "affinity_distillation": _of("affinity_distillation", teacher_temperature=0.1),
    "alignment_uniformity": _of("alignment_uniformity", across=0.5),
    "barlow_twins": _of("barlow_twins"),
    "byol": _of("byol", hidden=6),
    "captioning": _of("captioning", vocabulary=11, longest=6, width=8, heads=2, layers=1),
    "captioning:sound": _of("captioning", column="audio", vocabulary=11, width=8, heads=2, layers=1, parallel=0.5),
    "catlip": _of("catlip", classes=7),
    "cluster_negatives": _of("cluster_negatives", clusters=3, begin_below=1.0, margin_weight=0.5, emphasis=2.0),
    "concept_distillation": _of("concept_distillation", classes={"nouns": 7}),
    "continual_distillation": _of("continual_distillation"),
    "contrastive_distillation": _of("contrastive_distillation"),
    "contrastive_distillation:same": _of("contrastive_distillation", keys="same", group="group"),
    "cpc": _of("cpc", width=6, ahead=2, contexts=2),
    "cpc:patches": _of("cpc", column="image", layout="patches", width=6, ahead=1, contexts=1, group="group"),
    "cross_batch_memory": _of("cross_batch_memory", queue=16, start_step=1, group="group"),
    "cyclip": _of("cyclip"),
    "dclr": _of("dclr", noise=5, threshold=0.5, temperature=0.2),
    "debiased": _of("debiased", group="group"),
    "debiased:hard": _of("debiased", hardness=0.5, prior=0.2, within=True),
    "decoupled": _of("decoupled", pair=("audio", "text"), group="group"),
    "decoupled:weighted": _of("decoupled", positives="mises_fisher", within=True),
    "diffcse": _of("diffcse", vocabulary=11, longest=6, width=8, heads=2, layers=1),
    "diht": _of("diht", alpha=0.9, beta=0.5, group="group"),
    "dino": _of("dino", crops=("image.mined",), prototypes=6),
    "entailment": _of("entailment", group="group"),
    "esimcse": _of("esimcse", positive="text.view2", queue=16, group="group"),
    "geometry_contrast": _of("geometry_contrast", group="group"),
    "energy_hinge": _of("energy_hinge", group="group"),
    "feature_distillation": _of("feature_distillation"),
    "focal": _of("focal", group="group"),
    "listwise": _of("listwise"),
    "macl": _of("macl", group="group"),
    "macl:within": _of("macl", within=True, threshold=0.2),
    "macrl": _of("macrl", patch=4, width=8, group="group"),
    "margin": _of("margin", group="group"),
    "margin:sum": _of("margin", negatives="sum"),
    "masked_language": _of("masked_language", vocabulary=11),
    "matryoshka": _of("matryoshka", objective=_of("infonce"), widths=(3, 8)),
    "mined_negatives": _of(
        "mined_negatives", negatives=("image.mined", "image.view2"), scores=("score1", "score2"), group="group"
    ),
    "momentum_contrast": _of("momentum_contrast", queue=16, group="group"),
    "momentum_contrast:hardest": _of("momentum_contrast", queue=16, hardest=3, pair=("image", "image.view2")),
    "negclip": _of("negclip", first_negatives="image.mined", group="group"),
    "passage_centric": _of("passage_centric", negative="image.mined", alpha=0.4, group="group"),
    "pixpro": _of("pixpro", inner="image.view2", dim=6, hidden=8),
    "poly_view": _of("poly_view"),
    "poly_view:arithmetic": _of("poly_view", kind="arithmetic", columns=("text", "image", "audio")),
    "poly_view:sufficient": _of("poly_view", kind="sufficient"),
    "rank_distillation": _of("rank_distillation", temperature=0.5, teacher_temperature=0.5),
    "rank_distillation:listmle": _of("rank_distillation", kind="listmle", temperature=0.5),
    "ranking_contrast": _of("ranking_contrast", weights="relative", group="group"),
    "simclr": _of("simclr", group="group"),
    "simcse": _of("simcse", negative="text.swapped"),
    "simsiam": _of("simsiam", hidden=6),
    "soft_masks": _of("soft_masks", width=8, heads=2, group="group"),
    "soft_targets": _of("soft_targets", target_temperature=0.2, group="group"),
    "soft_targets:teacher": _of("soft_targets", targets="teacher"),
    "sparse_codes": _of("sparse_codes", active=2, auxiliary=4, latents=16, dead_after=1, group="group"),
    "sparse_codes:one": _of("sparse_codes", columns=("image",), active=2, latents=16),
    "supcon": _of("supcon"),
    "supcon:balanced": _of("supcon", columns=("image", "image.view2", "text"), keys="all", balanced=True),
    "supremix": _of("supremix", columns=("image", "text"), mix_positives=2, temperature=0.2),
    "swav": _of("swav", crops=("image.mined",), prototypes=4, epsilon=0.5),
    "transformed_contrast": _of("transformed_contrast", group="group"),
    "vicreg": _of("vicreg"),
    "von_neumann_entropy": _of("von_neumann_entropy"),
    "whitening": _of("whitening", groups=2),
}

# Geometry of the examples that need another one than the sphere.
CURVED: dict[str, Any] = {"entailment": Lorentz.Config(), "geometry_contrast": Gaussian.Config()}


def registered_name(example: str) -> str:
    """The name before a variant."""
    return example.partition(":")[0]
