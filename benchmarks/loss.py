"""Contrastive losses over large batches: ours in tiles beside open_clip's, forward and backward.

Time is taken in turns in one process.  Memory is what a process of its own gains from just before the loss to its
peak: gradients count, embeddings do not.  Losses and gradients of both are compared first.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.row import Row
from benchmarks.turns import in_turns
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.infonce import InfoNCE
from mmcontrast.objectives.siglip import SigLIP
from mmcontrast.tiles.tiling import TilesConfig
from mmcontrast.types import Embedded, Embeddings

WIDTH = 512
TURNS = 5
KEEP_MB = 300  # holds every tile of 8,192 rows
Losses = dict[str, Callable[[], Tensor]]


@dataclass(frozen=True)
class Case:
    """A loss at a size: ``keep_mb`` is the memory that ours may keep tiles in."""

    loss: str  # infonce or siglip
    rows: int
    keep_mb: int = 0

    def way(self) -> str:
        """What becomes of a tile after forward."""
        if self.loss == "siglip":
            return "tiles computed once"
        return "tiles kept" if self.keep_mb else "tiles computed twice"

    def setting(self) -> str:
        """The case in words."""
        return f"B = {self.rows:,}, d = {WIDTH}, fp32"


CASES = (
    Case("infonce", 8192),
    Case("infonce", 8192, KEEP_MB),
    Case("infonce", 1024, KEEP_MB),
    Case("siglip", 8192),
)
LARGEST = Case("infonce", 32768)  # the peer would need four matrices of 4.3 GB


def embeddings(rows: int) -> tuple[Tensor, Tensor]:
    """Two columns of unit vectors, alike in each row, that ask for gradients."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(rows, WIDTH, generator=generator)
    text = 0.3 * image + torch.randn(rows, WIDTH, generator=generator)
    return normalize(image, dim=1).requires_grad_(), normalize(text, dim=1).requires_grad_()


def ours(case: Case, image: Tensor, text: Tensor) -> Callable[[], Tensor]:
    """Our objective over the embeddings."""
    tiles = TilesConfig(from_rows=0, keep_mb=case.keep_mb)
    chosen = InfoNCE.Config(tiles=tiles) if case.loss == "infonce" else SigLIP.Config(tiles=tiles)
    objective = OBJECTIVES.build(chosen)
    present = torch.ones(case.rows, dtype=torch.bool)
    columns = {"image": Embedded(image, present), "text": Embedded(text, present)}
    batch = Embeddings(columns, {}, [""] * case.rows)

    def loss() -> Tensor:
        total: Tensor = objective(batch).loss
        return total

    return loss


def peer(case: Case, image: Tensor, text: Tensor) -> Callable[[], Tensor]:
    """open_clip's loss over the same embeddings, with learned scale and offset of the same values."""
    from open_clip.loss import ClipLoss, SigLipLoss

    if case.loss == "infonce":
        scale = torch.tensor(1 / 0.07, requires_grad=True)
        clip = ClipLoss()
        return lambda: clip(image, text, scale)
    scale, offset = torch.tensor(10.0, requires_grad=True), torch.tensor(-10.0, requires_grad=True)
    sigmoid = SigLipLoss()
    return lambda: sigmoid(image, text, scale, offset)


def measure() -> list[Row]:
    """Compare, then time, then weigh every case."""
    rows = []
    for case in CASES:
        difference = compared(case)
        seconds, their_seconds, ratio = seconds_of(case)
        words = f"{case.setting()}; {difference}"
        name = f"{case.loss}, {case.way()}"
        rows.append(Row(name=f"{name}: time", ours=seconds, peer=their_seconds, ratio=ratio, unit="s", setting=words))
        if case.rows == 1024:
            continue  # too small for a process's memory to tell
        used, theirs = peak_mb(case, "ours"), peak_mb(case, "peer")
        rows.append(
            Row(name=f"{name}: memory", ours=used, peer=theirs, ratio=used / theirs, unit="MB", setting=case.setting())
        )
    used = peak_mb(LARGEST, "ours")
    least = 4 * LARGEST.rows**2 * 4 / 1e6
    rows.append(
        Row(
            name=f"{LARGEST.loss}, {LARGEST.way()}: memory",
            ours=used,
            peer=least,
            ratio=used / least,
            unit="MB",
            setting=f"{LARGEST.setting()}; the peer's is counted, not run: logits of both directions, their softmax",
        )
    )
    return rows


def compared(case: Case) -> str:
    """Compare losses and gradients.

    Raises:
        RuntimeError: they differ by more than 1e-6 and 1e-5, relative to the largest.
    """
    values, gradients = [], []
    for build in (ours, peer):
        image, text = embeddings(case.rows)
        loss = build(case, image, text)()
        loss.backward()
        assert image.grad is not None and text.grad is not None
        values.append(float(loss.detach()))
        gradients.append(torch.cat([image.grad, text.grad]))
    loss_gap = abs(values[0] - values[1]) / abs(values[1])
    gradient_gap = float((gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max())
    if loss_gap > 1e-6 or gradient_gap > 1e-5:
        raise RuntimeError(f"{case}: losses differ by {loss_gap:.1e}, gradients by {gradient_gap:.1e}")
    return f"loss equal to {loss_gap:.0e}, gradients to {gradient_gap:.0e}"


def seconds_of(case: Case) -> tuple[float, float, float]:
    """Median seconds of ours and of the peer, and the median of the ratios of neighbouring turns."""
    image, text = embeddings(case.rows)

    def both_ways(loss: Callable[[], Tensor]) -> None:
        image.grad = text.grad = None
        loss().backward()

    mine, theirs = in_turns(
        *(partial(both_ways, build(case, image, text)) for build in (ours, peer)), turns=TURNS, warm_up=1
    )
    ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
    return statistics.median(mine), statistics.median(theirs), ratio


def peak_mb(case: Case, who: str) -> float:
    """Peak memory of one forward and backward in a fresh process, in megabytes beyond what it held before."""
    fields = json.dumps({"loss": case.loss, "rows": case.rows, "keep_mb": case.keep_mb})
    command = [sys.executable, "-m", "benchmarks.loss", who, fields]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def resident_bytes() -> int:
    """What this process holds in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def weigh(who: str, case: Case) -> float:
    """Megabytes gained from just before the loss to the peak of this process."""
    build = ours if who == "ours" else peer
    small = Case(case.loss, 600, case.keep_mb)  # code and the threads' own buffers are loaded before the count
    build(small, *embeddings(small.rows))().backward()
    image, text = embeddings(case.rows)
    loss = build(case, image, text)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts again from now
    before = resident_bytes()
    loss().backward()
    return (peak_bytes() - before) / 1e6


def peak_bytes() -> int:
    """The largest resident memory since the peak was last reset."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    print(weigh(sys.argv[1], Case(**json.loads(sys.argv[2]))))
