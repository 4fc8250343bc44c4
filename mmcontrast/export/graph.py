"""Towers as graphs that take raw inputs: pictures of any size, sounds of any length, ids of any number.

Letters: S pixels of the tower's side, P pixels of the picture's.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.func import functional_call

from mmcontrast.data.transforms.clip import PADDING
from mmcontrast.errors import ExportError
from mmcontrast.export.part import Part
from mmcontrast.exported.dtypes import TORCH, Dtype, dequantized_rows, is_matrix, quantized_rows
from mmcontrast.specs import AudioSpec, ImageSpec


class PictureToPoint(nn.Module):
    """uint8 pictures of any one size: centre square, Pillow's bicubic resize, the tower, the head, the geometry."""

    def __init__(self, inner: nn.Module, spec: ImageSpec) -> None:
        super().__init__()
        self.inner, self.size = inner, spec.size

    def forward(self, pixels: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Embed."""
        return self.inner(centre_resized(pixels, size=self.size))


class SoundToPoint(nn.Module):
    """Waveforms of any one length, cut or filled to the tower's window as its ``length`` says."""

    def __init__(self, inner: nn.Module, spec: AudioSpec) -> None:
        super().__init__()
        if spec.fusion is not None or spec.length.long == "windows":
            what = "four spectrograms of a sound" if spec.fusion is not None else "the mean of several windows"
            raise ExportError(
                f"the audio tower reads {what}, which no graph holds. Export it as safetensors, or set "
                "model.towers.audio.length.long to start or center."
            )
        self.inner, self.samples, self.length = inner, spec.samples, spec.length

    def forward(self, wave: Float[Tensor, "B samples"]) -> Float[Tensor, "B D"]:
        """Embed."""
        if self.length.short == "pad" and self.length.long == "start":
            blank = wave.new_full((wave.shape[0], self.samples), PADDING)
            return self.inner(torch.cat([wave, blank], dim=1)[:, : self.samples])
        place = torch.arange(self.samples, device=wave.device)
        total = torch.arange(wave.shape[1], device=wave.device)[-1] + 1  # a tensor: one graph for every length
        skipped = (total - self.samples).clamp_min(0) // 2 if self.length.long == "center" else 0
        samples = torch.zeros_like(total) + self.samples  # a tensor, too: ONNX divides no number by one
        kept = {"pad": total, "repeat": total + samples, "repeat_pad": samples // total * total}
        real = place < torch.maximum(kept[self.length.short], total)
        wave = wave[:, (place + skipped) % total]
        negative_zeros = -(wave * 0).abs()  # runtimes take a constant one for a zero
        return self.inner(torch.where(real, wave, negative_zeros))


class IdsToPoint(nn.Module):
    """Token ids, 0 where a row is shorter than the batch's longest."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """Embed."""
        return self.inner(ids)


class Stored(nn.Module):
    """A module whose weights are kept in a storage type and turned to float32 inside the graph.

    What is no weight, such as mel filters and windows, which a checkpoint does not hold, stays as it is.
    """

    def __init__(self, inner: nn.Module, dtype: Dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self._inner = (inner,)  # out of the module's tree: its own weights are not part of the graph
        self._names: list[str] = []
        weights = inner.state_dict().keys()
        for number, (name, value) in enumerate([*inner.named_parameters(), *inner.named_buffers()]):
            self._names.append(name)
            value = value.detach()
            if name not in weights:
                self.register_buffer(f"w{number}", value)
            elif dtype == "int8" and is_matrix(value):
                steps, scale = quantized_rows(value)
                self.register_buffer(f"w{number}", steps)
                self.register_buffer(f"s{number}", scale)
            elif dtype != "int8" and value.is_floating_point():
                self.register_buffer(f"w{number}", value.to(TORCH[dtype]))
            else:
                self.register_buffer(f"w{number}", value)

    def forward(self, values: Tensor) -> Tensor:
        """Run the module with its weights in float32."""
        state: dict[str, Any] = {}
        buffers = dict(self.named_buffers())
        for number, name in enumerate(self._names):
            value = buffers[f"w{number}"]
            if f"s{number}" in buffers:
                value = dequantized_rows(value, buffers[f"s{number}"])
            state[name] = value.float() if value.is_floating_point() else value
        return functional_call(self._inner[0], state, (values,))


def graph(part: Part, modality: str, inner: nn.Module | None = None) -> nn.Module:
    """A tower with all that comes before and after it."""
    spec, inner = part.spec(modality), inner or part.module(modality)
    if isinstance(spec, ImageSpec):
        return PictureToPoint(inner, spec).eval()
    if isinstance(spec, AudioSpec):
        return SoundToPoint(inner, spec).eval()
    return IdsToPoint(inner).eval()


INPUTS = {"image": "pixels", "audio": "wave", "text": "ids"}  # name of each graph's input


def raw_example(part: Part, modality: str) -> Tensor:
    """Two rows to trace a graph with, of a size that is no special case."""
    generator = torch.Generator().manual_seed(0)
    spec = part.spec(modality)
    if isinstance(spec, ImageSpec):
        shape = (2, 3, spec.size + 5, spec.size + 9)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    if isinstance(spec, AudioSpec):
        return 0.1 * torch.randn(2, spec.samples + 7, generator=generator)
    return torch.randint(1, 40, (2, min(7, spec.context_length)), generator=generator)


def dynamic_shapes(part: Part, modality: str) -> dict[int, Any]:
    """Which axes of a graph's input may have any size."""
    from torch.export import Dim

    spec = part.spec(modality)
    if isinstance(spec, ImageSpec):
        return {0: Dim("rows"), 2: Dim("height", min=2), 3: Dim("width", min=2)}
    if isinstance(spec, AudioSpec):
        return {0: Dim("rows"), 1: Dim("samples")}
    return {0: Dim("rows"), 1: Dim("tokens", max=spec.context_length)}


# ------------------------------------------------------------------ Pillow's resize


def centre_resized(pixels: UInt8[Tensor, "B 3 H W"], *, size: int) -> UInt8[Tensor, "B 3 S S"]:
    """Centre square, bicubic with antialiasing, rounded to 8 bits after each axis: Pillow's ``resize`` with a box.

    Two products with matrices made in the graph, so that any size goes through one graph.
    Differs from Pillow by one step of 255 where its fixed-point sums fall on the other side of a half, and in a
    quarter of the pixels where Pillow (from version 13 on, for some tall pictures) goes down before it goes across.
    Pictures that have the size already stay as they are: the products would give the same.
    """
    if not torch.compiler.is_exporting():
        fits = pixels.shape[2:] == (size, size)
        return pixels if fits else _resized(pixels, size)
    height, width = (torch.scalar_tensor(each, dtype=torch.int64) for each in pixels.shape[2:])
    return torch.cond(
        (height == size) & (width == size), partial(_cut, size=size), partial(_resized, size=size), (pixels,)
    )


def _cut(pixels: UInt8[Tensor, "B 3 H W"], size: int) -> UInt8[Tensor, "B 3 S S"]:
    """The first rows and columns, by numbers: the other way out of a graph's fork has this shape as well."""
    places = torch.arange(size, device=pixels.device)
    return pixels.index_select(2, places).index_select(3, places)


def _resized(pixels: UInt8[Tensor, "B 3 H W"], size: int) -> UInt8[Tensor, "B 3 S S"]:
    down, across = (torch.arange(side, dtype=torch.float32, device=pixels.device) for side in pixels.shape[2:])
    height, width = down[-1] + 1, across[-1] + 1
    side = torch.minimum(height, width)
    values = pixels.float() @ resize_matrix(across, start=(width - side) / 2, side=side, size=size).T
    values = rounded_to_8_bits(values)  # (B, 3, H, S)
    values = resize_matrix(down, start=(height - side) / 2, side=side, size=size) @ values
    return rounded_to_8_bits(values).to(torch.uint8)


def resize_matrix(
    places: Float[Tensor, " P"], *, start: Float[Tensor, ""], side: Float[Tensor, ""], size: int
) -> Float[Tensor, "S P"]:
    """Weights with which each new pixel reads the old ones, as in Pillow's ``precompute_coeffs``.

    Args:
        places: 0, 1, 2, ... up to the old size.
        start: first place of the square that is kept.
        side: its size.
    """
    scale = side / size
    widening = scale.clamp_min(1.0)  # when shrinking, the filter covers all pixels that go into one
    centres = start + (torch.arange(size, dtype=torch.float32, device=places.device) + 0.5) * scale
    first = (centres - 2 * widening + 0.5).floor()[:, None]
    last = (centres + 2 * widening + 0.5).floor()[:, None]
    weights = cubic((places[None] - centres[:, None] + 0.5) / widening)
    weights = weights * ((places[None] >= first) & (places[None] < last))
    return weights / weights.sum(dim=1, keepdim=True)


def cubic(distance: Float[Tensor, "S P"]) -> Float[Tensor, "S P"]:
    """Keys' cubic convolution with a = -0.5.

    Source: Keys 1981, "Cubic convolution interpolation for digital image processing", equation 15.
    """
    x = distance.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = -0.5 * (((x - 5) * x + 8) * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def rounded_to_8_bits(values: Tensor) -> Tensor:
    """Round half up, as fixed-point sums do, and clip."""
    return (values + 0.5).floor().clamp(0, 255)
