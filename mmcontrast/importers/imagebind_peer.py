"""ImageBind's own modules with a checkpoint's weights, beside which an import is checked."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmcontrast.errors import MissingPackage
from mmcontrast.export.base import Reader
from mmcontrast.importers.base import count_of
from mmcontrast.importers.peer_module import peer_module

RATE_HZ, CLIP_SAMPLES, CLIPS, FRAMES, MELS = 16_000, 32_000, 3, 204, 128
MEAN, DEVIATION = -4.268, 9.138


def imagebind_version() -> str:
    """For the report; the package has one version since it was published."""
    return "imagebind"


def readers(state: Mapping[str, Tensor], modalities: Sequence[str], fields: Any) -> dict[str, Reader]:
    """A reader for each modality.

    Args:
        fields: of the importer.

    Raises:
        MissingPackage: imagebind is not installed.
    """
    if importlib.util.find_spec("imagebind") is None:
        raise MissingPackage(
            "imagebind is not installed; it is in no registry: clone github.com/facebookresearch/ImageBind, put the "
            "clone on PYTHONPATH, and pip install iopath."
        )
    with peer_module("imagebind", "models.imagebind_model", needs=("iopath", "ftfy", "einops", "timm")) as module:
        model: Any = module.ImageBindModel(**sizes(state, fields))
    model.load_state_dict(dict(state))
    model.eval()
    inputs: dict[str, tuple[str, Callable[[Sequence[Any]], Tensor]]] = {
        "image": ("vision", _pictures),
        "audio": ("audio", lambda items: torch.stack([three_clips(item) for item in items])),
        "text": ("text", _ids),
    }

    def reader(modality: str) -> Reader:
        theirs, prepared = inputs[modality]
        return lambda items: model({theirs: prepared(items)})[theirs]

    return {modality: reader(modality) for modality in modalities}


def sizes(state: Mapping[str, Tensor], fields: Any) -> dict[str, Any]:
    """Arguments of ImageBindModel, of all six modalities."""
    found: dict[str, Any] = {"out_embed_dim": len(state["modality_heads.text.proj.1.weight"])}
    for name in ("vision", "text", "audio", "depth", "thermal", "imu"):
        prefix = f"modality_trunks.{name}.blocks."
        found[f"{name}_embed_dim"] = len(state[f"{prefix}0.norm_1.weight"])
        found[f"{name}_num_blocks"] = count_of(state, prefix)
    heads = {"vision": fields.image_heads, "audio": fields.audio_heads, "text": fields.text_heads}
    found |= {f"{name}_num_heads": count for name, count in heads.items()}
    # Not run: any number that divides the width.
    found |= {f"{name}_num_heads": 1 for name in ("depth", "thermal", "imu")}
    return found


def three_clips(wave: np.ndarray) -> Tensor:
    """What ImageBind makes of a mono sound: (clips, 1, M, frames).

    It subtracts a clip's mean in place, so that of sounds between two and six seconds, whose clips overlap, a later
    clip has steps where an earlier one ends; here each is cut out of the sound itself.
    """
    from torchaudio.compliance.kaldi import fbank

    spare = max(0, len(wave) - CLIP_SAMPLES)
    made = []
    for number in range(CLIPS):
        start = number * spare // (CLIPS - 1)
        clip = torch.from_numpy(np.array(wave[start : start + CLIP_SAMPLES], dtype=np.float32))[None]
        bands = fbank(
            clip - clip.mean(), htk_compat=True, sample_frequency=RATE_HZ, use_energy=False, window_type="hanning",
            num_mel_bins=MELS, dither=0.0, frame_length=25, frame_shift=10,
        ).T[:, :FRAMES]  # fmt: skip
        bands = torch.nn.functional.pad(bands, (0, FRAMES - bands.shape[1]))
        made.append((bands[None] - MEAN) / DEVIATION)
    return torch.stack(made)


def _pictures(items: Sequence[Any]) -> Tensor:
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    from torchvision import transforms

    prepare = transforms.Compose(
        [
            transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(mean=OPENAI_DATASET_MEAN, std=OPENAI_DATASET_STD),
        ]
    )
    return torch.stack([prepare(item.convert("RGB")) for item in items])


def _ids(items: Sequence[str]) -> Tensor:
    """CLIP's byte pairs, as ImageBind's copy of CLIP's tokenizer makes them."""
    import open_clip

    return open_clip.SimpleTokenizer(context_length=77)(list(items))
