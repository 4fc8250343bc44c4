"""Models of others, from files with random weights: their own embeddings, from preprocessing and tokenizer on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmcontrast.cli import main
from mmcontrast.errors import CheckpointError
from mmcontrast.evaluate.checkpoints import open_checkpoint
from mmcontrast.evaluate.foreign import encode_functions
from tests.evaluate.fakes import RATE, make_things

TEXTS = ["a dog", "a cat and a dog and a bird and a cat and a dog and a bird", "cat"]  # the second is cut
WORDS = ("[PAD]", "[UNK]", "a", "and", "dog", "cat", "bird", "thing")
TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
EXTRACTOR = {"feature_size": 16, "sampling_rate": RATE, "hop_length": 160, "max_length_s": 1, "fft_window_size": 256,
             "frequency_max": 4000, "truncation": "rand_trunc"}  # fmt: skip


def pictures() -> list[Image.Image]:
    """Noise, wide and high."""
    rng = np.random.default_rng(0)
    sizes = ((40, 30, 3), (30, 50, 3))
    return [Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)) for size in sizes]


def tokenizer() -> Any:
    """Words and nothing else."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", model_max_length=8
    )


def write_folder(kind: str, folder: Path) -> tuple[Any, Any]:
    """A Hugging Face folder of a tiny model; the model and its processor."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    text = {**TOWER, "vocab_size": len(WORDS), "max_position_embeddings": 8, "pad_token_id": 0}
    if kind == "clap":
        audio = {"window_size": 2, "num_mel_bins": 16, "spec_size": 64, "patch_size": 4, "patch_stride": [4, 4],
                 "num_classes": 4, "hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1],
                 "num_attention_heads": [2, 2], "projection_dim": 12}  # fmt: skip
        text |= {"max_position_embeddings": 12, "projection_dim": 12}
        config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=12)
        model = transformers.ClapModel(config)
        processor = transformers.ClapProcessor(transformers.ClapFeatureExtractor(**EXTRACTOR), tokenizer())
    elif kind == "clip":
        vision = {**TOWER, "image_size": 32, "patch_size": 16}
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
        model = transformers.CLIPModel(config)
        images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        processor = transformers.CLIPProcessor(images, tokenizer())
    else:
        vision = {**TOWER, "image_size": 32, "patch_size": 16}
        config = transformers.SiglipConfig(text_config={**text, "projection_size": 16}, vision_config=vision)
        model = transformers.SiglipModel(config)
        images = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
        processor = transformers.SiglipProcessor(images, tokenizer())
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


@pytest.mark.parametrize(("kind", "padding"), [("clip", True), ("siglip", "max_length")])
@torch.inference_mode()
def test_a_hugging_face_folder_gives_the_embeddings_of_its_own_forward(
    kind: str, padding: Any, tmp_path: Path
) -> None:
    model, processor = write_folder(kind, tmp_path)
    inputs = processor(text=TEXTS, images=pictures(), padding=padding, truncation=True, return_tensors="pt")
    expected = model(**inputs)
    opened = open_checkpoint(f"hf:{tmp_path}")
    assert opened.encoder.modalities == ("image", "text")
    for modality, items, wanted in (
        ("image", pictures(), expected.image_embeds),
        ("text", TEXTS, expected.text_embeds),
    ):
        found = opened.encoder.encode(modality, items)
        torch.testing.assert_close(found, torch.nn.functional.normalize(wanted, dim=-1), atol=1e-6, rtol=1e-5)
        assert found.std(dim=0).max() > 1e-3  # rows differ: nothing is trivially equal


@torch.inference_mode()
def test_a_clap_folder_gives_the_embeddings_of_its_own_forward(tmp_path: Path) -> None:
    model, processor = write_folder("clap", tmp_path)
    rng = np.random.default_rng(0)
    sounds = [rng.standard_normal(size).astype(np.float32) for size in (RATE, RATE // 2)]
    audio = processor.feature_extractor(sounds, sampling_rate=RATE, return_tensors="pt")
    inputs = processor.tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    expected = model(**inputs, **audio)
    encoder = open_checkpoint(f"hf:{tmp_path}").encoder
    assert encoder.modalities == ("audio", "text") and encoder.sample_rate_hz == RATE
    for modality, items, wanted in (("audio", sounds, expected.audio_embeds), ("text", TEXTS, expected.text_embeds)):
        torch.testing.assert_close(encoder.encode(modality, items), wanted, atol=1e-6, rtol=1e-5)


def test_a_hugging_face_folder_is_evaluated_through_the_command_line(tmp_path: Path) -> None:
    write_folder("clip", tmp_path / "tiny")
    things = make_things(tmp_path / "things", things=4)
    suite = tmp_path / "small.yaml"
    suite.write_text(f"evals: {{pictures: {{type: zero_shot, source: {things}, label: thing}}}}", encoding="utf-8")
    assert main(["eval", "run", f"hf:{tmp_path / 'tiny'}", "--suite", str(suite)]) == 0
    tree = json.loads((tmp_path / "tiny/eval/small/results.json").read_text(encoding="utf-8"))
    assert tree["about"]["run"] == "tiny" and "quick_gelu" in tree["about"]["config"]
    assert tree["evaluators"]["pictures"]["num_rows"] == 8


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "needs config.json"),
        ({"config.json": '{"model_type": "bert"}', "model.safetensors": ""}, "clip, siglip and clap are known"),
        ({"config.json": '{"model_type": "clip"}', "model.safetensors": "x"}, "cannot load"),
        ({"config.json": "{", "model.safetensors": ""}, "is not JSON"),
    ],
)
def test_folders_that_hold_no_such_model_are_named(files: dict[str, str], words: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(f"hf:{tmp_path}")


@pytest.mark.slow
@torch.inference_mode()
def test_an_open_clip_file_gives_the_embeddings_of_its_own_forward(tmp_path: Path) -> None:
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    name = "ViT-S-32-alt"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    images, tokens = torch.stack([preprocess(each) for each in pictures()]), open_clip.get_tokenizer(name)(TEXTS)
    wanted = {"image": model.encode_image(images, normalize=True), "text": model.encode_text(tokens, normalize=True)}
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    torch.save(state, tmp_path / "weights.pt")
    for place in (f"open_clip:{name}:{tmp_path}/weights.safetensors", f"open_clip:{name}={tmp_path}/weights.pt"):
        opened = open_checkpoint(place)
        assert '"embed_dim": 256' in opened.about["config"] and "Resize" in opened.encoder.preprocessing
        for modality, items in (("image", pictures()), ("text", TEXTS)):
            torch.testing.assert_close(opened.encoder.encode(modality, items), wanted[modality], atol=1e-6, rtol=1e-5)
    save_file({"visual.conv1.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=f"do not load into open_clip's {name}"):
        open_checkpoint(f"open_clip:{name}:{tmp_path}/other.safetensors")
    torch.save({"state_dict": SimpleNamespace(evil=1)}, tmp_path / "pickled.pt")
    with pytest.raises(CheckpointError, match="pickled code is never run"):
        open_checkpoint(f"open_clip:{name}:{tmp_path}/pickled.pt")


@pytest.mark.parametrize(
    ("place", "words"),
    [("ViT-S-32-alt", "Expected open_clip:NAME:WEIGHTS|no file"), ("ViT-S-32-atl:x.pt", "Did you mean 'ViT-S-32-alt'"),
     ("ViT-S-32-alt:gone.pt", "no file 'gone.pt' of weights")],
)  # fmt: skip
def test_what_open_clip_does_not_know_is_named(place: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(f"open_clip:{place}")


def test_clap_hears_the_first_window_of_a_long_sound() -> None:
    extraction = pytest.importorskip("transformers.models.clap.feature_extraction_clap")
    extractor = extraction.ClapFeatureExtractor(**EXTRACTOR)
    model = SimpleNamespace(get_audio_features=lambda input_features, is_longer: input_features.flatten(1))
    audio = encode_functions(model, SimpleNamespace(feature_extractor=extractor), "clap", 8000, "cpu")["audio"]
    wave = np.random.default_rng(0).standard_normal(24_000).astype(np.float32)
    found = audio([wave, wave[:8000]])
    assert torch.equal(found[0], found[1]) and torch.equal(audio([wave])[0], found[0])
    assert not torch.equal(audio([wave[8000:]])[0], found[0])
