"""Objectives over the tokens of pictures and sounds, against loops over places."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.errors import ConfigError
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.objectives.cpc import CPC
from mmcontrast.objectives.macrl import MACRL
from mmcontrast.objectives.pixpro import PixPro, near_places
from mmcontrast.types import Column, Embedded, Embeddings, Tokens
from tests.objectives.made_up import Cells, both_ways, log_sum, mean

ROWS, WIDTH = 4, 5
PRESENT = torch.tensor([True, True, False, True])
EVERY = torch.ones(ROWS, dtype=torch.bool)


def column(tokens: int, present: Tensor, *, seed: int) -> Embedded:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(ROWS, tokens, WIDTH, generator=generator) * present[:, None, None]
    z = normalize(torch.randn(ROWS, 6, generator=generator), dim=1) * present[:, None]
    return Embedded(z.requires_grad_(), present, Tokens(values, present[:, None].expand(-1, tokens)))


def attached(objective: Any) -> Any:
    torch.manual_seed(0)
    objective.attach(Spaces(6, {}, token_widths={"image": WIDTH, "audio": WIDTH}))
    return objective


def doubles(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().double() for name, value in module.state_dict().items()}


def contexts_of(state: dict[str, Tensor], codes: list[Tensor]) -> list[Tensor]:
    """A gated recurrent unit, one step at a time."""
    size, hidden, found = len(codes[0]), torch.zeros_like(codes[0]), []
    for code in codes:
        given = state["context.weight_ih_l0"] @ code + state["context.bias_ih_l0"]
        kept = state["context.weight_hh_l0"] @ hidden + state["context.bias_hh_l0"]
        reset, update = ((given + kept)[place : place + size].sigmoid() for place in (0, size))
        new = (given[2 * size :] + reset * kept[2 * size :]).tanh()
        hidden = (1 - update) * new + update * hidden
        found.append(hidden)
    return found


@pytest.mark.parametrize("layout", ["frames", "patches"])
def test_cpc_finds_what_comes_next_among_other_rows(layout: Literal["frames", "patches"]) -> None:
    config = CPC.Config(column="image", layout=layout, width=3, ahead=2, contexts=2, group="group")
    objective = attached(CPC(config))
    group = torch.tensor([0, 1, 1, 0])
    emb = Embeddings({"image": column(9, PRESENT, seed=0)}, {"group": group}, list("abcd"), objective.needs())
    state, tokens = doubles(objective), emb.tokens("image").values.double()
    # A grid of three by three, one sequence a column of it.
    lines = [[0, 3, 6], [1, 4, 7], [2, 5, 8]] if layout == "patches" else [list(range(9))]
    sequences = [(row, [tokens[row, place] for place in line]) for row in range(ROWS) for line in lines]
    codes = [[state["code.weight"] @ each + state["code.bias"] for each in line] for _, line in sequences]
    contexts = [contexts_of(state, line) for line in codes]
    last = len(lines[0]) - 2
    losses = []
    for place in (0, last):
        for step in (1, 2):
            if place + step >= len(lines[0]):
                continue
            rows = []
            for mine, (row, _) in enumerate(sequences):
                if not PRESENT[row]:
                    continue
                foretold = state[f"foretell.{step - 1}.weight"] @ contexts[mine][place]
                logits = {
                    other: float(foretold @ codes[other][place + step])
                    for other, (of, _) in enumerate(sequences)
                    if PRESENT[of] and (other == mine or int(group[of]) != int(group[row]))
                }
                rows.append(log_sum(logits.values()) - logits[mine])
            losses.append(mean(rows))
    assert len(losses) == 3
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(losses), rel=1e-5, abs=1e-6)


def test_cpc_says_so_when_tokens_are_no_grid_or_too_few() -> None:
    objective = attached(CPC(CPC.Config(column="image", layout="patches", width=3)))
    for tokens, message in ((6, "no square grid"), (1, "too few")):
        emb = Embeddings({"image": column(tokens, EVERY, seed=0)}, {}, list("abcd"), objective.needs())
        with pytest.raises(ConfigError, match=message):
            objective(emb)


def macrl_of(**fields: Any) -> tuple[MACRL, Embeddings]:
    objective: MACRL = attached(MACRL(MACRL.Config(patch=2, width=7, temperature=0.2, **fields)))
    generator = torch.Generator().manual_seed(3)
    beneath = torch.randint(0, 256, (3, 3, 4, 4), generator=generator, dtype=torch.uint8)
    gray = torch.rand(3, 1, 2, 2, generator=generator) < 0.5
    seen = beneath.masked_fill(gray.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), 127)
    columns = {"image.masked": column(4, PRESENT, seed=4), "image.view2": column(4, EVERY, seed=5)}
    inputs = {"image": Column("image", beneath, PRESENT), "image.masked": Column("image", seen, PRESENT)}
    return objective, Embeddings(columns, {}, list("abcd"), objective.needs(), inputs=inputs)


def test_macrl_is_contrast_and_distance_of_hidden_pixels() -> None:
    objective, emb = macrl_of(contrast=0.5, reconstruct=2.0)
    state, cells = doubles(objective.decoder), Cells(emb)
    distances, found = [], 0
    for row, place in ((0, 0), (1, 1), (3, 2)):  # row of the batch, and of its stored cells
        seen, beneath = (emb.input(name).values[place].long() for name in ("image.masked", "image"))
        squares = []
        for token in emb.tokens("image.masked").values[row].double():
            x = state["0.weight"] @ token + state["0.bias"]
            x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
            squares.append(state["2.weight"] @ x + state["2.bias"])  # 3 channels of 2 x 2
        hidden = []
        for y in range(4):
            for x in range(4):
                if seen[:, y, x].tolist() != beneath[:, y, x].tolist():
                    square = squares[2 * (y // 2) + x // 2]
                    for channel in range(3):
                        drawn = float(square[4 * channel + 2 * (y % 2) + x % 2])
                        hidden.append(abs(drawn - (float(beneath[channel, y, x]) / 127.5 - 1)))
        found += len(hidden)
        distances += [mean(hidden)] if hidden else []
    contrast = []
    for row in cells.both("image.masked", "image.view2"):
        for a, b in both_ways(("image.masked", "image.view2")):
            logits = {j: 5 * cells.sim(a, row, b, j) for j in cells.rows if cells.here(b, j)}
            contrast.append(log_sum(logits.values()) - logits[row])
    assert found > 20
    expected = 0.5 * mean(contrast) + 2.0 * mean(distances)
    assert float(objective(emb).loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_macrl_names_a_patch_that_does_not_fit_the_tower() -> None:
    objective, emb = macrl_of()
    emb.inputs["image"] = Column("image", torch.zeros(3, 3, 6, 6, dtype=torch.uint8), PRESENT)
    with pytest.raises(ConfigError, match="Set patch to pixels / tokens along a side"):
        objective(emb)


BOX = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0], [0.5, 0.25, 0.5, 0.5, 1.0], [0, 0, 1, 1, 0], [0.1, 0.6, 0.3, 0.4, 0.0]])


def near(row: int, outer: int, inner: int) -> bool:
    """Whether two tokens of grids of two by two lie within 0.7 diagonals of the outer one, which is the larger."""
    left, top, width, height, mirrored = BOX[row].double().tolist()
    share_x, share_y = (inner % 2 + 0.5) / 2, (inner // 2 + 0.5) / 2
    x = left + width * (1 - share_x if mirrored else share_x)
    y = top + height * share_y
    apart = math.hypot((outer % 2 + 0.5) / 2 - x, (outer // 2 + 0.5) / 2 - y)
    return apart <= 0.7 * math.sqrt(2) / 2


def test_near_places_are_those_of_the_picture() -> None:
    found = near_places(BOX, 2, 2, near=0.7)
    for row in range(ROWS):
        expected = [[near(row, outer, inner) for inner in range(4)] for outer in range(4)]
        assert found[row].tolist() == expected
    assert near_places(BOX, 2, 2, near=0.1)[0].tolist() == torch.eye(4).bool().tolist()  # a whole view: each is itself
    mirrored = near_places(torch.tensor([[0.0, 0.0, 1.0, 1.0, 1.0]]), 2, 2, near=0.1)[0]
    assert mirrored.nonzero().tolist() == [[0, 1], [1, 0], [2, 3], [3, 2]]


def pixpro() -> tuple[PixPro, Embeddings]:
    objective: PixPro = attached(PixPro(PixPro.Config(dim=3, hidden=6, keep=0.5)))
    with torch.no_grad():
        for each in objective.averaged.parameters():
            each.add_(0.1)
    names = ("image", "image.inner")
    columns = {
        name: column(4, present, seed=seed)
        for seed, (name, present) in enumerate(zip(names, (EVERY, PRESENT), strict=True))
    }
    averaged = {name: column(4, each.present, seed=seed + 7) for seed, (name, each) in enumerate(columns.items())}
    labels = {"image.inner.box": BOX}
    return objective, Embeddings(columns, labels, list("abcd"), objective.needs(), averaged=averaged)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def test_pixpro_is_the_papers_formula() -> None:
    objective, emb = pixpro()
    places: dict[str, dict[str, list[list[Tensor]]]] = {}
    with torch.no_grad():
        for name in ("image", "image.inner"):
            slow = emb.momentum(name).tokens
            assert slow is not None
            places[name] = {
                "x": [[objective.projection(each).double() for each in row] for row in emb.tokens(name).values],
                "slow": [[objective.averaged(each).double() for each in row] for row in slow.values],
            }
    weight, bias = (each.detach().double() for each in objective.transform.parameters())

    def propagated(x: list[Tensor]) -> list[Tensor]:
        shares = [[max(cosine(a, b), 0.0) ** 2 for b in x] for a in x]
        return [sum((s * (weight @ b + bias) for s, b in zip(row, x, strict=True)), torch.zeros(3)) for row in shares]

    rows = []
    for row in (0, 1, 3):
        outer, inner = (propagated(places[name]["x"][row]) for name in ("image", "image.inner"))
        slow_outer, slow_inner = (places[name]["slow"][row] for name in ("image", "image.inner"))
        pairs = [(i, j) for i in range(4) for j in range(4) if near(row, i, j)]
        rows.append(mean(-cosine(outer[i], slow_inner[j]) - cosine(inner[j], slow_outer[i]) for i, j in pairs))
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(rows), rel=1e-5)


def test_the_projections_average_follows_it_after_the_update_and_gets_no_gradient() -> None:
    objective, emb = pixpro()
    objective(emb).loss.backward()
    assert all(each.grad is None for each in objective.averaged.parameters())
    pairs = list(zip(objective.averaged.parameters(), objective.projection.parameters(), strict=True))
    expected = [(mine + learned).detach() / 2 for mine, learned in pairs]
    objective.after_step(emb)
    for (mine, _), value in zip(pairs, expected, strict=True):
        torch.testing.assert_close(mine, value)


def test_a_tower_without_a_grid_is_named() -> None:
    objective, emb = pixpro()
    assert isinstance(objective, Objective)
    columns = {name: column(6, EVERY, seed=0) for name in ("image", "image.inner")}
    with pytest.raises(ConfigError, match="no square grid"):
        objective(Embeddings(columns, emb.labels, list("abcd"), averaged=columns))
