"""Jobs that look through a model: scores, near-duplicates, subsets, clusters, mined negatives, written captions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data_pipelines.encoder import EncoderConfig, embed_shard
from data_pipelines.jobs.caption import fill
from data_pipelines.perturbations import PERTURBATIONS
from data_pipelines.perturbations.base import caption_rng
from data_pipelines.rows import open_folder
from data_pipelines.selections.coverage import greedy_cut
from data_pipelines.selections.neighbourhood import Neighbourhood
from mmcontrast.config import parse
from mmcontrast.data.manifest import read_manifest
from mmcontrast.run import Run as TrainRun
from mmcontrast.train import train
from tests.data_pipelines.conftest import dropped_of, result_digests, rows_of
from tests.fixtures import make_set

Run = Callable[..., str]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_set(tmp_path_factory.mktemp("data") / "squares", columns=("image", "text"), rows=24, rows_per_shard=10)


@pytest.fixture(scope="module")
def model(source: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run folder of a few steps on coloured squares."""
    out = tmp_path_factory.mktemp("run") / "run"
    tree = {
        "out": str(out),
        "steps": 30,
        "model": {
            "dim": 8,
            "towers": {
                "image": {"type": "small_resnet", "size": 16, "widths": [8, 16], "blocks": [1, 1], "groups": 4},
                "text": {"type": "ngram_text", "width": 16, "buckets": 64},
            },
        },
        "objectives": {"main": {"type": "infonce"}},
        "data": {"batch_rows": 8, "sources": {"squares": {"manifest": source}}},
        "engine": {"type": "local", "device": "cpu"},
        "optimizer": {"type": "adamw", "lr": 1e-2},
    }
    train(parse(TrainRun, tree))
    return str(out)


def test_embeddings_are_of_unit_length_and_in_the_order_of_the_rows(source: str, model: str) -> None:
    encoder, folder = EncoderConfig(run=model), open_folder(source)
    z = embed_shard(folder, 0, "image", encoder)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(z[0], z[4], atol=1e-5)  # the same red square
    assert z[0] @ z[1] < 0.99


def test_the_best_share_by_score_stays(source: str, model: str, tmp_path: Path, data: Run) -> None:
    score = f"filters={{score: {{type: score, model: {{run: {model}}}, best: 0.5}}}}"
    data("run", "filter", f"out={tmp_path}/best", f"source={source}", score)
    encoder, folder = EncoderConfig(run=model), open_folder(source)
    values = np.concatenate(
        [
            (embed_shard(folder, n, "image", encoder) * embed_shard(folder, n, "text", encoder)).sum(axis=1)
            for n in range(len(folder))
        ]
    )
    keys = [row.key for row in rows_of(source)]
    limit = float(np.quantile(values.astype(np.float64), 0.5))
    # Equal pictures with equal captions have equal scores up to the last bit: compare away from the limit.
    kept = {row.key for row in rows_of(tmp_path / "best")}
    assert {key for key, value in zip(keys, values, strict=True) if value > limit + 1e-5} <= kept
    assert not {key for key, value in zip(keys, values, strict=True) if value < limit - 1e-5} & kept
    assert all(row["reason"] == "score: sides too unlike" for row in dropped_of(tmp_path / "best"))
    said = data(
        "run",
        "filter",
        f"out={tmp_path}/x",
        f"source={source}",
        score.replace("best: 0.5", "best: 1.0, least: 0"),
        code=2,
    )
    assert "give either least (a cosine) or best" in said


def test_embeddings_find_near_duplicates(source: str, model: str, tmp_path: Path, data: Run) -> None:
    signature = f"signatures={{look: {{type: embedding, model: {{run: {model}}}, least: 0.9999}}}}"
    data("run", "dedup", f"out={tmp_path}/four", f"source={source}", signature)
    assert [row.info()["thing"] for row in rows_of(tmp_path / "four")] == ["red", "green", "blue", "black"]


