"""Sums of embeddings, brought back onto the model's space."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.bench import Bench


def projected(bench: Bench, who: str, total: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    """Project sums or differences of an encoder's embeddings.

    Raises:
        ConfigError: the encoder's geometry does not compare by dot products, so that sums of coordinates mean nothing.
    """
    geometry = bench.encoders[who].geometry
    if not geometry.dot_product:
        raise ConfigError(
            f"this evaluation adds embeddings, which a {type(geometry).__name__} geometry gives no meaning to; it "
            "needs a geometry of dot products, such as 'sphere'."
        )
    return geometry.project(total)
