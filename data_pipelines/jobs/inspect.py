"""One page of a set: samples with pictures and playable sounds, numbers and distributions."""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import re
from collections import Counter
from typing import Any

import numpy as np

from data_pipelines.gallery import card, gallery
from data_pipelines.job import JOBS, Findings, Job, JobConfig, Step
from data_pipelines.media import Look, first_line, sound_rate
from data_pipelines.plots import named_bars
from data_pipelines.rows import ShardFolder, open_folder
from data_pipelines.workspace import Done
from mmcontrast.config import Count, config
from mmcontrast.errors import SkipSample

MAX_PLOTTED = 200_000
MAX_WORDS = 2000
SILENT_DB = -100.0


@JOBS.register("inspect")
class Inspect(Job):
    """Draw one self-contained HTML page of a set: samples, numbers, distributions."""

    @config
    class Config(JobConfig):
        """What is shown."""

        source: str  # folder with manifest.json
        samples: Count = 24  # rows shown, drawn by the hash of their key
        salt: str = ""  # another salt, other samples

    @property
    def source(self) -> ShardFolder:
        """The set that is read."""
        return open_folder(self.config.source)

    def inputs(self) -> dict[str, str]:
        """The source's digest."""
        return {self.config.source: self.source.manifest.sha256()}

    def steps(self) -> list[Step]:
        """One task a shard."""
        return [Step("look", len(self.source), self.look)]

    def look(self, number: int) -> Done:
        """Measure one shard, and keep its candidates for the page."""
        values: dict[str, list[float]] = {}
        words: Counter[str] = Counter()
        labels: dict[str, Counter[str]] = {name: Counter() for name in self.source.manifest.labels}
        has: Counter[str] = Counter()
        num_bytes: Counter[str] = Counter()
        chosen: list[tuple[int, str, dict[str, Any]]] = []
        damaged = 0
        for row in self.source.rows(number):
            look = Look(row, self.source.manifest)
            for column, spec in look.columns.items():
                if spec.modality != "text" and look.has(column):
                    num_bytes[f"bytes of {column}"] += len(look.content(column))
            problems = _measure(look, values, words, has)
            damaged += bool(problems)
            for name, label in self.source.manifest.labels.items():
                if not problems:
                    labels[name][str(row.info().get(label.field, "(none)"))] += 1
            order = _order(row.key, self.config.salt)
            if len(chosen) < self.config.samples or -chosen[0][0] > order:
                heapq.heappush(chosen, (-order, row.key, card(look, problems)))
                if len(chosen) > self.config.samples:
                    heapq.heappop(chosen)
        listed = self.workspace.step_file("look", f"{number:06d}.json")
        samples = [{"order": -order, "card": shown} for order, _, shown in sorted(chosen, reverse=True)]
        tree = {"values": values, "words": dict(words.most_common(MAX_WORDS)), "labels": labels, "samples": samples}
        self.workspace.write_json(listed, tree)
        rows = self.source.manifest.shards[number].rows
        counts = {"rows": rows, "damaged rows": damaged, **num_bytes}
        return Done(files=(listed,), counts=counts, facts={"has": has})

    def findings(self) -> Findings:
        """Everything that the shards' tasks measured, put together."""
        values: dict[str, list[float]] = {}
        words: Counter[str] = Counter()
        labels: dict[str, Counter[str]] = {name: Counter() for name in self.source.manifest.labels}
        has: Counter[str] = Counter()
        samples: list[dict[str, Any]] = []
        for number in range(len(self.source)):
            path = self.workspace.step_file("look", f"{number:06d}.json")
            tree = json.loads(path.read_text(encoding="utf-8"))
            for name, listed in tree["values"].items():
                values.setdefault(name, []).extend(listed)
            words.update(tree["words"])
            for name, counts in tree["labels"].items():
                labels[name].update(counts)
            samples = sorted([*samples, *tree["samples"]], key=lambda each: each["order"])[: self.config.samples]
            has.update(self.workspace.read_marker("look", number)["facts"]["has"])
        bars = {"Words in captions": named_bars(words)}
        bars |= {f"Label {name} ({len(counts):,} values)": named_bars(counts) for name, counts in labels.items()}
        return Findings(
            tables={
                "Rows with each column": {name: has[name] for name in self.source.manifest.columns},
                "Licences": self.source.manifest.licences,
                "Medians": {name: _short(float(np.median(each))) for name, each in values.items()},
            },
            histograms={name: each[:: max(1, len(each) // MAX_PLOTTED)] for name, each in values.items()},
            page=gallery([each["card"] for each in samples], bars),
        )


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _order(key: str, salt: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{salt}\x1f{key}".encode(), digest_size=6).digest(), "big")


def _measure(look: Look, values: dict[str, list[float]], words: Counter[str], has: Counter[str]) -> list[str]:
    """Add one row's numbers to ``values``; return what is wrong with it."""
    problems = []
    for column in look.columns:
        try:
            if not look.has(column):
                continue
            has[column] += 1
            if column == "image":
                _add(values, "image width, pixels", look.image.width)
                _add(values, "image height, pixels", look.image.height)
                _add(values, "image aspect, width / height", look.image.width / look.image.height)
            elif column == "audio":
                wave = look.sound.wave
                _add(values, "audio seconds", look.sound.seconds)
                _add(values, "audio sample rate, Hz", sound_rate(look.content(column)))
                power = float(np.mean(np.square(wave, dtype=np.float64)))
                _add(values, "audio level, dB", 10 * math.log10(power) if power > 1e-10 else SILENT_DB)
            elif column == "text":
                texts = look.captions
                _add(values, "captions of a row", len(texts))
                for text in texts:
                    _add(values, "words of a caption", len(text.split()))
                words.update(word for text in texts for word in re.findall(r"[^\W\d_]{3,}", text.lower()))
        except SkipSample as error:
            problems.append(first_line(error))
    return problems


def _add(values: dict[str, list[float]], name: str, value: float) -> None:
    values.setdefault(name, []).append(round(float(value), 4))
