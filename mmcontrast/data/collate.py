"""Drawn rows to one :class:`Batch`: uint8 pictures, float waveforms, ids trimmed to the longest caption."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmcontrast.data.canvas import AnyCanvas, Canvas, SoundCanvas, empty
from mmcontrast.data.decoded import Drawn
from mmcontrast.data.labels import Label, stacked_labels
from mmcontrast.data.transforms.sequence import padded
from mmcontrast.front_ends.fusion import blank_mels
from mmcontrast.specs import AudioSpec, ImageSpec, InputSpec, TextSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.base import Tokenizer
from mmcontrast.tokenizers.masking import MaskedText
from mmcontrast.types import Batch, Column, Values

Encode = Callable[[str | MaskedText], list[int]]


def encoders(specs: Mapping[str, InputSpec]) -> dict[str, Encode]:
    """Build each text column's tokenizer, bound to its tower's context length."""
    return {
        name: partial(_encoded, TOKENIZERS.build(spec.tokenizer), spec.context_length)
        for name, spec in specs.items()
        if isinstance(spec, TextSpec)
    }


def _encoded(tokenizer: Tokenizer, context_length: int, cell: str | MaskedText) -> list[int]:
    if isinstance(cell, MaskedText):
        return tokenizer.masking().hide(tokenizer.encode(cell.text, context_length=context_length), cell)
    return tokenizer.encode(cell, context_length=context_length)


def collate(
    rows: list[Drawn],
    *,
    specs: Mapping[str, InputSpec],
    encode: Mapping[str, Encode],
    labels: Mapping[str, Label] | None = None,
    canvases: Mapping[str, AnyCanvas] | None = None,
) -> Batch:
    """Stack rows into columns; a row that lacks a column is absent there.

    Args:
        specs: column name -> what its tower asks for; each becomes a column, if need be with no row present.
        encode: text column -> tokenizer.
        labels: what each label of the batch is like, beside the group.
        canvases: column -> where its pictures or sounds may lie already.
    """
    columns = {}
    for name in sorted(specs):
        present = torch.tensor([name in row.values for row in rows])
        cells = [row.values[name] for row in rows if name in row.values]
        columns[name] = _column(specs[name], cells, present, encode.get(name), (canvases or {}).get(name))
    group = torch.tensor([row.group for row in rows], dtype=torch.int64)
    stacks = stacked_labels([row.labels for row in rows], labels or {})
    return Batch(columns, {"group": group, **stacks}, [row.key for row in rows])


def _column(
    spec: InputSpec, cells: list[Any], present: Tensor, encode: Encode | None, canvas: AnyCanvas | None
) -> Column:
    if isinstance(spec, ImageSpec):
        places = canvas if isinstance(canvas, Canvas) else None
        return Column("image", stacked_pictures(spec, cells, places), present)
    if isinstance(spec, AudioSpec):
        whole = canvas.filled(cells) if isinstance(canvas, SoundCanvas) else None
        return Column("audio", stacked_sounds(spec, cells) if whole is None else whole, present)
    assert encode is not None, "a text column needs a tokenizer"
    ids = pad_ids([encode(cell) for cell in cells])
    return Column("text", stacked(ids) if ids else torch.zeros(0, 1, dtype=torch.int64), present)


def stacked_pictures(spec: ImageSpec, cells: list[Any], canvas: Canvas | None = None) -> Values:
    """Pictures (P, 3, size, size), uint8, whose bytes lie pixel by pixel, as decoders write them; or patches."""
    if spec.sequence is not None:
        return padded(cells, spec.sequence, empty=empty)
    if not cells:
        return torch.zeros(0, 3, spec.size, spec.size, dtype=torch.uint8)
    whole = None if canvas is None else canvas.filled(cells)
    if whole is None:
        whole = stacked([torch.from_numpy(cell.transpose(1, 2, 0)) for cell in cells])
    return whole.permute(0, 3, 1, 2)


def stacked_sounds(spec: AudioSpec, cells: list[Any]) -> Values:
    """Waveforms (P, samples), or the four spectrograms of ``spec.fusion`` as a dict; with none, P is 0."""
    if spec.fusion is None:
        return stacked([torch.from_numpy(cell) for cell in cells]) if cells else torch.zeros(0, spec.samples)
    if cells:
        return {name: stacked([cell[name] for cell in cells]) for name in cells[0]}
    return blank_mels(spec.fusion, rows=0, samples=spec.samples)


def stacked(cells: list[Tensor]) -> Tensor:
    """Stack cells of one shape."""
    return torch.stack(cells, out=empty((len(cells), *cells[0].shape), cells[0].dtype))


def pad_ids(rows: list[list[int]], *, pad_id: int = 0) -> list[Tensor]:
    """Right-pad id lists to the longest."""
    longest = max((len(row) for row in rows), default=1)
    return [torch.tensor(row + [pad_id] * (longest - len(row)), dtype=torch.int64) for row in rows]
