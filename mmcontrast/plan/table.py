"""A plan in words and columns."""

from __future__ import annotations

from mmcontrast.plan.memory import Held, Plan

LEFT_FREE = 0.1  # share of a GPU for kernels' workspaces, NCCL's buffers and fragments, which no plan can see


def lines(found: Plan, *, memory: int) -> list[str]:
    """The plan beside a GPU of ``memory`` bytes."""
    total = sum(found.parameters.values())
    parts = ", ".join(f"{name} {count:,}" for name, count in found.parameters.items())
    chunks = -(-found.local_rows // found.graph_rows)
    once = "all at once" if chunks == 1 else f"{chunks} chunks of at most {found.graph_rows:,} with their graph"
    result = [
        f"batch       {found.world_size} rank(s) x {found.local_rows:,} rows = "
        f"{found.world_size * found.local_rows:,} rows an update; {once}",
        f"parameters  {total:,}, of which {found.trainable:,} are trained: {parts}",
        "",
        "per rank, whatever the engine",
        f"  {'batch as loaded':<28}{_size(found.inputs):>10}",
        f"  {'embeddings, with gradients':<28}{_size(found.embeddings):>10}",
        f"  {'activations of the towers':<28}{_size(found.activations):>10}   "
        + ", ".join(f"{name} {_size(column.activations)} a row" for name, column in found.columns.items()),
    ]
    if found.casts:
        size = _size(found.casts)
        result.append(f"  {'weights in half precision':<28}{size:>10}   of the largest tower, while it runs")
    when = "while the towers keep nothing" if found.cached else "beside the towers' activations"
    for name, loss in found.loss.items():
        result.append(f"  {'loss ' + name:<28}{_size(loss):>10}   {when}")
    result += ["", _row("engine", "weights", "gradients", "optimizer", "total", "saved", "fits", "rows with graph")]
    plain = found.held[0].total
    for held in found.held:
        result.append(_engine(found, held, plain=plain, memory=round(memory * (1 - LEFT_FREE))))
    result += [
        "",
        f"fits: in {memory / 1e9:g} GB, of which {LEFT_FREE:.0%} is left for kernels, NCCL and fragments. rows with "
        "graph: the most that would fit.",
        "Reckoned from measurements of this model on the CPU with one and two rows; not measured on GPUs.",
    ]
    return result


def _engine(found: Plan, held: Held, *, plain: int, memory: int) -> str:
    total = held.total + found.batch
    return _row(
        held.engine + (" *" if held.engine == found.chosen else ""),
        *(_size(part) for part in (held.weights, held.gradients, held.optimizer, total, plain - held.total)),
        "yes" if total <= memory else "no",
        f"{found.largest_graph_rows(held, memory):,}",
    ) + ("  * the config's" if held.engine == found.chosen else "")


def _row(first: str, *rest: str) -> str:
    widths = (11, 11, 11, 11, 11, 6, 17)
    return f"{first:<10}" + "".join(f"{text:>{width}}" for text, width in zip(rest, widths, strict=True))


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if abs(size) < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB" if size < 1000 else f"{size:,.0f} GB"
