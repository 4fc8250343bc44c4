"""Write samples into plain tar shards with a manifest beside them, byte-identical at every run."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcontrast.data.manifest import ColumnSpec, LabelSpec, Manifest, ShardInfo, file_sha256, write_manifest


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row: its key (no dots or slashes), its media members by extension, its JSON member."""

    key: str
    members: Mapping[str, bytes]
    info: Mapping[str, Any]  # becomes KEY.json; must hold "licence" and "source"


def write_shards(
    samples: Iterable[Sample],
    *,
    folder: Path,
    name: str,
    columns: dict[str, ColumnSpec],
    labels: dict[str, str] | None = None,
    made_by: dict[str, Any],
    rows_per_shard: int = 1000,
) -> Manifest:
    """Pack ``samples`` in the order given into ``folder/NAME-000000.tar`` ... and ``manifest.json``.

    Args:
        labels: label name -> field of ``info`` whose sorted distinct values become the classes.
        made_by: job name, parameters, source packages with versions.
        rows_per_shard: the last shard may hold fewer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.tar"):
        stale.unlink()
    rows = list(samples)
    keys = Counter(row.key for row in rows)
    repeated = [key for key, count in keys.items() if count > 1]
    if repeated:
        raise ValueError(f"keys must be unique; '{repeated[0]}' is not")
    shards = []
    for start in range(0, len(rows), rows_per_shard):
        path = folder / f"{name}-{start // rows_per_shard:06d}.tar"
        chunk = rows[start : start + rows_per_shard]
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for row in chunk:
                for extension, content in row.members.items():
                    _add(tar, f"{row.key}.{extension}", content)
                text = json.dumps(dict(row.info), ensure_ascii=False, separators=(",", ":"))
                _add(tar, f"{row.key}.json", text.encode("utf-8"))
        shards.append(ShardInfo(path=path.name, rows=len(chunk), bytes=path.stat().st_size, sha256=file_sha256(path)))
    manifest = Manifest(
        name=name,
        columns=columns,
        shards=tuple(shards),
        labels={
            label: LabelSpec(field=field, classes=tuple(sorted({str(row.info[field]) for row in rows})))
            for label, field in (labels or {}).items()
        },
        licences=dict(sorted(Counter(str(row.info["licence"]) for row in rows).items())),
        made_by=made_by,
    )
    write_manifest(manifest, folder)
    return manifest


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))