def test_greedy_choice_raises_the_cut_most_at_every_step() -> None:
    z = np.random.default_rng(0).normal(size=(9, 4))
    z /= np.linalg.norm(z, axis=1, keepdims=True)

    def cut(chosen: list[int]) -> float:
        return sum(float(z[i] @ z[j]) for i in range(9) if i not in chosen for j in chosen)

    chosen: list[int] = []
    for _ in range(4):
        chosen.append(max((e for e in range(9) if e not in chosen), key=lambda e: cut([*chosen, e])))
    assert greedy_cut(z, 4) == chosen
    best = max(cut(list(each)) for each in itertools.combinations(range(9), 4))
    assert cut(chosen) > 0.7 * best


def test_a_neighbourhood_holds_so_many_and_none_is_emptied() -> None:
    z = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    made = Neighbourhood(Neighbourhood.Config(margin=0.02, most=3))
    keep = made.choose(z, [f"row-{place}" for place in range(200)]).keep
    assert 0 < keep.sum() < 200
    for place in range(200):
        near = (z[keep] @ z[place] >= 0.98).sum()
        assert near >= (3 if not keep[place] else 1)


@pytest.mark.parametrize(
    ("selection", "rows"),
    [("{type: coverage, share: 0.5, clusters: 4}", 12), ("{type: neighbourhood, margin: 0.0001}", 4)],
)
def test_subsets_of_the_set(selection: str, rows: int, source: str, model: str, tmp_path: Path, data: Run) -> None:
    arguments = ["run", "subset", f"source={source}", f"model={{run: {model}}}", f"selection={selection}"]
    data(*arguments, f"out={tmp_path}/a/set")
    data(*arguments, f"out={tmp_path}/b/set", "--processes", 2)
    kept = rows_of(tmp_path / "a" / "set")
    assert len(kept) == rows and {row.info()["thing"] for row in kept} == {"red", "green", "blue", "black"}
    assert len(dropped_of(tmp_path / "a" / "set")) == 24 - rows
    assert result_digests(tmp_path / "a" / "set") == result_digests(tmp_path / "b" / "set")


def test_clusters_are_a_label_of_the_set(source: str, model: str, tmp_path: Path, data: Run) -> None:
    selection = "selection={type: clusters, clusters: 4}"
    data("run", "subset", f"out={tmp_path}/set", f"source={source}", f"model={{run: {model}}}", selection)
    rows = rows_of(tmp_path / "set")
    assert len({(row.info()["cluster"], row.info()["thing"]) for row in rows}) == 4
    label = read_manifest(tmp_path / "set").labels["cluster"]
    assert {row.info()["cluster"] for row in rows} <= set(label.classes) and len(label.classes) == 4


def test_mined_negatives_are_hard_and_never_right(source: str, model: str, tmp_path: Path, data: Run) -> None:
    mine = f"mine={{model: {{run: {model}}}, most: 2, margin: 0.01, group: thing}}"
    data("run", "negatives", f"out={tmp_path}/set", f"source={source}", mine, "perturb={number: replace_words}")
    things = {row.key: row.info()["thing"] for row in rows_of(source)}
    rows = rows_of(tmp_path / "set")
    mined = [row.info() for row in rows if "negatives_mined" in row.info()]
    assert len(mined) >= 12
    for row in rows:
        info = row.info()
        keys = info.get("negatives_mined_keys", [])
        assert len(keys) <= 2 and all(things[key] != info["thing"] for key in keys)
        assert not set(info.get("negatives_mined", [])) & set(info["captions"])
        assert all(color in info["captions"][0] for color in [info["thing"]])
        assert not any(info["thing"] in text for text in info["negatives_number"])
    columns = read_manifest(tmp_path / "set").columns
    assert columns["text.mined"].field == "negatives_mined" and columns["text.number"].modality == "text"
    again = data(
        "run", "negatives", f"out={tmp_path}/x", f"source={tmp_path}/set", "perturb={mined: shuffle_words}", code=2
    )
    assert "has a column 'text.mined' already" in again


