"""Tiny models of other packages with random weights, saved as those packages save them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mmcontrast.importers.peer_module import peer_module
from mmcontrast.weight_files import read_tensors
from tests.importers import beats_file as beats
from tests.importers.imagebind_file import FIELDS, write_tiny

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
OPEN_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@dataclass(frozen=True)
class Peer:
    """What was saved, and where."""

    path: Path
    model: Any
    layout: str
    modalities: tuple[str, ...]
    fields: dict[str, Any] = field(default_factory=dict)
    export: str | None = None  # our format that writes this layout

    def file(self) -> Path:
        """The one file of weights."""
        (found,) = self.path.glob("*.safetensors")
        return found


def shaken(model: Any) -> Any:
    """Weights that many packages start at zero or one, moved, so that none of them can be mixed up."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point() and value.ndim <= 1 and "scale" not in name:
                value.add_(0.1 * torch.rand_like(value))
    return model.eval()


def timm_folder(folder: Path) -> Peer:
    """A ResNet with statistics and a classifier of 7 scores."""
    import timm

    torch.manual_seed(0)
    model = shaken(timm.create_model("resnet10t", num_classes=7))
    save_file(model.state_dict(), folder / "model.safetensors")
    known = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "input_size": [3, 32, 32], "interpolation": "bicubic"}
    tree = {"architecture": "resnet10t", "num_classes": 7, "pretrained_cfg": known}
    (folder / "config.json").write_text(json.dumps(tree), encoding="utf-8")
    return Peer(folder, model, "timm", ("image",), {"classifier": True}, "timm")


def open_clip_folder(folder: Path) -> Peer:
    """An architecture that open_clip has no name for."""
    import open_clip

    torch.manual_seed(0)
    model = shaken(open_clip.CLIP(**OPEN_CLIP))  # type: ignore[arg-type]
    save_file({name: value.contiguous() for name, value in model.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    prepared = {
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.3, 0.25],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    tree = {"model_cfg": OPEN_CLIP, "preprocess_cfg": prepared}
    (folder / "open_clip_config.json").write_text(json.dumps(tree), encoding="utf-8")
    return Peer(folder, model, "open-clip", ("image", "text"), {}, "open-clip")


def hf_clip_folder(folder: Path) -> Peer:
    """QuickGELU in both towers, CLIP's tokenizer beside them."""
    transformers = pytest.importorskip("transformers")
    from mmcontrast.export.clip_layout import clip_tokenizer

    torch.manual_seed(0)
    vision = {**TOWER, "image_size": 32, "patch_size": 16}
    settings = transformers.CLIPConfig(text_config={**TOWER, "eos_token_id": 49407}, vision_config=vision,
                                       projection_dim=12)  # fmt: skip
    model = shaken(transformers.CLIPModel(settings))
    model.save_pretrained(folder)
    clip_tokenizer(SimpleNamespace(text_spec=lambda: SimpleNamespace(context_length=77))).save_pretrained(folder)  # type: ignore[arg-type]
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        folder
    )
    return Peer(folder, model, "hf-clip", ("image", "text"), {}, "hf")


def word_tokenizer(**fields: Any) -> Any:
    """Words and nothing else."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ["<s>", "<pad>", "</s>", "<unk>", "a", "photo", "of", "small", "dog", "on", "beach", "Rain", "then", "the"]
    made = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", model_max_length=16, **fields
    )


def hf_siglip_folder(folder: Path) -> Peer:
    """SigLIP whose captions are 16 tokens."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    text = {**TOWER, "vocab_size": 14, "max_position_embeddings": 16, "projection_size": 32, "pad_token_id": 1,
            "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip
    vision = {**TOWER, "image_size": 32, "patch_size": 16}
    model = shaken(transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision)))
    model.save_pretrained(folder)
    word_tokenizer(model_input_names=["input_ids"]).save_pretrained(folder)
    transformers.SiglipImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(folder)
    return Peer(folder, model, "hf-siglip", ("image", "text"))


RATE = 8000
HTSAT = {"patch_size": 4, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 2], "window_size": 4}


