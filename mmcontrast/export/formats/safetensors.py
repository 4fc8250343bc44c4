"""Our own folder: what ``mmcontrast.load`` and ``mmcontrast eval run`` read, on any machine, without the run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from mmcontrast.config import config
from mmcontrast.export import EXPORTS
from mmcontrast.export.base import ExportFormat, Read
from mmcontrast.export.part import Part
from mmcontrast.export.preprocessing import described
from mmcontrast.exported.dtypes import DTYPES, Dtype
from mmcontrast.exported.folder import seal, write_exported


@EXPORTS.register("safetensors")
class Safetensors(ExportFormat):
    """Weights as safetensors, the config of every tower as JSON; holds every tower, head and geometry."""

    dtypes = DTYPES
    tolerance = 1e-6  # the same code and weights: batches of another size are all that may differ

    @config
    class Config:
        """No fields."""

    def write(self, part: Part, folder: Path, *, dtype: Dtype) -> None:
        """Write model.json and model.safetensors."""
        preprocessing = {modality: described(part, modality) for modality in part.modalities}
        about = {**part.about, "dim": part.config.dim, "preprocessing": preprocessing}
        write_exported(folder, part.config, part.state(), dtype=dtype, about=about)

    def read(self, folder: Path, part: Part) -> Read:
        """Through ``load_encoder``, which reads a sealed folder alone."""
        from mmcontrast.evaluate.encoder import load_encoder

        seal(folder)
        encoder = load_encoder(folder)
        return Read({modality: partial(encoder.encode, modality) for modality in part.modalities})

    def usage(self, part: Part) -> str:
        """The encoder takes files, arrays and strings."""
        arguments = {"image": 'image=["cat.jpg", "dog.png"]', "audio": 'audio=["rain.wav"]', "text": 'text=["a dog"]'}
        lines = [f"encoder.encode({arguments[modality]})  # (N, {part.config.dim})" for modality in part.modalities]
        return "\n".join(["import mmcontrast", "", 'encoder = mmcontrast.load("THIS FOLDER")', *lines])
