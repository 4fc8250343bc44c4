"""Every objective beside InfoNCE: a forward and a backward of the loss alone, and its memory.

Each is built with its default fields, or those of ``FIELDS``, in a process of its own.  Time is CPU time, taken in
turns with InfoNCE.  Memory is what the process gains from just before the loss to its peak: gradients count,
embeddings do not.  How it grows from 512 to 1,024 rows (128 to 256 of tokens) in small tiles tells
what is held whole (4 times) from what is cut into tiles (at most 2 times, beyond what the embeddings themselves need).

Those that read tokens or cells get an eighth of the rows, with 16 tokens each, 128 wide, of pictures of 16 pixels,
captions of 16 ids and sounds, and a small vocabulary.

The last row is a whole training step of the same towers under CatLIP and under InfoNCE.
"""

from __future__ import annotations

import ctypes
import gc
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from benchmarks.loss import peak_bytes, resident_bytes
from benchmarks.row import Row
from benchmarks.turns import in_turns
from mmcontrast.geometry import GEOMETRIES
from mmcontrast.geometry.gaussian import Gaussian
from mmcontrast.geometry.lorentz import Lorentz
from mmcontrast.geometry.sphere import Sphere
from mmcontrast.model import spaces_of
from mmcontrast.objectives import OBJECTIVES, cyclip, pairwise
from mmcontrast.objectives.base import Objective
from mmcontrast.objectives.infonce import InfoNCE
from mmcontrast.types import Column, Embedded, Embeddings, Tokens

ROWS = 4096
WIDTH = 512
CLASSES = 20_000  # of CatLIP's vocabulary
TOKENS, TOKEN_WIDTH = 16, 128
FEWER = 8  # times fewer rows for objectives that read tokens or cells
PATCH = 4  # pixels a side of the square that a token stands for
VOCABULARY = 1024  # of token ids
NOUNS = 8  # classes of a row
TURNS = 2
SMALL_TILE = 2**16  # cells
MMAP_THRESHOLD = -3  # of mallopt: larger blocks go back to the system when freed, so that peaks can be read

FIELDS: dict[str, dict[str, Any]] = {
    "captioning": {"vocabulary": VOCABULARY},
    "catlip": {"classes": CLASSES},
    "cluster_negatives": {"begin_below": 1.0},
    "concept_distillation": {"classes": {"nouns": CLASSES}},
    "cross_batch_memory": {"start_step": 0, "queue": ROWS},
    "diffcse": {"vocabulary": VOCABULARY},
    "esimcse": {"queue": ROWS},
    "macrl": {"patch": PATCH},
    "masked_language": {"vocabulary": VOCABULARY},
    "matryoshka": {"objective": InfoNCE.Config(), "widths": (64, 128, 256, 512)},
    "momentum_contrast": {"queue": ROWS},
}
CURVED: dict[str, Any] = {"entailment": Lorentz.Config(), "geometry_contrast": Gaussian.Config()}


class Tower:
    """Its widths, for objectives that read tokens."""

    width = token_width = TOKEN_WIDTH


TOWERS = dict.fromkeys(("image", "audio", "text"), Tower)


class Case:
    """An objective with made-up embeddings of everything that it reads."""

    def __init__(self, name: str, rows: int) -> None:
        torch.manual_seed(0)
        config = OBJECTIVES.get(name).Config(**FIELDS.get(name, {}))
        self.objective: Objective = OBJECTIVES.build(config)
        geometry = GEOMETRIES.build(CURVED.get(name, Sphere.Config()))
        self.objective.attach(spaces_of(geometry, WIDTH, TOWERS, teacher_dim=WIDTH))
        needs = self.objective.needs()
        shared = torch.randn(rows, WIDTH)

        present = torch.ones(rows, dtype=torch.bool)

        def column(name: str) -> Embedded:
            vectors = 0.05 * (shared + 2 * torch.randn(rows, WIDTH))
            tokens = None
            if name in needs.tokens:
                tokens = Tokens(torch.randn(rows, TOKENS, TOKEN_WIDTH), present[:, None].expand(-1, TOKENS))
            return Embedded(geometry.project(vectors).detach(), present, tokens)

        self.leaves = {each: column(each) for each in sorted({*needs.embeddings, *needs.tokens})}
        for leaf in self.leaves.values():
            leaf.z.requires_grad_()
            if leaf.tokens is not None:
                leaf.tokens.values.requires_grad_()
        self.embeddings = Embeddings(
            self.leaves,
            {each: labels(each, rows) for each in needs.labels},
            [""] * rows,
            needs,
            taught={each: column(each) for each in needs.teacher},
            averaged={each: column(each) for each in needs.momentum},
            inputs=cells(needs.inputs, rows),
        )
        self.objective.after_step(self.embeddings.detached().limited(needs))  # fills queues, starts clusters

    def step(self) -> None:
        """Forward and backward."""
        for leaf in self.leaves.values():
            leaf.z.grad = None
            if leaf.tokens is not None:
                leaf.tokens.values.grad = None
        self.objective.zero_grad(set_to_none=True)
        self.objective(self.embeddings).loss.backward()


