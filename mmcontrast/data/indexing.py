"""Index a set of shards, made by us or by others: parallel over shards, resumable, every header and byte read once.

Each shard's part is written beside the others as soon as it is done; a run that was killed goes on where it stopped.
The parts are then joined into ``index.bin``, findings into ``index.problems.jsonl``, and ``manifest.json`` is written
or compared.
"""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mmcontrast.data.array_file import Pieces, read_arrays, write_arrays
from mmcontrast.data.guess_columns import guess_columns
from mmcontrast.data.index import INDEX_FILE, Part, lacking, write_index
from mmcontrast.data.limits import Limits
from mmcontrast.data.manifest import ColumnSpec, Manifest, ShardInfo, is_url, read_manifest, write_manifest
from mmcontrast.data.problems import Problem
from mmcontrast.data.remote import Cache, check_url
from mmcontrast.data.shard_names import expand_braces
from mmcontrast.data.shard_rows import read_shard
from mmcontrast.data.storage import Storage
from mmcontrast.errors import ConfigError, ShardError

PARTS_FOLDER = ".index"
PROBLEMS_FILE = "index.problems.jsonl"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """How shards are read."""

    workers: int = 1  # processes
    join_split_keys: bool = False  # members of one key may lie apart
    again: bool = False  # describe the shards as they are, where a manifest says otherwise
    limits: Limits = Limits()
    storage: Storage = Storage()


@dataclass(frozen=True)
class Indexed:
    """What one indexing found."""

    manifest: Manifest
    folder: Path
    problems: dict[str, int]  # kind -> findings
    lost: int  # samples that are in no row, each with a finding that names it
    ignored: dict[str, int]  # extension -> files no column can read
    bytes_read: int  # in this call; shards done by an earlier call are not read again
    seconds: float


def index_set(
    where: str,
    *,
    out: Path | None = None,
    name: str | None = None,
    columns: Mapping[str, ColumnSpec] | None = None,
    options: IndexOptions | None = None,
    say: Say = lambda _: None,
) -> Indexed:
    """Index the shards of a folder, a glob or a URL pattern.

    Args:
        where: a folder (its manifest's shards, or else every .tar in it), or a pattern with ``*`` or ``{0..9}``.
        out: folder of manifest.json and index.bin; by default the shards' own.
        columns: by default the manifest's, or guessed from the members' extensions.

    Raises:
        ShardError: no shard, an unreadable one, no usable row, or shards that differ from their manifest.
        ConfigError: a pattern that cannot be used.
    """
    options, began = options or IndexOptions(), time.perf_counter()
    shards, folder = find_shards(where, out=out)
    manifest = read_manifest(folder) if (folder / "manifest.json").is_file() else None
    parts_folder = folder / PARTS_FOLDER
    parts_folder.mkdir(parents=True, exist_ok=True)
    todo = [_Task(shard, str(folder), str(parts_folder), options) for shard in shards]
    bytes_read = _run(todo, options.workers, say)
    heads, parts = [], []
    for task in todo:
        file = read_arrays(task.part)
        heads.append(file.head)
        parts.append(Part(tuple(file.head["extensions"]), file.arrays))
    chosen = dict(columns or (manifest.columns if manifest else guess_columns(heads, parts, folder, options.storage)))
    intended = {shard.path: shard.rows for shard in manifest.shards} if manifest else {}
    # Rows that lack a column are damage, unless a manifest counts them and nothing else is wrong with their shard.
    sparse = [
        part.rows == intended.get(head["path"]) and not head["problems"]
        for head, part in zip(heads, parts, strict=True)
    ]
    parts, missing = _complete(parts, chosen, sparse)
    infos = tuple(
        ShardInfo(path=head["path"], rows=part.rows, bytes=head["bytes"], sha256=head["sha256"])
        for head, part in zip(heads, parts, strict=True)
    )
    rows = [{**row, "shard": head["path"]} for head in heads for row in head["problems"]] + [
        problem.as_row(infos[number].path) for number, problem in missing
    ]
    counts = Counter(str(row["kind"]) for row in rows)
    if not any(info.rows for info in infos):
        raise ShardError(f"'{where}': no shard holds a usable row. Found: {dict(counts.most_common())}.")
    made = _manifest(manifest, name or folder.resolve().name, chosen, infos, counts, options)
    (folder / PROBLEMS_FILE).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    write_index(folder / INDEX_FILE, parts, made.shards)
    if made != manifest:
        write_manifest(made, folder)
    shutil.rmtree(parts_folder)
    lost = len({(row["shard"], row["key"]) for row in rows if row["lost"]})
    ignored = sum((Counter(head["ignored"]) for head in heads), Counter[str]())
    return Indexed(made, folder, dict(counts), lost, dict(ignored), bytes_read, time.perf_counter() - began)


def find_shards(where: str, *, out: Path | None = None) -> tuple[list[str], Path]:
    """Return the shards as a manifest would name them, and the manifest's folder.

    Raises:
        ShardError: none found.
        ConfigError: URLs without ``out``, or shards outside of the manifest's folder.
    """
    if is_url(where):
        if out is None:
            raise ConfigError(f"'{where}' is remote: say where manifest.json and index.bin go, with --out FOLDER.")
        return expand_braces(where), out
    path = Path(where)
    if path.is_dir():
        folder = out or path
        if (folder / "manifest.json").is_file():
            return [shard.path for shard in read_manifest(folder).shards], folder
        files = sorted(path.rglob("*.tar"))
    else:
        files = sorted(Path(file) for name in expand_braces(where) for file in glob.glob(name, recursive=True))
        folder = out or (files[0].parent if files else path.parent)
    if not files:
        raise ShardError(
            f"no .tar shard at '{where}'. Expected a folder, a glob, or a pattern such as x-{{000..099}}.tar."
        )
    try:
        return [file.resolve().relative_to(folder.resolve()).as_posix() for file in files], folder
    except ValueError as error:
        raise ConfigError(f"shards must lie below the manifest's folder '{folder}': {error}. Set --out.") from error


