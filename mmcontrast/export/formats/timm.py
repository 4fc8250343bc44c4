"""timm folders: ``timm.create_model("local-dir:FOLDER", pretrained=True)``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmcontrast.config import config
from mmcontrast.errors import ExportError
from mmcontrast.export import EXPORTS
from mmcontrast.export.base import ExportFormat, Read, Reader
from mmcontrast.export.folding import affine_head, general_refusals
from mmcontrast.export.part import Part
from mmcontrast.exported.dtypes import TORCH, Dtype
from mmcontrast.towers.batch_norm import GroupNorm


@EXPORTS.register("timm")
class Timm(ExportFormat):
    """An image tower of timm's; the head becomes its classifier, whose scores are the embedding before its norm."""

    tolerance = 1e-5
    packages = ("timm",)

    @config
    class Config:
        """No fields."""

    def refusals(self, part: Part) -> dict[str, str]:
        """Other towers, and norms that timm's model does not have."""
        found = general_refusals(part)
        for modality in part.modalities:
            name = part.tower(modality).config.registry_name
            if name != "timm_image":
                found.setdefault(modality, f"'{name}' is no tower of timm's; timm_image is.")
            elif any(isinstance(each, GroupNorm) for each in part.tower(modality).inner.modules()):
                found.setdefault(
                    modality, "its batch norms have become group norms; timm's has batch norms (batch_norm: frozen)."
                )
        return found

    def write(self, part: Part, folder: Path, *, dtype: Dtype) -> None:
        """Write config.json and model.safetensors."""
        from safetensors.torch import save_file

        model, arguments = with_classifier(part)
        size = part.image_spec().size
        known: Any = model.pretrained_cfg
        preprocessing = part.tower("image").preprocessing()
        tree = {
            "architecture": known["architecture"],
            "num_classes": part.config.dim,
            "num_features": int(part.tower("image").width),
            "model_args": arguments,
            "pretrained_cfg": {
                "input_size": [3, size, size],
                "fixed_input_size": bool(known.get("fixed_input_size", False)),
                "interpolation": "bicubic",
                "crop_pct": 1.0,
                "crop_mode": "center",
                "mean": preprocessing["mean"],
                "std": preprocessing["std"],
                "num_classes": part.config.dim,
                "pool_size": known.get("pool_size"),
                "first_conv": known.get("first_conv"),
                "classifier": known.get("classifier"),
            },
        }
        (folder / "config.json").write_text(json.dumps(tree, indent=1), encoding="utf-8")
        stored = {
            name: (value.to(TORCH[dtype]) if value.is_floating_point() else value).contiguous().clone()
            for name, value in model.state_dict().items()
        }
        save_file(stored, folder / "model.safetensors")

    def read(self, folder: Path, part: Part) -> Read:
        """Through ``timm.create_model``, with the transform that timm makes of the config."""
        import timm

        model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval().float()
        return Read({"image": image_reader(model, {})}, exact_for="square")

    def usage(self, part: Part) -> str:
        """timm's own calls."""
        return """import timm
from timm.data import create_transform, resolve_data_config
from torch.nn.functional import normalize

model = timm.create_model("local-dir:THIS FOLDER", pretrained=True).eval()
transform = create_transform(**resolve_data_config({}, model=model))
z = normalize(model(transform(picture)[None]), dim=-1)"""


def image_reader(model: nn.Module, settings: dict[str, Any]) -> Reader:
    """A model of timm's behind the transform that timm makes of its config.

    Args:
        settings: of that config, where they are others.
    """
    from timm.data import create_transform, resolve_data_config

    transform: Any = create_transform(**resolve_data_config(settings, model=model))

    def image(items: Sequence[Any]) -> Tensor:
        return model(torch.stack([transform(item) for item in items]))

    return image


def with_classifier(part: Part) -> tuple[nn.Module, dict[str, Any]]:
    """timm's model with the tower's weights and the head as its classifier, and the arguments that make it.

    Raises:
        ExportError: the model has no single linear classifier.
    """
    import timm

    tower, head = part.tower("image"), affine_head(part, "image")
    assert head is not None, "refusals() lets no other head pass"
    arguments: dict[str, Any] = {}
    try:
        model = timm.create_model(tower.config.name, num_classes=part.config.dim, img_size=tower.config.size)
        arguments = {"img_size": tower.config.size}
    except TypeError:  # convolutional models take any size and know no img_size
        model = timm.create_model(tower.config.name, num_classes=part.config.dim)
    classifier: Any = model.get_classifier()  # type: ignore[operator]
    if not isinstance(classifier, nn.Linear) or classifier.in_features != tower.width:
        raise ExportError(f"timm: the classifier of '{tower.config.name}' is no matrix into which the head could go.")
    model.load_state_dict(tower.inner.state_dict(), strict=False)
    with torch.no_grad():
        classifier.weight.copy_(head.weight)
        if classifier.bias is not None:
            classifier.bias.copy_(head.bias if head.bias is not None else torch.zeros(part.config.dim))
    return model.eval(), arguments