def labels(name: str, rows: int) -> Tensor:
    """A label that objectives read by default."""
    if name == "nouns":
        return torch.randint(0, CLASSES, (rows, NOUNS))
    if name.endswith(".box"):
        return torch.rand(rows, 5) / 2
    if name == "relevance":
        return torch.randint(0, 5, (rows,)).float()
    return torch.randint(0, rows // 4, (rows,))  # groups of about four rows


def reads_tokens(name: str) -> bool:
    """Whether it reads more of a row than one vector."""
    needs = OBJECTIVES.build(OBJECTIVES.get(name).Config(**FIELDS.get(name, {}))).needs()
    return bool(needs.tokens or needs.inputs)


def cells(names: Sequence[str], rows: int) -> dict[str, Column]:
    """Pictures and ids, a third of which is hidden in columns whose name says so."""
    side = math.isqrt(TOKENS)
    present = torch.ones(rows, dtype=torch.bool)
    whole = {
        "image": torch.randint(0, 256, (rows, 3, side * PATCH, side * PATCH), dtype=torch.uint8),
        "text": torch.randint(1, VOCABULARY, (rows, TOKENS)),
    }
    found = {}
    for name in names:
        values = whole[name.partition(".")[0]]
        if name.endswith(".masked"):
            values = torch.where(torch.rand(rows, *values.shape[1:]) < 1 / 3, 0 * values + 127, values)
        found[name] = Column(name, values, present)
    return found


def measure(share: float = 1.0) -> list[Row]:
    """Weigh and time each objective, then the two steps.

    Args:
        share: of the 4,096 rows; the two steps keep theirs.
    """
    size = int(share * ROWS)
    steps = apart(catlip_step)
    sizes = {name: size // FEWER if reads_tokens(name) else size for name in OBJECTIVES.names()}
    found = {name: apart(partial(measured, name, each)) for name, each in sizes.items()}
    rows = []
    for name, each in found.items():
        fields = ", ".join(f"{key} {value}" for key, value in FIELDS.get(name, {}).items() if isinstance(value, int))
        setting = f"{sizes[name]:,} x {WIDTH}, fp32{', ' + fields if fields else ''}"
        rows.append(
            Row(
                name=f"{name}: time",
                ours=each.seconds,
                peer=each.infonce_seconds,
                ratio=each.ratio,
                unit="CPU s",
                setting=setting,
            )
        )
        rows.append(
            Row(
                name=f"{name}: memory",
                ours=each.megabytes,
                peer=each.infonce_megabytes,
                ratio=each.megabytes / each.infonce_megabytes,
                unit="MB",
                setting=f"{setting}; grows {each.growth:.1f} times when rows double",
            )
        )
    return [*rows, steps]


def apart(what: Callable[[], Any]) -> Any:
    """Call in a process of its own and return what it returns."""
    context = multiprocessing.get_context("fork")  # torch is loaded, and has not computed anything yet
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(there, what))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        raise RuntimeError("a part of the benchmark ended without a result; its error stands above") from None
    finally:
        process.join()


def _send(there: Connection, what: Callable[[], Any]) -> None:
    there.send(what())


@dataclass(frozen=True)
class Measured:
    """What one objective costs."""

    megabytes: float  # gained at the peak
    infonce_megabytes: float
    growth: float  # of the peak when rows double
    seconds: float
    infonce_seconds: float
    ratio: float  # of neighbouring turns


def measured(name: str, size: int) -> Measured:
    """Weigh the objective, then time it in turns with InfoNCE."""
    print(name, file=sys.stderr, flush=True)
    ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 65536)
    whole, pairwise.TILE_CELLS, cyclip.TILE_CELLS = pairwise.TILE_CELLS, SMALL_TILE, SMALL_TILE
    Case(
        name, 128 if reads_tokens(name) else 512
    ).step()  # code and the threads' own buffers are loaded before anything is counted
    less, more = (weigh(Case(name, each)) for each in ((128, 256) if reads_tokens(name) else (512, 1024)))
    pairwise.TILE_CELLS = cyclip.TILE_CELLS = whole
    megabytes, theirs_megabytes = weigh(Case(name, size)), weigh(Case("infonce", size))
    ours, theirs = Case(name, size), Case("infonce", size)
    theirs.step()  # ours has run
    first, second = in_turns(ours.step, theirs.step, turns=TURNS, warm_up=0, clock=time.process_time)
    ratio = statistics.median(a / b for a, b in zip(first, second, strict=True))
    return Measured(
        megabytes, theirs_megabytes, more / less, statistics.median(first), statistics.median(second), ratio
    )