@dataclass(frozen=True)
class _Task:
    """One shard to read; travels to a worker process."""

    shard: str
    folder: str
    parts: str
    options: IndexOptions

    @property
    def part(self) -> Path:
        """File of the shard's part."""
        return Path(self.parts) / f"{hashlib.sha256(self.shard.encode()).hexdigest()[:24]}.part"

    def local(self) -> Path:
        """The shard's file, fetched if it is remote."""
        if is_url(self.shard):
            check_url(self.shard, self.options.storage)
            return Cache(self.options.storage).fetch(self.shard)
        return Path(self.folder) / self.shard

    def state(self, path: Path) -> dict[str, Any]:
        """What must be unchanged for a part to be kept."""
        facts = path.stat()
        how = [self.options.join_split_keys, asdict(self.options.limits)]
        changed = None if is_url(self.shard) else facts.st_mtime_ns
        return {"path": self.shard, "bytes": facts.st_size, "mtime_ns": changed, "how": json.dumps(how)}

    def is_done(self) -> bool:
        """Whether an earlier call has read the shard as it is now."""
        if is_url(self.shard) and not self.part.is_file():
            return False
        try:
            head = read_arrays(self.part).head
            return all(head.get(field) == value for field, value in self.state(self.local()).items())
        except (ShardError, OSError):
            return False


def _read(task: _Task) -> int:
    """Write one shard's part; return its bytes.  Runs in a worker process."""
    path = task.local()
    found = read_shard(path, limits=task.options.limits, contents=True, join_split_keys=task.options.join_split_keys)
    part = Part.of(found.rows)
    head = {
        **task.state(path),
        "sha256": found.sha256,
        "members": found.members,
        "ignored": dict(found.ignored),
        "extensions": part.extensions,
        "problems": [problem.as_row(task.shard) for problem in found.problems],
    }
    write_arrays(task.part, head, {name: Pieces.of(array) for name, array in part.arrays.items()})
    return found.bytes


def _run(tasks: list[_Task], workers: int, say: Say) -> int:
    todo = [task for task in tasks if not task.is_done()]
    if len(todo) < len(tasks):
        say(f"{len(tasks) - len(todo)} of {len(tasks)} shards were read by an earlier call")
    began = told = time.perf_counter()
    total = 0
    for number, read in enumerate(_results(todo, workers), 1):
        total += read
        now = time.perf_counter()
        if now - told > 10 or number == len(todo):
            told = now
            say(f"{number}/{len(todo)} shards, {total / 1e6 / max(now - began, 1e-9):.0f} MB/s")
    return total


def _results(todo: list[_Task], workers: int) -> Iterator[int]:
    if workers <= 1 or len(todo) <= 1:
        yield from map(_read, todo)
        return
    try:
        with ProcessPoolExecutor(min(workers, len(todo)), mp_context=get_context("spawn")) as pool:
            for future in as_completed([pool.submit(_read, task) for task in todo]):
                yield future.result()
    except BrokenProcessPool as error:
        raise ShardError("an indexing process died (killed, or out of memory). The same command goes on.") from error


def _complete(
    parts: list[Part], columns: Mapping[str, ColumnSpec], sparse: list[bool]
) -> tuple[list[Part], list[tuple[int, Problem]]]:
    """Leave out the samples that lack a column; return what is left, and a finding for each."""
    complete, missing = [], []
    for number, part in enumerate(parts):
        absent = {} if sparse[number] else lacking(part, columns)
        for row, name in absent.items():
            place = part.row(row)
            first = min(member.offset for member in place.members.values())
            detail = f"no .{columns[name].extension} for column '{name}'"
            missing.append((number, Problem("missing_member", first, detail, place.key)))
        complete.append(part.without(absent) if absent else part)
    return complete, missing


def _manifest(
    old: Manifest | None,
    name: str,
    columns: dict[str, ColumnSpec],
    shards: tuple[ShardInfo, ...],
    counts: Mapping[str, int],
    options: IndexOptions,
) -> Manifest:
    if old is not None and old.shards == shards and old.columns == columns:
        return old
    if old is not None and not options.again:
        said = {shard.path: shard for shard in old.shards}
        differing = [shard for shard in shards if said.get(shard.path) != shard]
        shown = "; ".join(_difference(said.get(shard.path), shard) for shard in differing[:5]) or "its columns differ"
        raise ShardError(
            f"{len(differing)} shard(s) are not what the manifest says: {shown}. Findings: {dict(counts)}. "
            "Restore them, or describe them as they are with --again."
        )
    made_by = {"job": "mmcontrast data index", "problems": dict(counts)}
    if old is not None:
        return replace(old, columns=columns, shards=shards, made_by={**made_by, "before": old.made_by})
    return Manifest(name=name, columns=columns, shards=shards, made_by=made_by)


def _difference(said: ShardInfo | None, found: ShardInfo) -> str:
    if said is None:
        return f"{found.path} is not named"
    fields = [field for field in ("rows", "bytes", "sha256") if getattr(said, field) != getattr(found, field)]
    return f"{found.path}: " + ", ".join(
        f"{field} {getattr(found, field)}, not {getattr(said, field)}" for field in fields
    )
