"""``mmcontrast index`` and ``mmcontrast search``: every kind of question against its definition, and every mistake."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

import mmcontrast
from mmcontrast.cli import main
from mmcontrast.export.embedded import read_embeddings
from mmcontrast.train import train
from tests.small_run import run_of


@pytest.fixture(scope="module")
def encoder(trained: Path) -> Any:
    return mmcontrast.load(trained, device="cpu")


def asked(capsys: pytest.CaptureFixture[str], *command: str) -> list[tuple[str, float]]:
    """Keys and scores of an answer in one modality."""
    assert main(["search", *command, "--json"]) == 0, capsys.readouterr().err
    (line,) = capsys.readouterr().out.splitlines()
    return [(hit["row"]["key"], hit["score"]) for hit in json.loads(line)["hits"]]


def expected(embedded: Path, modality: str, query: Tensor) -> list[tuple[str, Any]]:
    """Every row that has the modality, by its dot product with the query."""
    found = read_embeddings(embedded)
    z, present = found[modality]
    scores = z @ query
    order = sorted(present.nonzero()[:, 0].tolist(), key=lambda row: -float(scores[row]))
    return [(found["keys"][row], pytest.approx(float(scores[row]), abs=1e-5)) for row in order]


def test_texts_pictures_sounds_and_rows_ask(
    index: Path, embedded: Path, files: Path, encoder: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = [str(index), "-k", "20", "--in"]
    caption, picture, sound = "a red square", files / "row-02.png", files / "row-04.wav"
    text, image, audio = encoder.encode(text=caption), encoder.encode(image=picture), encoder.encode(audio=sound)
    assert asked(capsys, *everything, "image", "--text", caption) == expected(embedded, "image", text)
    assert asked(capsys, *everything, "audio", "--image", str(picture)) == expected(embedded, "audio", image)
    assert asked(capsys, *everything, "text", "--audio", str(sound)) == expected(embedded, "text", audio)
    by_row = asked(capsys, *everything, "audio", "--row", "image:row-02")
    assert by_row == expected(embedded, "audio", image)


def test_captions_are_averaged_and_modalities_composed(
    index: Path, embedded: Path, files: Path, encoder: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = [str(index), "-k", "20", "--in", "image", "--text", "a red square", "--text", "crimson"]
    texts = normalize(encoder.encode(text=["a red square", "crimson"]).mean(dim=0), dim=0)
    assert asked(capsys, *everything) == expected(embedded, "image", texts)
    image = encoder.encode(image=files / "row-02.png")
    both = normalize(image + 0.5 * texts, dim=0)
    composed = asked(capsys, *everything, "--image", str(files / "row-02.png"), "--text-weight", "0.5")
    assert composed == expected(embedded, "image", both)


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
def test_sets_of_captions_are_judged_row_by_row(
    kind: str, index: Path, embedded: Path, encoder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind != "exact":
        index = tmp_path / "index"
        assert main(["index", str(embedded), "--out", str(index), "--kind", kind]) == 0
        capsys.readouterr()
    captions = ["a red square", "number 3", "a black square"]
    z, present = read_embeddings(embedded)["image"]
    scores = z[present].double() @ encoder.encode(text=captions).double().T
    standard = (scores - scores.mean(dim=0)) / scores.std(dim=0, correction=0)
    judged = torch.minimum(standard[:, 0], standard[:, 1]) - standard[:, 2].clamp_min(0)
    found = asked(capsys, str(index), "-k", "20", "--in", "image", "--text", captions[0], "--and", captions[1],
                  "--not", captions[2])  # fmt: skip
    keys = [key for key, real in zip(read_embeddings(embedded)["keys"], present.tolist(), strict=True) if real]
    assert dict(found) == {key: pytest.approx(float(each), abs=2e-4) for key, each in zip(keys, judged, strict=True)}
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_words_bring_a_row_forward(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(index), "-k", "20", "--in", "image", "--text", "number 7"]
    plain, hybrid = asked(capsys, *command), asked(capsys, *command, "--hybrid")
    ranks = [[key for key, _ in found].index("row-07") for found in (plain, hybrid)]
    assert ranks[1] <= ranks[0] and ranks[1] <= 1
    first = [key for key, _ in plain].index("row-07") + 1
    assert dict(hybrid)["row-07"] == pytest.approx(1 / (60 + first) + 1 / 61)  # the only row with both words


def test_answers_for_people(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(index), "--text", "a blue square", "-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "audio, by similarity, of 8" or lines[0] == "image, by similarity, of 11"
    assert len(lines) == 6 and lines[1].split()[0] == "1" and "square, number" in lines[1]


def test_several_sets_share_an_index(
    embedded: Path, sets: dict[str, str], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = tmp_path / "more"
    assert main(["embed", sets["sounds"], "--model", str(trained), "--out", str(more)]) == 0
    assert main(["index", str(embedded), str(more), "--out", str(tmp_path / "both"), "--dtype", "fp16"]) == 0
    shown = capsys.readouterr().out
    assert "32 rows of 2 sets, exact, fp16" in shown and "audio  28 points of 8 numbers" in shown
    found = asked(capsys, str(tmp_path / "both"), "-k", "99", "--in", "audio", "--text", "a tone")
    assert len(found) == 28 and {"row-0003", "row-04"} <= {key for key, _ in found}


def test_another_model_or_width_is_refused(
    index: Path,
    embedded: Path,
    sets: dict[str, str],
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other"
    wide = run_of(sets, other, steps=1)
    train(wide.__class__(**{**vars(wide), "model": wide.model.__class__(**{**vars(wide.model), "dim": 12})}))
    assert main(["search", str(index), "--text", "a dog", "--model", str(other)]) == 2
    assert f"the text tower of '{other}' has other weights" in capsys.readouterr().err
    out = tmp_path / "embedded"
    assert main(["embed", str(files), "--model", str(other), "--out", str(out), "--modality", "image"]) == 0
    assert main(["index", str(embedded), str(out), "--out", str(tmp_path / "both")]) == 2
    message = capsys.readouterr().err
    assert "cannot share an index; different: width, towers (width 12" in message
    assert not (tmp_path / "both").exists() and not list(tmp_path.glob(".both*"))


def test_an_export_of_the_text_tower_alone_asks_too(
    index: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tower = tmp_path / "text"
    assert main(["export", str(trained), str(tower), "--tower", "text"]) == 0
    capsys.readouterr()
    command = [str(index), "--in", "image", "--text", "a red square"]
    assert asked(capsys, *command, "--model", str(tower)) == asked(capsys, *command)
    assert main(["search", str(index), "--image", "a.png", "--model", str(tower)]) == 2
    assert f"'{tower}' has no image tower; it has: text" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["image.npy", "image.faiss", "index.json", "rows.arrow", "words/vocab.index.json"])
def test_a_damaged_file_is_named(file: str, index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(index, copy)
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)
    assert main(["search", str(copy), "--text", "a dog"]) == 2
    assert f"{file} is damaged: its sha256 differs" in capsys.readouterr().err
    (copy / file).unlink()
    assert main(["search", str(copy), "--text", "a dog"]) == 2
    assert f"{Path(file).name} is missing" in capsys.readouterr().err


def test_embeddings_of_another_width_in_the_middle_are_named(
    embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(embedded, copy)
    tensors = load_file(copy / "part-00001.safetensors")
    tensors["image"] = tensors["image"][:, :6].contiguous()
    save_file(tensors, copy / "part-00001.safetensors")
    assert main(["index", str(copy), "--out", str(tmp_path / "out")]) == 2
    assert "part 1 of" in (message := capsys.readouterr().err) and "image of shape (5, 6)" in message
    (copy / "part-00001.safetensors").write_bytes(b"cut short")
    assert main(["index", str(copy), "--out", str(tmp_path / "out")]) == 2
    assert "part 1 of" in (message := capsys.readouterr().err) and "missing or damaged" in message


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["--text", "a", "--in", "video"], "has no video to search; it has: audio, image, text"),
        ([], "nothing is looked for"),
        (["--row", "image:nobody"], "the index has no row 'nobody'"),
        (["--row", "image:row-05"], "the row 'row-05' has no image"),
        (["--row", "row-05"], "expected for example image:row-05"),
        (["--image", "nowhere.png"], "'nowhere.png' cannot be read"),
        (["--text", "a", "-k", "0"], "0 answers is no count"),
        (["--row", "image:row-01", "--hybrid"], "reads the words of a text"),
    ],
)
def test_mistakes_are_named(command: list[str], says: str, index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(index), *command]) == 2
    assert says in capsys.readouterr().err


def test_mistakes_of_an_index_are_named(
    index: Path, embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(tmp_path), "--text", "a"]) == 2
    assert "is no index: it has no index.json" in capsys.readouterr().err
    assert main(["index", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no embeddings" in capsys.readouterr().err
    for options, says in (
        (["--out", str(index)], "is there already"),
        (["--out", str(tmp_path / "out"), "--kind", "tree"], "--kind: 'tree' is none of exact, hnsw, ivf"),
        (["--out", str(tmp_path / "out"), "--recall", "2"], "--recall: 2.0 is no share"),
    ):
        assert main(["index", str(embedded), *options]) == 2
        assert says in capsys.readouterr().err
