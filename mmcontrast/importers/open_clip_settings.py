"""open_clip's settings of a tower: by a name that it knows where there is one, else as a file beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcontrast.errors import CheckpointError
from mmcontrast.towers.open_clip_image import SETTINGS, OpenCLIPImage, open_clip_config
from mmcontrast.towers.open_clip_text import OpenCLIPText, not_trimmable

VISION = {"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12, "mlp_ratio": 4.0}


def image_tower(model: Mapping[str, Any], preprocessing: Mapping[str, Any], scratch: Path, *, frozen: bool) -> Any:
    """The config of an image tower.

    Args:
        model: open_clip's ``model_cfg``.
        preprocessing: mean and std, where they are known.
        scratch: for the file, where no name fits.
        frozen: batch norms keep the statistics of the file.
    """
    name, folder = _named(model, "vision_cfg", scratch / "image")
    mean, std = (preprocessing.get(key) for key in ("mean", "std"))
    return OpenCLIPImage.Config(
        name=name,
        folder=folder,
        size=int(model["vision_cfg"].get("image_size", VISION["image_size"])),
        batch_norm="frozen" if frozen else "group",
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
    )


def text_tower(model: Mapping[str, Any], scratch: Path, *, where: Path) -> Any:
    """The config of a text tower.

    Raises:
        CheckpointError: it needs another tokenizer than CLIP's byte pairs, or padding.
    """
    text = model["text_cfg"]
    problem = not_trimmable(dict(text))
    if problem is None and (text.get("hf_tokenizer_name") or text.get("tokenizer_kwargs")):
        problem = f"reads the tokens of {text.get('hf_tokenizer_name', 'a tokenizer of its own')}, not CLIP's."
    if problem is not None:
        raise CheckpointError(f"the text tower of '{where}' {problem} Import the image tower alone: --tower image.")
    name, folder = _named(model, "text_cfg", scratch / "text")
    return OpenCLIPText.Config(name=name, folder=folder)


def _named(model: Mapping[str, Any], part: str, folder: Path) -> tuple[str, Path | None]:
    """A name of open_clip's whose tower is this one; else a folder that says what it is."""
    import open_clip

    wanted = canonical(model, part)
    for name in open_clip.list_models():
        if canonical(open_clip_config(name), part) == wanted:
            return name, None
    folder.mkdir(parents=True)
    (folder / SETTINGS).write_text(json.dumps({"model_cfg": model}, indent=1), encoding="utf-8")
    return "of the folder", folder


def canonical(model: Mapping[str, Any], part: str) -> dict[str, Any]:
    """All that one tower's numbers depend on, defaults filled in; the size of a picture is a field of ours."""
    defaults = VISION if part == "vision_cfg" else TEXT
    settings = {**defaults, **{key: value for key, value in model[part].items() if value or key in defaults}}
    for key in ("image_size", "patch_dropout", "timm_model_pretrained"):
        settings.pop(key, None)
    return {"embed_dim": model["embed_dim"], "quick_gelu": bool(model.get("quick_gelu")), **settings}
