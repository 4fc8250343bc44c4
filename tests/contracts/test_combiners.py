"""Laws that every way of combining objectives keeps, and the formula of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast import comm
from mmcontrast.combine import COMBINERS
from mmcontrast.combine.pareto import Pareto, shortest
from mmcontrast.combine.uncertainty import Uncertainty
from mmcontrast.combine.weighted_sum import Ramp, WeightedSum
from mmcontrast.model import Model, ModelConfig
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.steps.gradcache import GradCache
from tests import tiny
from tests.contracts.objective_examples import OBJECTIVE_EXAMPLES
from tests.dist.pool import on_ranks

COMBINER_EXAMPLES: dict[str, Any] = {
    "sum": WeightedSum.Config(),
    "sum:ramp": WeightedSum.Config(ramps={"spread": Ramp(begin=1, end=3)}),
    "uncertainty": Uncertainty.Config(),
    "pareto": Pareto.Config(),
    "pareto:norm": Pareto.Config(normalize="norm"),
}
NAMES = list(COMBINER_EXAMPLES)
PARTS = {"contrast": "infonce:tiles", "sigmoid": "siglip", "spread": "alignment_uniformity"}


def model(name: str) -> Model:
    torch.manual_seed(0)
    objectives = {part: OBJECTIVES.build(OBJECTIVE_EXAMPLES[example]) for part, example in PARTS.items()}
    built = Model(ModelConfig(dim=8, towers=tiny.TOWERS), objectives, combine=COMBINER_EXAMPLES[name]).eval()
    built("loss", built("embed", tiny.batch()))
    built.after_step()
    built.after_step()
    return built


def share(name: str, chunk_rows: int | None) -> dict[str, Any]:
    """This rank's loss, gradients and factors for its share of the rows."""
    built, batch = model(name), tiny.batch()
    mine = len(batch) // comm.world_size()
    batch = batch.rows(slice(comm.rank() * mine, (comm.rank() + 1) * mine))
    if chunk_rows is None:
        terms = built("loss", built("embed", batch))
        terms.loss.backward()
    else:
        terms = GradCache(GradCache.Config(chunk_rows=chunk_rows), engine=tiny.engine(built))(batch)
    factors = {key: value for key, value in terms.scalars.items() if key.startswith("factor/")}
    return {"loss": terms.loss.detach(), "gradients": tiny.gradients(built), "factors": factors}


def all_shares(names: list[str]) -> dict[str, dict[str, Any]]:
    return {name: share(name, None) for name in names}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    largest = max(float(value.abs().max()) for value in expected.values())
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=3e-5 * max(largest, 1.0), rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", COMBINERS.names())
def test_every_combiner_has_an_example_and_a_source(name: str) -> None:
    assert name in COMBINER_EXAMPLES, f"add '{name}' to tests/contracts/test_combiners.py"
    assert "Source:" in COMBINERS.get(name).__doc__


@pytest.mark.parametrize("name", NAMES)
def test_gradcache_has_the_gradients_of_plain(name: str) -> None:
    plain, cached = share(name, None), share(name, 5)
    torch.testing.assert_close(cached["loss"], plain["loss"], atol=1e-5, rtol=1e-5)
    assert_same(cached["gradients"], plain["gradients"])


def test_ranks_agree_with_one_process(tmp_path: Path) -> None:
    ranks = on_ranks(all_shares, 2, tmp_path, NAMES)
    for name in NAMES:
        whole, parts = share(name, None), [rank[name] for rank in ranks]
        assert all(torch.equal(parts[0]["factors"][key], parts[1]["factors"][key]) for key in parts[0]["factors"])
        torch.testing.assert_close(
            torch.stack([part["loss"] for part in parts]).mean(), whole["loss"], atol=1e-5, rtol=1e-5
        )
        means = {key: (parts[0]["gradients"][key] + parts[1]["gradients"][key]) / 2 for key in whole["gradients"]}
        assert_same(means, whole["gradients"])


def test_a_ramp_is_straight_and_counts_updates() -> None:
    combiner = WeightedSum(COMBINER_EXAMPLES["sum:ramp"], names=["spread", "other"])
    losses = {"spread": torch.tensor(2.0), "other": torch.tensor(3.0)}
    seen = []
    for _ in range(5):
        seen.append(float(combiner(losses, []).loss))
        combiner.after_step()
    assert seen == [3.0, 3.0, 4.0, 5.0, 5.0]
    other = WeightedSum(COMBINER_EXAMPLES["sum:ramp"], names=["spread", "other"])
    combiner.updates.fill_(2)
    other.load_state_dict(combiner.state_dict())
    assert float(other(losses, []).loss) == 4.0


def test_uncertainty_is_kendalls_formula() -> None:
    combiner = Uncertainty(Uncertainty.Config(), names=["a", "b"])
    torch.nn.init.constant_(combiner.log_variances["a"], 0.5)
    torch.nn.init.constant_(combiner.log_variances["b"], -1.0)
    found = combiner({"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, []).loss
    expected = 2 * torch.tensor(-0.5).exp() + 0.25 + 3 * torch.tensor(1.0).exp() - 0.5
    torch.testing.assert_close(found, expected)


def test_the_shortest_combination_is_the_best_of_many() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    found = shortest(vectors @ vectors.T, iterations=1000)
    assert float(found.sum()) == pytest.approx(1.0) and bool((found >= 0).all())
    tried = torch.distributions.Dirichlet(torch.ones(3, dtype=torch.float64)).sample((20_000,))
    assert float((found @ vectors).norm()) <= float((tried @ vectors).norm(dim=1).min()) + 1e-4


def test_two_gradients_meet_where_the_paper_says() -> None:
    z = torch.tensor([[1.0, 0.0]], requires_grad=True)
    losses = {"a": (z * torch.tensor([[2.0, 0.0]])).sum(), "b": (z * torch.tensor([[0.0, 1.0]])).sum() + 5}
    factors = Pareto(Pareto.Config(normalize="none"), names=["a", "b"]).factors(losses, [z])
    # The closed form for two of Sener and Koltun: a = (g_b - g_a) . g_b / |g_a - g_b|^2.
    assert [float(factors[name]) for name in "ab"] == pytest.approx([0.2, 0.8], abs=1e-6)


def test_a_ramp_of_no_objective_is_named() -> None:
    config = WeightedSum.Config(ramps={"spraed": Ramp(end=10)})
    assert "spread" in WeightedSum.problems(config, ["spread"])[0]