def weigh(case: Case) -> float:
    """Megabytes gained at the peak of a step."""
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts again from now
    before = resident_bytes()
    case.step()
    return (peak_bytes() - before) / 1e6


def catlip_step() -> Row:
    """A training step under CatLIP, which needs no text tower, beside InfoNCE's with the same picture tower."""
    from benchmarks.step import NAME, our_batch, pictures, real_captions
    from benchmarks.step import ROWS as BATCH
    from mmcontrast.engines import ENGINES
    from mmcontrast.engines.local import Local
    from mmcontrast.heads.identity import Identity
    from mmcontrast.model import Model, ModelConfig
    from mmcontrast.objectives.catlip import CatLIP
    from mmcontrast.optim.adamw import AdamW
    from mmcontrast.steps.plain import Plain
    from mmcontrast.towers.open_clip_image import OpenCLIPImage
    from mmcontrast.towers.open_clip_text import OpenCLIPText
    from mmcontrast.types import Batch

    whole = our_batch(pictures(), real_captions())
    nouns = {"nouns": torch.randint(0, CLASSES, (BATCH, NOUNS))}
    towers = {"image": OpenCLIPImage.Config(name=NAME), "text": OpenCLIPText.Config(name=NAME)}
    width = 256

    def step(objective: Objective, used: tuple[str, ...]) -> Callable[[], object]:
        heads = {name: Identity.Config() for name in used}
        config = ModelConfig(dim=width, towers={name: towers[name] for name in used}, heads=heads)
        model = Model(config, {"main": objective}).train()
        engine = ENGINES.build(Local.Config(device="cpu"), model=model, optimizer=AdamW(AdamW.Config(lr=5e-4)))
        batch = Batch({name: whole.columns[name] for name in used}, nouns, whole.keys)
        return partial(_update, Plain(Plain.Config(), engine=engine), engine, batch)

    catlip = step(OBJECTIVES.build(CatLIP.Config(classes=CLASSES)), ("image",))
    infonce = step(OBJECTIVES.build(InfoNCE.Config()), ("image", "text"))
    first, second = in_turns(catlip, infonce, turns=TURNS, warm_up=1, clock=time.process_time)
    return Row(
        name="catlip: training step",
        ours=statistics.median(first),
        peer=statistics.median(second),
        ratio=statistics.median(a / b for a, b in zip(first, second, strict=True)),
        unit="CPU s",
        setting=f"{NAME}, batch {BATCH}, fp32, {CLASSES:,} classes; InfoNCE's step also has the text tower",
    )


def _update(step: Any, engine: Any, batch: Any) -> None:
    step(batch)
    engine.step(lr_factor=1e-6)
