"""Made-up rows, of the shapes that a run's loader and towers give: objectives can be tried before any data is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import normalize

from mmcontrast import comm
from mmcontrast.errors import ConfigError, NeedsError
from mmcontrast.front_ends.fusion import blank_mels
from mmcontrast.geometry import GEOMETRIES
from mmcontrast.model import Model, ModelConfig, modality_of, spaces_of
from mmcontrast.objectives.base import Objective
from mmcontrast.specs import AudioSpec, ImageSpec, InputSpec
from mmcontrast.types import Column, Embedded, Embeddings, Needs, Tokens, Values, map_values

TRIED_ROWS = 4
TokenShape = tuple[int, int]  # tokens of a row, and their width


def input_rows(spec: InputSpec, rows: int) -> Values:
    """Rows of a column as the loader would bring them, as long as it may make them."""
    if isinstance(spec, ImageSpec):
        return torch.zeros(rows, 3, spec.size, spec.size, dtype=torch.uint8)
    if isinstance(spec, AudioSpec):
        if spec.fusion is not None:
            return blank_mels(spec.fusion, rows=rows, samples=spec.samples)
        return torch.zeros(rows, spec.samples)
    return torch.ones(rows, spec.context_length, dtype=torch.int64)


def without_memory(model: Model) -> FakeTensorMode:
    """Move a model of the meta device to CPU tensors of shapes alone; return the mode in which it runs."""
    mode = FakeTensorMode()
    # Parameters become tensors of another class, which replace them rather than their data.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with mode:
            model._apply(lambda each: torch.empty_strided(each.shape, each.stride(), dtype=each.dtype, device="cpu"))
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    return mode


@torch.no_grad()
def token_shapes(model: Model, specs: Mapping[str, InputSpec]) -> dict[str, TokenShape]:
    """Shapes of the tokens that towers return for one row; columns whose tower returns none have no entry.

    A model without memory answers as well, inside of its mode.
    """
    found = {}
    for name in model.needs.tokens:
        tokens = model.towers[modality_of(name)](input_rows(specs[name], 1)).tokens
        if tokens is not None:
            found[name] = (tokens.shape[1], tokens.shape[2])
    return found


def try_objectives(model: ModelConfig, build: Callable[[], Mapping[str, Objective]]) -> None:
    """Let those that read tokens see made-up rows of the shapes that the towers return.

    Args:
        build: builds the objectives of a run.

    Raises:
        ConfigError, NeedsError: the tokens are not what an objective takes.
    """
    built = {name: each for name, each in build().items() if each.needs().tokens}
    if not built:
        return
    with torch.random.fork_rng(devices=[]), comm.alone(), torch.no_grad():
        with torch.device("meta"):
            shapes_alone = Model(model, built)
        by_modality = model.specs()
        specs = {name: by_modality[modality_of(name)] for name in shapes_alone.needs.columns}
        with without_memory(shapes_alone):
            tokens = token_shapes(shapes_alone, specs)
        towers = dict(shapes_alone.towers.items())
        for name, objective in {key: each for key, each in build().items() if key in built}.items():
            objective.attach(spaces_of(GEOMETRIES.build(model.geometry), model.dim, towers))
            rows = made_up_embeddings(objective.needs(), rows=TRIED_ROWS, dim=model.dim, specs=specs, tokens=tokens)
            try:
                objective(rows)
            except (ConfigError, NeedsError) as error:
                raise type(error)(f"objectives.{name}: {error}") from error


def made_up_embeddings(
    needs: Needs, *, rows: int, dim: int, specs: Mapping[str, InputSpec], tokens: Mapping[str, TokenShape]
) -> Embeddings:
    """Everything that an objective reads, of so many rows, all of them present; embeddings take gradients."""
    generator = torch.Generator().manual_seed(0)
    present = torch.ones(rows, dtype=torch.bool)

    def embedded(name: str, *, learns: bool) -> Embedded:
        z = normalize(torch.randn(rows, dim, generator=generator), dim=1).requires_grad_(learns)
        if name not in needs.tokens or name not in tokens:
            return Embedded(z, present)
        length, width = tokens[name]
        values = torch.randn(rows, length, width, generator=generator).requires_grad_(learns)
        return Embedded(z, present, Tokens(values, torch.ones(rows, length, dtype=torch.bool)))

    return Embeddings(
        {name: embedded(name, learns=True) for name in sorted({*needs.embeddings, *needs.tokens})},
        {name: _labels(name, rows, generator) for name in needs.labels},
        [""] * rows,
        needs,
        taught={name: embedded(name, learns=False) for name in needs.teacher},
        averaged={name: embedded(name, learns=False) for name in needs.momentum},
        inputs={name: _cells(name, specs[name], rows) for name in needs.inputs},
    )


def _labels(name: str, rows: int, generator: torch.Generator) -> Tensor:
    if name.endswith(".box"):  # of one view in another: left, top, width, height, and whether it is mirrored
        return torch.rand(rows, 5, generator=generator) / 2
    return torch.arange(rows)


def _cells(name: str, spec: InputSpec, rows: int) -> Column:
    """Raw cells; of a column with hidden parts every third is another than in the whole one."""
    values = input_rows(spec, rows)
    if name.endswith(".masked"):
        values = map_values(values, _partly_changed)
    return Column(modality_of(name), values, torch.ones(rows, dtype=torch.bool))


def _partly_changed(values: Tensor) -> Tensor:
    changed = values.clone()
    changed.view(-1)[::3] += 1
    return changed