def hf_clap_folder(folder: Path, *, fused: bool = False) -> Peer:
    """CLAP over sounds of a second."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    audio = {"window_size": 4, "num_mel_bins": 16, "spec_size": 64, "patch_size": 4, "patch_stride": [4, 4],
             "num_classes": 4, "hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [2, 1],
             "num_attention_heads": [2, 2], "projection_dim": 12, "enable_fusion": fused}  # fmt: skip
    text = {**TOWER, "vocab_size": 14, "max_position_embeddings": 20, "projection_dim": 12}
    model = shaken(transformers.ClapModel(
        transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=12)
    ))  # fmt: skip
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        feature_size=16, sampling_rate=RATE, hop_length=80, max_length_s=1, fft_window_size=256, frequency_max=4000,
        truncation="fusion" if fused else "rand_trunc",
    ).save_pretrained(folder)  # fmt: skip
    return Peer(folder, model, "hf-clap", ("audio", "text"))


def laion_file(folder: Path, *, fusion: str = "None", mels: int = 16) -> Peer:
    """LAION-CLAP as its trainer saves it: names of parallel training, counts, position ids that are no weights now."""
    transformers = pytest.importorskip("transformers")
    for package in ("laion_clap", "torchlibrosa"):  # importing the first whole would ask the network for tokenizers
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: its pins clash; pip install --no-deps laion_clap torchlibrosa")
    fused = fusion != "None"
    settings = SimpleNamespace(window_size=256, hop_size=80, sample_rate=RATE, mel_bins=mels, fmin=50, fmax=4000,
                               enable_fusion=fused)  # fmt: skip
    torch.manual_seed(0)
    with peer_module("laion_clap", "clap_module.htsat", needs=("torchlibrosa",)) as module:
        audio = shaken(module.HTSAT_Swin_Transformer(
            spec_size=2 * max(mels, 32), patch_stride=(4, 4), num_classes=3, config=settings, enable_fusion=fused,
            fusion_type=fusion, **HTSAT,
        ))  # fmt: skip
    text = shaken(transformers.RobertaModel(transformers.RobertaConfig(
        **{**TOWER, "hidden_size": 128}, vocab_size=14, max_position_embeddings=90, layer_norm_eps=1e-5,
        type_vocab_size=1,
    )))  # fmt: skip
    heads = {
        "audio_projection": torch.nn.Sequential(torch.nn.Linear(16, 12), torch.nn.ReLU(), torch.nn.Linear(12, 12)),
        "text_projection": torch.nn.Sequential(torch.nn.Linear(128, 12), torch.nn.ReLU(), torch.nn.Linear(12, 12)),
        "audio_transform": torch.nn.ModuleDict({"sequential": torch.nn.Sequential(torch.nn.Linear(12, 12))}),
    }
    model = torch.nn.ModuleDict({"audio_branch": audio, "text_branch": text, **heads})
    model.register_parameter("logit_scale_a", torch.nn.Parameter(torch.tensor(2.5)))
    model.register_parameter("logit_scale_t", torch.nn.Parameter(torch.tensor(2.6)))
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    state["module.text_branch.embeddings.position_ids"] = torch.arange(90)[None]
    torch.save({"epoch": 3, "name": "tiny", "state_dict": state, "loss": np.float64(0.5)}, folder / "tiny.pt")
    word_tokenizer().save_pretrained(folder / "tokenizer")
    fields = {"tokenizer": str(folder / "tokenizer"), "seconds": 1.0, "sample_rate_hz": RATE, "hop_samples": 80,
              "high_hz": 4000.0}  # fmt: skip
    return Peer(folder / "tiny.pt", model.eval(), "laion-clap", ("audio", "text"), fields)


def ms_tokenizer(release: str) -> Any:
    """Words between a start and an end as BERT has them, or words alone as GPT-2, whose id 0 is "!"."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, processors
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ["a", "photo", "of", "small", "dog", "on", "beach", "Rain", "then", "the", "quick", "knocks"]
    around = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if release == "2022" else ["!", "[UNK]"]
    words = [*around, *words, *([] if release == "2022" else ["<|endoftext|>"])]
    made = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    if release == "2023":
        return transformers.PreTrainedTokenizerFast(
            tokenizer_object=made, unk_token="[UNK]", eos_token="<|endoftext|>", bos_token="<|endoftext|>"
        )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )


