"""Which columns and labels a source provides, and what is wrong with those that its config adds."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.labels import Label
from mmcontrast.data.source import SourceConfig
from mmcontrast.data.transforms.captions import read_names
from mmcontrast.errors import ConfigError, MissingPackage, did_you_mean
from mmcontrast.specs import InputSpec


def labels_of(source: SourceConfig) -> set[str]:
    """Names of the labels that a source provides."""
    return {*source.labels, *_told(source), *(("group",) if source.group is not None else ())}


def _told(source: SourceConfig) -> dict[str, Label]:
    """Labels of derived columns, which their derivations tell."""
    return {
        f"{column}.{end}": label
        for column, made in source.derive.items()
        for end, label in DERIVATIONS.build(made).labels().items()
    }


def check_derived(
    name: str, source: SourceConfig, stored: Collection[str], specs: Mapping[str, InputSpec] | None = None
) -> list[str]:
    """What is wrong with a source's derived columns, as messages.

    Args:
        stored: columns of its manifest.
        specs: modality -> what its tower asks for.
    """
    problems = []
    for column, made in source.derive.items():
        where, modality = f"data.sources.{name}.derive.{column}", column.partition(".")[0]
        allowed = DERIVATIONS.get(made.registry_name).modalities
        if column in stored:
            problems.append(f"{where}: the manifest has a column of this name already. Choose another.")
        if "." not in column:
            problems.append(f"{where}: the name should be a modality, a dot and a word, as in {allowed[0]}.view2.")
        elif modality not in allowed:
            problems.append(f"{where}: '{made.registry_name}' makes columns of {' or '.join(allowed)}.")
        if made.of not in stored:
            problems.append(
                f"{where}.of: no column '{made.of}' in the manifest, which has {', '.join(sorted(stored))}."
                f"{did_you_mean(made.of, stored)}"
            )
        elif made.of.partition(".")[0] != modality:
            problems.append(f"{where}.of: '{made.of}' is of another modality than '{column}'.")
        elif specs is not None and modality in specs:
            try:
                DERIVATIONS.build(made).check_spec(specs[modality])
            except (ConfigError, MissingPackage) as error:
                problems.append(f"{where}: {error}")
    return problems


def check_labels(sources: Mapping[str, SourceConfig]) -> list[str]:
    """What is wrong with labels: files that cannot be read, sources that do not agree on a label's shape."""
    problems: list[str] = []
    first: dict[str, tuple[str, Label]] = {}
    for name, source in sources.items():
        for label, config in source.labels.items():
            where = f"data.sources.{name}.labels.{label}"
            if config.vocabulary is not None:
                try:
                    read_names(config.vocabulary)
                except ConfigError as error:
                    problems.append(f"{where}.vocabulary: {error}")
            other, known = first.setdefault(label, (name, config))
            if (known.kind, known.most) != (config.kind, config.most):
                problems.append(
                    f"{where}: {config.kind} of at most {config.most}, but {known.kind} of at most {known.most} in "
                    f"data.sources.{other}. A label is of one shape in every source."
                )
    return problems


def joined_labels(sources: Mapping[str, SourceConfig]) -> dict[str, Label]:
    """Every label that any source provides."""
    found: dict[str, Label] = {}
    for source in sources.values():
        found |= source.labels | _told(source)
    return found
