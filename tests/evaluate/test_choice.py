"""Choices among a few through the evaluator: scores as published functions make them, controls, damaged items."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.config import parse
from mmcontrast.errors import ConfigError, WindowTooShort
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Report
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.blind import text_alone
from mmcontrast.evaluate.choice_items import plain_text
from mmcontrast.probe_file import ProbeHeader, ProbeItem, write_probe
from tests.evaluate.fakes import FakeEncoder, picture, tones
from tests.evaluate.published import put

HEAD = ProbeHeader(kind="swap", name="Made up", modality="image", seed=0)


def probe(folder: Path, items: list[ProbeItem], **changes: Any) -> str:
    write_probe(folder, replace(HEAD, **changes), items)
    return f"probe:{folder}"


def numbers(folder: Path, *, things: int = 12, wrong: int = 3) -> str:
    """Every picture of a number with its name among others; categories are odd and even."""
    for number in range(things):
        put(folder / f"{number}.png", picture(number))
    items = [
        ProbeItem(
            id=str(number), category="odd" if number % 2 else "even", contexts=[{"file": f"{number}.png"}],
            texts=[f"thing {number}", *(f"thing {(number + step) % things}" for step in range(1, wrong + 1))],
            right=[[0]],
        )
        for number in range(things)
    ]  # fmt: skip
    return probe(folder, items)


def pairs(folder: Path) -> str:
    """Two pictures and two captions each."""
    for number in range(8):
        put(folder / f"{number}.png", picture(number))
    items = [
        ProbeItem(
            id=str(pair), category="pairs", contexts=[{"file": f"{2 * pair}.png"}, {"file": f"{2 * pair + 1}.png"}],
            texts=[f"thing {2 * pair}", f"thing {2 * pair + 1}"], right=[[0], [1]],
        )
        for pair in range(4)
    ]  # fmt: skip
    return probe(folder, items)


def evaluate(source: str, encoder: Any = None, untrained: Any = None, **fields: Any) -> Report:
    cls = EVALUATORS.get("choice")
    return cls(parse(cls.Config, {"source": source, **fields})).run(Bench(encoder or FakeEncoder(), untrained))


def test_a_model_that_sees_is_right_and_every_control_is_worse(tmp_path: Path) -> None:
    report = evaluate(numbers(tmp_path), untrained=FakeEncoder(noise=1.0, kind="random"))
    text = report.metrics["text"]
    assert text.value == 1 and text.chance == pytest.approx(1 / 4) and text.count == 12
    assert set(text.controls) == {
        "shuffled", "constant", "blind", "text_length", "bag_of_words", "order_insensitive", "text_only", "untrained",
    }  # fmt: skip
    assert text.controls["constant"] == 0 and text.controls["untrained"] < 0.8 and text.controls["shuffled"] < 0.8
    assert report.metrics["text macro"].value == 1 and report.classes == {"even": (1.0, 6), "odd": (1.0, 6)}
    assert report.facts["tie_rate"] == 0 and report.primary == "text"
    assert report.per_item[0].values["text"] == [1.0] * 12 and len(report.gallery) == 4


def test_pairs_have_text_image_and_group_and_singles(tmp_path: Path) -> None:
    source = pairs(tmp_path)
    report = evaluate(source)
    assert {name: report.metrics[name].value for name in ("group", "text", "image", "text single")} == {
        "group": 1, "text": 1, "image": 1, "text single": 1,
    }  # fmt: skip
    assert [report.metrics[name].chance for name in ("group", "text", "text single")] == [1 / 6, 1 / 4, 1 / 2]
    assert "text_only" not in report.metrics["text"].controls  # every text is right for some picture
    assert evaluate(source, primary="image").primary == "image"
    assert evaluate(source, primary="image macro").metrics["image macro"].value == 1
    with pytest.raises(ConfigError, match="primary: 'text rank' is not measured here; there are text, image, group"):
        evaluate(source, primary="text rank")


def test_a_constant_model_earns_nothing_but_under_a_peers_tie_rule(tmp_path: Path) -> None:
    source = numbers(tmp_path)
    report = evaluate(source, FakeEncoder(kind="constant"), compat="aro")
    assert report.metrics["text"].value == 0 and report.facts["tie_rate"] == 1
    assert report.metrics["text, as aro"].value == 1  # the right one stands first
    assert report.facts["ties_broken_at_random"]["text"] == pytest.approx(1 / 4)
    assert "first of equal scores" in report.facts["as aro"]


def test_recall_counts_ranks_with_ties_against_the_right_one(tmp_path: Path) -> None:
    source = numbers(tmp_path)
    report = evaluate(source, recall=[1, 3, 4])
    assert [report.metrics[f"text recall@{k}"].value for k in (1, 3, 4)] == [1, 1, 1]
    assert report.metrics["text recall@3"].chance == pytest.approx(3 / 4)
    assert report.metrics["text rank"].value == 1 and report.metrics["text rank"].chance == pytest.approx(2.5)
    constant = evaluate(source, FakeEncoder(kind="constant"), recall=[1, 3, 4]).metrics
    assert [constant[f"text recall@{k}"].value for k in (1, 3, 4)] == [0, 0, 1] and constant["text rank"].value == 4


def test_items_that_nobody_can_answer_are_counted_and_may_be_left_out(tmp_path: Path) -> None:
    put(tmp_path / "1.png", picture(1))
    wrongs = {"equal": ["Thing 1."], "twice": ["thing 2", "thing 2!"], "order": ["1 thing"], "fine": ["thing 3"]}
    items = [
        ProbeItem(id=name, category="", contexts=[{"file": "1.png"}], texts=["thing 1", *wrong], right=[[0]])
        for name, wrong in wrongs.items()
    ]
    source = probe(tmp_path, items)
    report = evaluate(source)
    assert report.facts["degenerate items"] == 2 and report.num_rows == 4
    assert report.facts["a wrong text equals the right one"] == report.facts["a wrong text stands twice"] == 1
    assert report.facts["same words in another order"] == 1
    assert report.per_item[0].values["degenerate"] == [1, 1, 0, 0]
    kept = evaluate(source, degenerate="leave_out")
    assert kept.num_rows == 2 and kept.per_item[0].keys == ["order", "fine"]
    assert kept.facts["degenerate items"] == 2 and kept.facts["degenerate_items_are"] == "left out"
    # Words in another order are the same bag: the control ties there, and a tie is wrong.
    controls = report.metrics["text"].controls
    assert controls["bag_of_words"] == controls["order_insensitive"] == 0.5


def test_equal_texts_tie_to_the_last_bit_wherever_they_stand(tmp_path: Path) -> None:
    put(tmp_path / "1.png", picture(1))
    items = [
        ProbeItem(
            id=str(n), category="", contexts=[{"file": "1.png"}],
            texts=["thing 1", *(f"thing {k}" for k in range(2, 2 + n)), "thing 1"], right=[[0]],
        )
        for n in range(70)
    ]  # fmt: skip
    report = evaluate(probe(tmp_path, items), FakeEncoder(noise=0.3))
    assert report.metrics["text"].value == 0 and report.facts["tie_rate"] == 1


def test_texts_can_be_compared_with_texts(tmp_path: Path) -> None:
    items = [
        ProbeItem(
            id=str(n), category="", contexts=[{"text": f"thing {n}?"}, {"text": f"thing {n + 1}?"}],
            texts=[f"thing {n}", f"thing {n + 1}"], right=[[0], [1]],
        )
        for n in range(5)
    ]  # fmt: skip
    report = evaluate(probe(tmp_path, items, modality="text"), modality="text")
    assert report.modalities == ("text",) and report.metrics["context"].value == report.metrics["text"].value == 1
    assert report.gallery[0].query.caption == "thing 0?"


def test_a_filter_keeps_a_category_and_names_what_is_wrong(tmp_path: Path) -> None:
    source = numbers(tmp_path)
    assert evaluate(source, where={"category": "odd"}).num_rows == 6
    with pytest.raises(ConfigError, match="no item has category = 'oddd'. Did you mean 'odd'"):
        evaluate(source, where={"category": "oddd"})
    with pytest.raises(ConfigError, match="no item has a field 'categry'. Did you mean 'category'"):
        evaluate(source, where={"categry": "odd"})


def test_excluded_and_small_categories_leave_the_macro_mean_alone(tmp_path: Path) -> None:
    source = numbers(tmp_path, things=5)
    put(tmp_path / "exclude.json", json.dumps(["odd"]))
    report = evaluate(source, exclude=str(tmp_path / "exclude.json"))
    assert report.facts["categories_left_out"] == {"odd": 2} and report.metrics["text"].count == 5
    assert report.metrics["text macro"].count == 3
    assert evaluate(source, min_count=3).facts["categories_left_out"] == {"odd": 2}
    with pytest.raises(ConfigError, match="Did you mean 'aro_symmetric'"):
        evaluate(source, exclude="aro_symetric")


def test_sounds_longer_than_the_window_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "a.wav", tones(1, 2, 3))  # 0.75 s
    item = ProbeItem(id="1", category="", contexts=[{"file": "a.wav"}], texts=["1 2 3", "3 2 1"], right=[[0]])
    source = probe(tmp_path, [item], modality="audio")
    encoder = FakeEncoder()
    assert evaluate(source, encoder, modality="audio").metrics["text"].value == 1
    encoder.window_seconds = 0.5
    with pytest.raises(WindowTooShort, match=r"the sound 'a.wav' lasts 0.75 s, but the audio tower hears 0.5 s"):
        evaluate(source, encoder, modality="audio")


def test_a_missing_picture_takes_its_item_with_it(tmp_path: Path) -> None:
    source = pairs(tmp_path)
    (tmp_path / "3.png").unlink()
    report = evaluate(source)
    assert report.num_rows == 3 and any("query '1': row '3.png' is not there" in each for each in report.missing)


def test_texts_that_give_themselves_away_are_found_without_a_picture() -> None:
    texts = [[f"a {n} dog", f"a {n} dog not there"] for n in range(40)]
    right = [[True, False]] * 40
    scores = text_alone(texts, right, [str(n) for n in range(40)])
    assert all(good > bad for good, bad in scores)
    fair = [[f"{a} above {b}", f"{b} above {a}"] for a, b in zip("abcdefgh", "bcdefgha", strict=True)]
    found = text_alone(fair, [[True, False]] * 8, ["all"] * 8)  # one cluster: nothing is left to learn from
    assert found == [[0.0, 0.0]] * 8
    assert plain_text("A dog's  Life, (today)!") == "a dog's life today"


def test_scores_are_those_of_every_pair_alone(tmp_path: Path) -> None:
    report = evaluate(numbers(tmp_path, things=7), FakeEncoder(noise=2.0))
    encoder, right = FakeEncoder(noise=2.0), 0
    import numpy as np
    from PIL import Image

    for number in range(7):
        image = encoder.encode("image", [Image.fromarray(np.full((4, 4, 3), (number, 0, 0), np.uint8))])
        texts = encoder.encode("text", [f"thing {(number + step) % 7}" for step in range(4)])
        scores = (image @ texts.T)[0]
        right += bool(scores[0] > scores[1:].max())
    assert report.metrics["text"].value == pytest.approx(right / 7) and torch.isfinite(scores).all()