@pytest.mark.parametrize(
    ("name", "caption", "expected"),
    [
        ("swap_words", "A dog chases a cat", {"A cat chases a dog"}),
        ("swap_words", "Dogs chase a cat", {"Cat chase a dogs"}),
        ("swap_words", "a dog", {None}),
        ("swap_events", "a harp then a loud bell", {"a loud bell then a harp"}),
        ("swap_events", "A dog barks, followed by a man speaking.", {"A man speaking, followed by a dog barks."}),
        ("swap_events", "a bell then a bell", {None}),
        ("replace_words", "A loud bell", {"A soft bell"}),
        ("replace_words", "two dogs", {"one dogs", "three dogs", "four dogs", "five dogs"}),
        ("replace_words", "a bell", {None}),
        ("shuffle_words", "one two", {"two one"}),
        ("shuffle_words", "one One", {None}),
    ],
)
def test_perturbations(name: str, caption: str, expected: set[str | None]) -> None:
    made = PERTURBATIONS.get(name)(PERTURBATIONS.get(name).Config())
    found = [made.perturb(caption, caption_rng(seed, caption)) for seed in range(40)]
    assert set(found) == expected and caption not in found
    assert made.perturb(caption, caption_rng(3, caption)) == found[3]


def test_templates_say_lists_in_words_and_skip_what_is_missing() -> None:
    info = {"tags": ["dog_bark", "rain", "wind"], "one": ["bell"], "label": "vacuum_cleaner", "none": [], "year": 1999}
    assert fill("the sound of {tags}", info) == "the sound of dog bark, rain and wind"
    assert fill("{one} and {label} in {year}", info) == "bell and vacuum cleaner in 1999"
    assert fill("{none}", info) is fill("{absent}", info) is None


def test_captions_by_template(source: str, tmp_path: Path, data: Run) -> None:
    templates = 'templates=["a photo of something {thing}", "{caption}, in short"]'
    data("run", "caption", f"out={tmp_path}/set", f"source={source}", templates, "keep=before")
    row, before = rows_of(tmp_path / "set")[1], rows_of(source)[1]
    made = ["a photo of something green", "a green square, in short"]
    assert row.info()["captions"] == [*made, *before.info()["captions"]]
    said = data("run", "caption", f"out={tmp_path}/x", f"source={source}", 'templates=["a photo"]', code=2)
    assert "has no {field} in it" in said
    mistyped = 'templates=["a {thnig}", "{thing}"]'
    said = data("run", "caption", f"out={tmp_path}/y", f"source={source}", mistyped, code=2)
    assert "no row has every field of 'a {thnig}'" in said and "thing." in said


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_a_local_language_model_writes_several_captions(kind: str, source: str, tmp_path: Path, data: Run) -> None:
    """Random weights: what is checked is that prompts go in, and the model's own texts come out, best beam first."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "</s>", "<unk>", "a", "square", "colour", ":", "red", "green", "blue", "black", "round", "thing"]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **special)
    torch.manual_seed(0)
    sizes = {"vocab_size": len(words), "pad_token_id": 0, "eos_token_id": 1}
    if kind == "gpt2":
        network = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=1, **sizes)
        )
    else:
        network = transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0, **sizes
            )
        )
    folder = tmp_path / "lm"
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = json.dumps({"folder": str(folder), "prompt": "colour : {thing}", "captions": 2, "max_new_tokens": 4})
    arguments = ["run", "caption", f"source={source}", f"model={settings}", "keep=replace"]
    data(*arguments, f"out={tmp_path}/a/set")
    first = rows_of(tmp_path / "a" / "set")[0].info()["captions"]
    network.eval()
    ids = tokenizer(["colour : red"], return_tensors="pt")
    with torch.inference_mode():
        expected = network.generate(
            **{name: ids[name] for name in ("input_ids", "attention_mask")},
            max_new_tokens=4,
            num_beams=2,
            num_return_sequences=2,
            do_sample=False,
        )
    start = ids["input_ids"].shape[1] if kind == "gpt2" else 0
    texts = [tokenizer.decode(each[start:], skip_special_tokens=True).strip() for each in expected]
    assert first == list(dict.fromkeys(text for text in texts if text))
    data(*arguments, f"out={tmp_path}/b/set")
    assert result_digests(tmp_path / "a" / "set") == result_digests(tmp_path / "b" / "set")
    missing = json.dumps({"folder": str(tmp_path), "prompt": "{thing}"})
    said = data("run", "caption", f"out={tmp_path}/x", f"source={source}", f"model={missing}", code=2)
    assert "no .safetensors weights in" in said
