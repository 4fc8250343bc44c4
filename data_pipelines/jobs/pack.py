"""Raw files to shards: any reader's items, checked by decoding, under clean and unique keys."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from data_pipelines.job import JOBS, Findings, Job, JobConfig, Step, identity
from data_pipelines.media import encode_flac, encode_jpeg, first_line, open_sound
from data_pipelines.readers import READERS
from data_pipelines.readers.base import Reader
from data_pipelines.rows import Dropped, Row, shard_infos, to_json, write_shard
from data_pipelines.shard_index import write_part, write_set_index
from data_pipelines.shard_job import DROPPED, save_manifest
from data_pipelines.workspace import Done
from mmcontrast.config import Count, OneOf, config
from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.data.index import INDEX_FILE
from mmcontrast.data.limits import Limits
from mmcontrast.data.manifest import MODALITIES, ColumnSpec, LabelSpec, Manifest
from mmcontrast.errors import ConfigError, ShardError, SkipSample

SAME = {"jpeg": "jpg", "tiff": "tif", "aif": "aiff", "": "bin"}
KEY_CHARACTERS = 80
SNIFFED_ITEMS = 1000
JPEG_QUALITY = 92
JSON_BYTES = Limits().json_bytes  # what the loader reads


@JOBS.register("pack")
class Pack(Job):
    """Read raw pictures, sounds and captions in one of many layouts; write shards and a manifest."""

    @config
    class Config(JobConfig):
        """What to read and how to store it."""

        reader: Annotated[Any, OneOf(READERS)]  # layout of the raw data
        name: str | None = None  # of the set; null: the folder's
        rows_per_shard: Count = 1000  # items a shard; fewer rows where items are bad
        check: Literal["decode", "none"] = "decode"  # whether every medium must decode
        optional: tuple[str, ...] = ()  # columns that a row may lack; otherwise it is dropped
        labels: tuple[str, ...] = ()  # fields whose distinct values become classes
        shorter_side: Count | None = None  # pictures larger than this are scaled down and stored as JPEG
        sample_rate_hz: Count | None = None  # sounds are resampled and stored as mono FLAC

    @cached_property
    def reader(self) -> Reader:
        """The reader that the config names."""
        built: Reader = READERS.build(self.config.reader)
        return built

    @property
    def name(self) -> str:
        """Name of the set."""
        return self.config.name or self.workspace.folder.name

    def inputs(self) -> dict[str, str]:
        """Digests of the reader's lists."""
        return self.reader.inputs()

    def steps(self) -> list[Step]:
        """List the items, pack them, write the manifest."""
        return [
            Step("plan", 1, self.plan),
            Step("write", lambda: int(self.planned["chunks"]), self.write),
            Step("manifest", 1, self.write_manifest),
        ]

    # -------------------------------------------------------------- listing

    @cached_property
    def planned(self) -> dict[str, Any]:
        """What the plan found: chunks, columns with extensions, whether there are captions."""
        facts: dict[str, Any] = self.workspace.read_marker("plan", 0)["facts"]
        return facts

    def plan(self, _: int) -> Done:
        """Write the list of items in chunks of ``rows_per_shard``.

        Raises:
            ShardError: the reader finds nothing.
            ConfigError: a column is named after no modality.
        """
        kinds: dict[str, Counter[str]] = {}
        seen: dict[str, int] = {}
        chunk: list[dict[str, Any]] = []
        files: list[Path] = []
        text = False
        for number, item in enumerate(self.reader.items()):
            for column, where in item.media.items():
                if column.split(".")[0] not in ("image", "audio"):
                    raise ConfigError(
                        f"media column '{column}' must be called image or audio, with an optional .suffix."
                    )
                counts = kinds.setdefault(column, Counter())
                if number < SNIFFED_ITEMS:
                    suffix = self.reader.suffix(where)
                    counts[SAME.get(suffix, suffix)] += 1
            text = text or bool(item.info.get("captions") or item.info.get("captions_file"))
            key = unique_key(item.id, seen)
            chunk.append({"key": key, "media": item.media, "info": item.info, "refused": item.refused})
            if len(chunk) == self.config.rows_per_shard:
                files.append(self._write_chunk(len(files), chunk))
                chunk = []
        if chunk:
            files.append(self._write_chunk(len(files), chunk))
        if not files:
            raise ShardError("the reader found no item: nothing to pack.")
        facts = {
            "chunks": len(files),
            "extensions": {column: self._extension(column, counts) for column, counts in sorted(kinds.items())},
            "text": text,
        }
        return Done(files=tuple(files), facts=facts)

    def _write_chunk(self, number: int, chunk: list[dict[str, Any]]) -> Path:
        return self.workspace.write_rows(self.workspace.step_file("plan", f"{number:06d}.jsonl"), chunk)

    def _extension(self, column: str, counts: Counter[str]) -> str:
        if column.split(".")[0] == "image" and self.config.shorter_side:
            return "jpg"
        if column.split(".")[0] == "audio" and self.config.sample_rate_hz:
            return "flac"
        suffix = max(sorted(counts), key=lambda each: counts[each])  # decoders go by content, not by name
        _, dot, rest = column.partition(".")
        return f"{rest}.{suffix}" if dot else suffix

    # -------------------------------------------------------------- packing

    def columns(self) -> dict[str, ColumnSpec]:
        """Columns of the set."""
        result = {
            column: ColumnSpec(modality=column.split(".")[0], extension=extension)
            for column, extension in self.planned["extensions"].items()
        }
        if self.planned["text"]:
            result["text"] = ColumnSpec(modality="text", extension="json", field="captions")
        unknown = [column for column in self.config.optional if column not in result]
        if unknown:
            raise ConfigError(f"optional: no column '{unknown[0]}'; the items have: {', '.join(sorted(result))}.")
        return dict(sorted(result.items(), key=lambda item: (MODALITIES.index(item[1].modality), item[0])))

    def write(self, number: int) -> Done:
        """Pack one chunk."""
        lines = self.workspace.step_file("plan", f"{number:06d}.jsonl").read_text(encoding="utf-8").splitlines()
        columns = self.columns()
        shard = f"{self.name}-{number:06d}.tar"
        dropped: list[Dropped] = []
        classes: dict[str, set[str]] = {label: set() for label in self.config.labels}

        def kept() -> Iterator[Row]:
            for line in lines:
                entry = json.loads(line)
                try:
                    row = self._row(entry, columns, shard)
                except _Refused as error:
                    dropped.append(Dropped(entry["key"], shard, error.reason, first_line(error)))
                    continue
                for label, values in classes.items():
                    values.add(str(row.info().get(label)))
                yield row

        path = self.workspace.folder / shard
        facts = write_shard(self.workspace, path, kept())
        assert facts["rows"] + len(dropped) == len(lines), "every item is packed or dropped with a reason"
        listed = self.workspace.step_file("write", f"{number:06d}.dropped.jsonl")
        self.workspace.write_rows(listed, [each.as_row() for each in dropped])
        files = [listed]
        if facts["rows"]:
            files += [path, write_part(self.workspace.step_file("write", f"{number:06d}.index"), path)]
        return Done(
            files=tuple(files),
            counts={"items": len(lines), "rows": facts["rows"], "rows dropped": len(dropped)},
            facts={
                "shard": facts,
                "dropped": Counter(each.reason for each in dropped),
                "classes": {label: sorted(values) for label, values in classes.items()},
            },
        )

    def _row(self, entry: dict[str, Any], columns: dict[str, ColumnSpec], shard: str) -> Row:
        info = dict(entry["info"])
        if entry["refused"] is not None:
            raise _Refused(*entry["refused"])
        members: dict[str, bytes] = {}
        for column, spec in columns.items():
            if spec.modality == "text":
                info["captions"] = _captions(info)
                absent = not info["captions"]
            elif absent := column not in entry["media"]:
                pass
            else:
                members[spec.extension] = self._medium(entry["media"][column], spec.modality)
            if absent and column not in self.config.optional:
                raise _Refused(f"no {column}", f"{entry['key']} has no {column}")
        for label in self.config.labels:
            if label not in info:
                raise _Refused(f"no field {label}", f"{entry['key']} has no field '{label}' for a label")
        info.setdefault("licence", getattr(self.config.reader, "licence", "unknown"))
        info.setdefault("source", getattr(self.config.reader, "origin", "unknown"))
        described = to_json(info)
        if len(described) > JSON_BYTES:
            raise _Refused("text is too long", f"{len(described):,} bytes of JSON, over the limit of {JSON_BYTES:,}")
        return Row(entry["key"], members | {"json": described}, shard)

    def _medium(self, where: str, modality: str) -> bytes:
        try:
            content = self.reader.fetch(where)
        except SkipSample as error:
            raise _Refused(f"{modality} file is missing or not readable", str(error)) from error
        try:
            if modality == "image":
                return self._image(content, where)
            return self._sound(content, where)
        except SkipSample as error:
            raise _Refused(f"{modality} does not decode", str(error)) from error

    def _image(self, content: bytes, where: str) -> bytes:
        side = self.config.shorter_side
        if side is None:
            if self.config.check == "decode":
                decode_image(content, key=where)
            return content
        image = decode_image(content, key=where)
        shorter = min(image.size)
        if shorter > side:
            image = image.resize([max(side, round(each * side / shorter)) for each in image.size], 3)  # 3: bicubic
        return encode_jpeg(image, quality=JPEG_QUALITY)

    def _sound(self, content: bytes, where: str) -> bytes:
        rate = self.config.sample_rate_hz
        if rate is None:
            if self.config.check == "decode":
                open_sound(content, key=where)
            return content
        return encode_flac(decode_audio(content, key=where, sample_rate_hz=rate), rate_hz=rate)

    # ------------------------------------------------------------- manifest

    def write_manifest(self, _: int) -> Done:
        """Write ``manifest.json``, ``index.bin`` and ``dropped.jsonl``.

        Raises:
            ShardError: no item is good.
        """
        markers = self.workspace.markers("write")
        shards, licences = shard_infos(marker["facts"]["shard"] for marker in markers)
        listed = self.workspace.folder / DROPPED
        with self.workspace.writing(listed) as stream:
            for number in range(len(markers)):
                stream.write(self.workspace.step_file("write", f"{number:06d}.dropped.jsonl").read_bytes())
        if not shards:
            raise ShardError(f"no item is good. Most often: {self._commonest()}. '{listed}' says why, item by item.")
        labels = {
            label: LabelSpec(
                field=label,
                classes=tuple(sorted({name for marker in markers for name in marker["facts"]["classes"][label]})),
            )
            for label in self.config.labels
        }
        manifest = Manifest(
            name=self.name,
            columns=self.columns(),
            shards=shards,
            labels=labels,
            licences=licences,
            made_by=identity(self),
        )
        parts = [
            self.workspace.step_file("write", f"{number:06d}.index")
            for number, marker in enumerate(markers)
            if marker["facts"]["shard"]["rows"]
        ]
        index = write_set_index(self.workspace.folder, manifest, parts)
        return Done(files=(save_manifest(self, manifest), index, listed))

    def _reasons(self) -> Counter[str]:
        reasons: Counter[str] = Counter()
        for marker in self.workspace.markers("write"):
            reasons.update(marker["facts"]["dropped"])
        return reasons

    def _commonest(self) -> str:
        """The commonest reason with its first detail."""
        (reason, _), *_ = self._reasons().most_common(1)
        rows = map(json.loads, (self.workspace.folder / DROPPED).read_text(encoding="utf-8").splitlines())
        return next(f"{reason} ({row['detail']})" for row in rows if row["reason"] == reason)

    def findings(self) -> Findings:
        """Reasons with their numbers of items."""
        reasons = self._reasons()
        tables = {"Items dropped": dict(reasons.most_common())} if reasons else {}
        return Findings(tables=tables, outputs=["manifest.json", INDEX_FILE, DROPPED])


class _Refused(SkipSample):
    """One bad item, with the words that group it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def unique_key(name: str, seen: dict[str, int]) -> str:
    """Turn an id into a key: no dots, slashes or spaces, at most 80 characters, used once."""
    clean = re.sub(r"[^0-9A-Za-z_-]+", "-", name).strip("-")[:KEY_CHARACTERS] or "row"
    key = clean
    while key in seen:
        seen[clean] += 1
        key = f"{clean}-{seen[clean]}"
    seen[key] = 1
    return key


def _captions(info: dict[str, Any]) -> list[str]:
    path = info.pop("captions_file", None)
    if path is None:
        given = info.get("captions") or []
    else:
        try:
            given = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise _Refused("text is missing or not readable", f"'{path}': {error}") from error
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise _Refused("text is missing or not readable", f"captions are no list of strings: {str(given)[:100]}")
    return [each.strip() for each in given if each.strip()]