def ms_file(folder: Path, *, release: str) -> Peer:
    """MS-CLAP as its wrapper loads it, with the masks that older versions of transformers kept among the weights."""
    transformers = pytest.importorskip("transformers")
    for package in ("msclap", "torchlibrosa"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: its pins clash; pip install --no-deps msclap torchlibrosa")
    torch.manual_seed(0)
    tokenizer = ms_tokenizer(release)
    with peer_module("msclap", "models.clap", needs=("torchlibrosa",)) as module:
        if release == "2023":
            constants = {**vars(import_module("msclap.models.config")), "sample_rate": RATE, "window_size": 256,
                         "hop_size": 80, "mel_bins": 16, "fmin": 50, "fmax": 4000}  # fmt: skip
            swin = import_module("msclap.models.htsat").HTSAT_Swin_Transformer
            audio: Any = torch.nn.ModuleDict(
                {"htsat": swin(spec_size=64, patch_stride=(4, 4), num_classes=3, config=SimpleNamespace(**constants),
                               **HTSAT)}
            )  # fmt: skip
            settings = transformers.GPT2Config(
                n_embd=128,
                n_layer=2,
                n_head=2,
                vocab_size=len(tokenizer),
                n_positions=90,
                bos_token_id=14,
                eos_token_id=14,
            )
        else:
            audio = module.get_audio_encoder("Cnn14")(RATE, 256, 80, 64, 50, 4000, 3, 24)
            settings = transformers.BertConfig(**{**TOWER, "hidden_size": 128}, vocab_size=len(tokenizer))
        heads = [module.Projection(16 if release == "2023" else 24, 12), module.Projection(128, 12)]
    text = transformers.AutoModel.from_config(settings)
    parts = [
        torch.nn.ModuleDict({"base": base, "projection": head})
        for base, head in zip((audio, text), heads, strict=True)
    ]
    model = torch.nn.ModuleDict({"audio_encoder": parts[0], "caption_encoder": parts[1]})
    model.register_parameter("logit_scale", torch.nn.Parameter(torch.tensor(2.7)))
    shaken(model)
    state = model.state_dict()
    if release == "2023":
        state["caption_encoder.base.h.0.attn.bias"] = torch.ones(1, 1, 90, 90).tril()
        state["caption_encoder.base.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save({"epoch": 3, "model": state}, folder / "tiny.pth")
    tokenizer.save_pretrained(folder / "tokenizer")
    fields = {"tokenizer": str(folder / "tokenizer"), "seconds": 1.0, "sample_rate_hz": RATE, "filter_rate_hz": RATE,
              "hop_samples": 80, "high_hz": 4000.0}  # fmt: skip
    return Peer(folder / "tiny.pth", model, "ms-clap", ("audio", "text"), fields)


def imagebind_file(folder: Path) -> Peer:
    """ImageBind, where a clone of it can be imported; test_imagebind.py holds recorded numbers."""
    for package in ("imagebind", "iopath"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: see record_imagebind.py")
    return Peer(write_tiny(folder), None, "imagebind", ("audio", "image", "text"), dict(FIELDS))


def tiny_beats(folder: Path) -> Peer:
    """BEATs, where its code can be imported; test_beats.py holds recorded numbers."""
    if find_spec("BEATs") is None:
        pytest.skip("BEATs' code is not installed: see record_beats.py")
    return Peer(beats.write_tiny(folder), None, "beats", ("audio",), dict(beats.FIELDS))


PEERS: dict[str, Callable[[Path], Peer]] = {
    "timm": timm_folder,
    "open-clip": open_clip_folder,
    "hf-clip": hf_clip_folder,
    "hf-siglip": hf_siglip_folder,
    "hf-clap": hf_clap_folder,
    "hf-clap with fusion": partial(hf_clap_folder, fused=True),
    "laion-clap": laion_file,
    "laion-clap with fusion": partial(laion_file, fusion="aff_2d"),
    "laion-clap with fused spectrograms": partial(laion_file, fusion="iaff_1d", mels=64),  # it has no other number
    "laion-clap with channels": partial(laion_file, fusion="channel_map"),
    "ms-clap of 2022": partial(ms_file, release="2022"),
    "ms-clap of 2023": partial(ms_file, release="2023"),
    "imagebind": imagebind_file,
    "beats": tiny_beats,
}


def tensors(path: Path) -> dict[str, Tensor]:
    """All weights of a file, or of a folder of safetensors."""
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    return {name: value for file in files for name, value in read_tensors(file).items()}
