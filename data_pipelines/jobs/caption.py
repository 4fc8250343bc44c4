"""Captions out of labels and keywords: by templates, and through any local transformers language model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from data_pipelines.job import JOBS
from data_pipelines.language_model import LanguageModelConfig, write
from data_pipelines.media import first_line
from data_pipelines.rows import Dropped, Row, captions, file_digest
from data_pipelines.shard_job import ShardJob, ShardJobConfig
from data_pipelines.workspace import Done
from mmcontrast.config import config
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.errors import ConfigError, SkipSample

FIELD = re.compile(r"\{(\w+)\}")
TOGETHER = 32  # rows a batch of the language model


@JOBS.register("caption")
class Caption(ShardJob):
    """Write captions from a row's fields: each template gives one, a language model gives one or several more.

    Source: Wu et al. 2023, arXiv:2211.06687, keyword-to-caption augmentation by a T5 model.
    """

    @config
    class Config(ShardJobConfig):
        """What is written."""

        templates: tuple[str, ...] = ()  # "the sound of {tags}": a list becomes "a, b and c"; a caption each
        model: LanguageModelConfig | None = None  # writes captions from its own prompt template
        keep: Literal["after", "before", "replace"] = "after"  # where the new captions stand among the row's own

    def inputs(self) -> dict[str, str]:
        """The source's digest and that of the language model.

        Raises:
            ConfigError: nothing to write from, or a template without a field.
        """
        if not self.config.templates and self.config.model is None:
            raise ConfigError("caption: give templates, model or both.")
        for template in self._asked():
            if not FIELD.search(template):
                raise ConfigError(f"caption: '{template}' has no {{field}} in it.")
        result = super().inputs()
        if self.config.model is not None:
            files = sorted(Path(self.config.model.folder).glob("*.safetensors"))
            if not files:
                raise ConfigError(f"no .safetensors weights in '{self.config.model.folder}' (model.folder).")
            result |= {str(path): file_digest(path)[1] for path in files}
        return result

    @cached_property
    def _fitting(self) -> Counter[str]:
        """Rows of the present shard that each template or prompt fits."""
        return Counter()

    def noted(self) -> dict[str, int]:
        """Rows by template."""
        return {f"rows that fit '{each}'": self._fitting[each] for each in self._asked()}

    def _asked(self) -> list[str]:
        prompts = [] if self.config.model is None else [self.config.model.prompt]
        return list(dict.fromkeys([*self.config.templates, *prompts]))

    def write_manifest(self, task: int) -> Done:
        """As ever.

        Raises:
            ConfigError: a template names a field that no row has.
        """
        fitting: Counter[str] = Counter()
        for marker in self.workspace.markers("write"):
            fitting.update(marker["counts"])
        for each in self._asked():
            if not fitting[f"rows that fit '{each}'"]:
                row = next(self.source.rows(0))
                raise ConfigError(
                    f"caption: no row has every field of '{each}'. The first row, {row.key}, has: "
                    f"{', '.join(self._named(row)) or 'none'}."
                )
        return super().write_manifest(task)

    def _named(self, row: Row) -> list[str]:
        return sorted(name for name in self._fields(row) if name != "_own")

    def columns(self) -> dict[str, ColumnSpec]:
        """The set's columns; captions become a field of the JSON member."""
        return super().columns() | {"text": self._spec()}

    def _spec(self) -> ColumnSpec:
        spec = self.source.manifest.columns.get("text")
        if spec is not None and spec.field is not None:
            return spec
        return ColumnSpec(modality="text", extension="json", field="captions")

    def process(self, number: int, rows: Iterator[Row]) -> Iterator[Row | Dropped]:
        """Write captions, some rows at a time."""
        self._fitting.clear()
        while batch := list(islice(rows, TOGETHER)):
            infos: list[dict[str, Any] | str] = []
            for row in batch:
                try:
                    infos.append(self._fields(row))
                except SkipSample as error:
                    infos.append(first_line(error))
            written = self._written([info for info in infos if isinstance(info, dict)])
            for row, info in zip(batch, infos, strict=True):
                if isinstance(info, str):
                    yield Dropped(row.key, row.shard, "JSON does not read", info)
                else:
                    yield self._captioned(row, info, next(written))

    def _fields(self, row: Row) -> dict[str, Any]:
        spec = self.source.manifest.columns.get("text")
        own = captions(row, spec) if spec is not None else []
        return row.info() | {"_own": own} | ({"caption": own[0]} if own else {})

    def _written(self, infos: list[dict[str, Any]]) -> Iterator[list[str]]:
        """What the language model writes for each row."""
        model = self.config.model
        if model is None:
            yield from ([] for _ in infos)
            return
        prompts = [fill(model.prompt, info) for info in infos]
        self._fitting[model.prompt] += sum(prompt is not None for prompt in prompts)
        answers = iter(write(model, [prompt for prompt in prompts if prompt is not None]))
        yield from ([] if prompt is None else next(answers) for prompt in prompts)

    def _captioned(self, row: Row, info: dict[str, Any], written: list[str]) -> Row | Dropped:
        filled = {template: text for template in self.config.templates if (text := fill(template, info)) is not None}
        self._fitting.update(filled.keys())
        made = [*filled.values(), *written]
        own: list[str] = info["_own"]
        if self.config.keep == "replace" and made:
            own = []
        ordered = [*made, *own] if self.config.keep == "before" else [*own, *made]
        texts = list(dict.fromkeys(ordered))
        if not texts:
            return Dropped(
                row.key, row.shard, "no field that a template names", ", ".join(sorted(set(info) - {"_own"}))
            )
        field = self._spec().field
        assert field is not None
        return row.with_info(**{field: texts})


def fill(template: str, info: dict[str, Any]) -> str | None:
    """Put a row's fields into a template; None if one is missing or empty."""
    values: dict[str, str] = {}
    for name in FIELD.findall(template):
        value = info.get(name)
        words = [str(each).replace("_", " ").strip() for each in (value if isinstance(value, list) else [value])]
        words = [word for word in words if word and word != "None"]
        if not words:
            return None
        values[name] = joined(tuple(words))
    return FIELD.sub(lambda match: values[match.group(1)], template)


@lru_cache(maxsize=1024)
def joined(words: tuple[str, ...]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
