"""Pair attributions: their sum is the score, however they are computed; words, marks, what the command writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmcontrast.cli import main
from mmcontrast.config import parse
from mmcontrast.data.loader import encoders
from mmcontrast.explain.attributions import Side, attributed, side
from mmcontrast.explain.words import by_word, different, spans
from mmcontrast.model import Model, ModelConfig
from mmcontrast.tokenizers.hashed_words import HashedWords
from mmcontrast.train import train
from tests.evaluate.fakes import picture, tones
from tests.evaluate.published import put
from tests.small_run import run_of, tree

IDS = torch.tensor([[5, 9, 11]])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    torch.manual_seed(0)
    config = tree({"pictures": "x", "sounds": "x"}, tmp_path_factory.mktemp("run"))["model"]
    return Model(parse(ModelConfig, config)).eval().requires_grad_(False)


def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8, generator=generator)


def media(model: Model, *, steps: int, directions: Tensor | None = None) -> Side:
    values = pixels()
    return side(model, "image", values, torch.full_like(values, 128), directions=directions, steps=steps)


def text(model: Model, *, steps: int = 64) -> Side:
    return side(model, "text", IDS, torch.zeros_like(IDS), steps=steps)


def test_attributions_sum_to_the_score_but_for_the_references(model: Model) -> None:
    words = text(model)
    assert (words.shares.sum(dim=1) - (words.z - words.z_reference)).abs().max() < 1e-4  # smooth: nearly exact
    errors = {}
    for steps in (2, 128):
        pair = attributed(media(model, steps=steps, directions=words.shares), words)
        assert pair.values.shape == (64, 3)
        whole = (model.encode("image", pixels()) @ model.encode("text", IDS).T).item()
        assert pair.score == pytest.approx(whole, abs=1e-5)
        errors[steps] = abs(pair.error)
    assert errors[128] < 0.02 and errors[128] < errors[2]  # ReLU has corners: more steps are closer


def test_few_directions_give_what_the_product_of_both_jacobians_gives(model: Model) -> None:
    words, whole = text(model), media(model, steps=6)
    few = attributed(media(model, steps=6, directions=words.shares), words)
    assert torch.allclose(few.values, whole.shares.T @ words.shares, atol=1e-5)
    other = torch.cat([torch.zeros(8, 2), words.shares], dim=1)
    assert torch.allclose(attributed(media(model, steps=6, directions=other), words, first=2).values, few.values)


def test_an_integrated_jacobian_is_the_mean_of_jacobians_along_the_way(model: Model) -> None:
    values = torch.rand(1, 2000, generator=torch.Generator().manual_seed(1)) - 0.5
    found = side(model, "audio", values, torch.zeros_like(values), steps=1)
    tower = model.towers["audio"]
    start, end = (tower.stem(tower.mel(each)[:, None]) for each in (torch.zeros_like(values), values))

    def embedding(inner: Tensor) -> Tensor:
        cells = tower.stages(inner)
        tokens = tower.norm(tower.step(cells.flatten(1, 2).transpose(1, 2)))
        pooled = tokens.mean(dim=1) if tower.pool is None else tower.pool(tokens)
        return model.geometry.project(model.heads["audio"](pooled))[0]

    jacobian = torch.autograd.functional.jacobian(embedding, (start + end) / 2)  # one step: the middle
    expected = (jacobian[:, 0] * (end - start)[0]).sum(dim=1).flatten(1)
    assert torch.allclose(found.shares, expected, atol=1e-5) and found.grid == tuple(start.shape[2:])


def test_words_know_their_tokens(model: Model) -> None:
    encode = encoders(model.config.specs())["text"]
    assert spans("a red dog, asleep", encode) == [(0, 1), (1, 2), (2, 4), (4, 5)]
    assert spans("", encode) == []
    stems = HashedWords(HashedWords.Config(stem_letters=3))
    assert spans("a reddish dog", lambda words: stems.encode(words, context_length=3)) == [(0, 1), (1, 3), (3, 3)]

    def with_ends(words: str) -> list[int]:
        return [1, *encode(words), 2]

    assert spans("a red", with_ends) == [(1, 2), (2, 3)]
    tokens = torch.arange(8.0).view(2, 4)
    assert by_word(tokens, [(0, 1), (1, 3), (4, 4)]).tolist() == [[0, 3, 0], [4, 11, 0]]


def test_words_that_two_captions_differ_in_are_marked() -> None:
    assert different("A red dog.", "a blue dog") == ([False, True, False], [False, True, False])
    assert different("a dog on a mat", "a mat on a dog")[0].count(True) > 0
    assert different("same", "same") == ([False], [False])


def test_the_command_writes_numbers_a_picture_and_a_page(
    sets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(run_of(sets, run, steps=1))
    put(tmp_path / "p.png", picture(200))
    put(tmp_path / "s.wav", tones(3))
    put(tmp_path / "long.wav", tones(3, 4, 5))
    common = [str(run), "--text", "thing <3>", "--text", "thing 4", "--steps", "2", "--out"]
    for kind, name in (("image", "p.png"), ("audio", "s.wav")):
        out = tmp_path / kind
        assert main(["explain", *common, str(out), f"--{kind}", str(tmp_path / name)]) == 0
        found = json.loads((out / "explanation.json").read_text(encoding="utf-8"))
        first, second = found["captions"]
        assert found["score_difference"] == pytest.approx(first["score"] - second["score"])
        assert [word["changed"] for word in first["words"]] == [False, True]
        total = sum(word["attribution"] for word in first["words"]) + first["rest"]
        assert total == pytest.approx(first["sum_of_attributions"], abs=1e-4)
        assert first["integration_error"] == pytest.approx(
            first["sum_of_attributions"] + first["references"] - first["score"], abs=1e-6
        )
        assert (out / "explanation.png").read_bytes().startswith(b"\x89PNG")
        html = (out / "explanation.html").read_text(encoding="utf-8")
        assert "&lt;3&gt;" in html and "<3>" not in html and "word changed" in html
    capsys.readouterr()
    for arguments, words in (
        (["--audio", str(tmp_path / "long.wav")], "lasts 0.75 s, the audio tower hears 0.25 s"),
        (["--image", str(tmp_path / "nothing.png")], "no file"),
        (["--image", str(tmp_path / "p.png"), "--text", "three"], "one caption, or two"),
    ):
        assert main(["explain", *common, str(tmp_path / "x"), *arguments]) == 2
        assert words in capsys.readouterr().err
