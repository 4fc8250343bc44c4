"""Models of open_clip and transformers behind the evaluators' encoder, from files on this machine alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from mmcontrast.data.manifest import file_sha256
from mmcontrast.errors import CheckpointError, MissingPackage, NeedsError, did_you_mean
from mmcontrast.evaluate.checkpoints import Opened
from mmcontrast.evaluate.identity import code_sha256
from mmcontrast.geometry.base import Geometry
from mmcontrast.geometry.sphere import Sphere

BATCH_ROWS = 128


class FunctionEncoder:
    """An encoder made of one function a modality: items in, free vectors out."""

    def __init__(
        self,
        functions: dict[str, Callable[[list[Any]], Tensor]],
        *,
        identity: str,
        preprocessing: Any,
        sample_rate_hz: int | None = None,
        window_seconds: float | None = None,
    ) -> None:
        self.geometry: Geometry = Sphere(Sphere.Config())
        self.modalities = tuple(sorted(functions))
        self.identity = identity  # digest of weights and preprocessing: part of the cache's keys
        self.preprocessing = preprocessing  # in words, or as digests of the files that say it
        self.window_seconds = window_seconds  # longest sound that is heard whole; null: any
        self._functions, self._rate = functions, sample_rate_hz

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms that ``encode`` expects."""
        if self._rate is None:
            raise NeedsError(f"this model has no audio tower; it has: {', '.join(self.modalities)}.")
        return self._rate

    @torch.inference_mode()
    def encode(self, modality: str, items: Sequence[Any], *, progress: str | None = None) -> Tensor:
        """Embed items: (N, D) float32 on the CPU, of length 1."""
        if modality not in self._functions:
            raise NeedsError(f"this model has no {modality} tower; it has: {', '.join(self.modalities)}.")
        parts = [
            self._functions[modality](list(items[start : start + BATCH_ROWS])).float().cpu()
            for start in range(0, len(items), BATCH_ROWS)
        ]
        return self.geometry.project(torch.cat(parts))


def open_clip_encoder(name_and_weights: str, *, device: str) -> Opened:
    """``NAME:WEIGHTS``: an architecture that open_clip knows, and a .safetensors or .pt file read without pickles.

    Raises:
        CheckpointError: no such architecture or file, or weights that do not fit.
    """
    import open_clip
    from safetensors import SafetensorError

    name, separator, place = name_and_weights.replace("=", ":", 1).partition(":")
    weights = Path(place)
    if not separator or name not in open_clip.list_models():
        raise CheckpointError(
            f"open_clip knows no architecture '{name}'.{did_you_mean(name, open_clip.list_models())} "
            "Expected open_clip:NAME:WEIGHTS."
        )
    if not weights.is_file():
        raise CheckpointError(f"no file '{weights}' of weights for open_clip's {name}. Nothing is downloaded.")
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=str(weights), device=device)
    except UnpicklingError as error:
        raise CheckpointError(f"'{weights}' holds more than tensors, and pickled code is never run.") from error
    except (RuntimeError, KeyError, ValueError, AttributeError, OSError, SafetensorError) as error:
        raise CheckpointError(f"the weights of '{weights}' do not load into open_clip's {name}: {error}") from error
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    digest = file_sha256(weights)
    preprocessing = str(preprocess)
    encoder = FunctionEncoder(
        {
            "image": lambda items: model.encode_image(torch.stack([preprocess(each) for each in items]).to(device)),
            "text": lambda items: model.encode_text(tokenizer(items).to(device)),
        },
        identity=f"open_clip {open_clip.__version__} {name} {digest} {preprocessing} {device} {code_sha256()}",
        preprocessing=preprocessing,
    )
    about = {
        "run": name,
        "checkpoint": weights.name,
        "weights_sha256": digest,
        "config": json.dumps(open_clip.get_model_config(name), indent=1),  # says which activation it has
    }
    return Opened(f"open_clip {name}, {weights}", weights.parent, encoder, None, about)


def transformers_encoder(folder: Path, *, device: str) -> Opened:
    """A folder with config.json, weights as safetensors and the processor's files: CLIP, SigLIP and CLAP.

    Raises:
        CheckpointError: not such a folder.
        MissingPackage: transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingPackage("Hugging Face folders need transformers: pip install 'mmcontrast[hf]'.") from error
    from safetensors import SafetensorError

    config = folder / "config.json"
    files = sorted(folder.glob("*.safetensors"))
    if not config.is_file() or not files:
        raise CheckpointError(f"'{folder}' needs config.json and weights as .safetensors.")
    try:
        kind = str(json.loads(config.read_text(encoding="utf-8")).get("model_type"))
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"'{config}' is not JSON of a model: {error}") from error
    if kind not in ("clip", "siglip", "clap"):
        raise CheckpointError(f"'{folder}' holds a model of type '{kind}'; clip, siglip and clap are known.")
    offline: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model: Any = transformers.AutoModel.from_pretrained(str(folder), use_safetensors=True, **offline)
        model = model.eval().to(device)
        processor: Any = transformers.AutoProcessor.from_pretrained(str(folder), **offline)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"transformers cannot load '{folder}': {error}") from error
    digest = hashlib.sha256("".join(file_sha256(path) for path in files).encode()).hexdigest()
    rate = processor.feature_extractor.sampling_rate if kind == "clap" else None
    # Tokenizer and preprocessing.
    beside = {path.name: file_sha256(path) for path in sorted(folder.glob("*.json")) if "index" not in path.name}
    encoder = FunctionEncoder(
        encode_functions(model, processor, kind, rate, device),
        identity=f"{kind} {transformers.__version__} {digest} {beside} {device} {code_sha256()}",
        preprocessing=beside,
        sample_rate_hz=rate,
        window_seconds=processor.feature_extractor.nb_max_samples / rate if rate else None,
    )
    about = {
        "run": folder.resolve().name,
        "checkpoint": kind,
        "weights_sha256": digest,
        "config": config.read_text(encoding="utf-8"),
    }
    return Opened(f"{kind} of {folder}", folder, encoder, None, about)


def encode_functions(model: Any, processor: Any, kind: str, rate: int | None, device: str) -> dict[str, Any]:
    """One function a modality of a model of transformers: items in, vectors out."""
    # SigLIP was trained on captions padded to its full length.
    padding = "max_length" if kind == "siglip" else True

    def text(items: list[str]) -> Tensor:
        inputs = processor.tokenizer(items, padding=padding, truncation=True, return_tensors="pt").to(device)
        return _vectors(model.get_text_features(**inputs))

    def image(items: list[Any]) -> Tensor:
        return _vectors(model.get_image_features(**processor.image_processor(items, return_tensors="pt").to(device)))

    def audio(items: list[Any]) -> Tensor:
        # CLAP's extractor would cut a long sound at random: it gets the first window, as our own towers do.
        items = [each[: processor.feature_extractor.nb_max_samples] for each in items]
        inputs = processor.feature_extractor(items, sampling_rate=rate, truncation="rand_trunc", return_tensors="pt")
        return _vectors(model.get_audio_features(**inputs.to(device)))

    return {"text": text, "audio": audio} if kind == "clap" else {"text": text, "image": image}


def _vectors(found: Any) -> Tensor:
    """Newer versions of transformers wrap the features."""
    return found if isinstance(found, Tensor) else found.pooler_output
