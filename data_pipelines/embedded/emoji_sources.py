"""Read emoji concepts and vector icons out of npm tarballs, without unpacking them to disk."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_pipelines.embedded.families import family, squeezed
from mmcontrast.errors import MissingPackage, ShardError

CONCEPTS_PACKAGE = ("emojibase-data", "17.0.0")
SKIPPED_GROUPS = frozenset({"component", "flags"})
MOST_CONCEPTS_PER_TAG = 12  # "face" on 150 concepts describes none of them
# Equal once punctuation is dropped, which many tokenizers do; so they are spelt out.
CAPTION_OVERRIDES = {"keycap: #": "keycap: number sign", "keycap: *": "keycap: asterisk"}


@dataclass(frozen=True, kw_only=True)
class Style:
    """One icon set: the package that holds it and how its icons are found."""

    name: str
    version: str
    licence: str  # SPDX
    lookup: Literal["chars", "names"]  # by the package's code point table, or by comparing names

    @property
    def package(self) -> str:
        """Name of the npm package."""
        return f"@iconify-json/{self.name}"

    @property
    def source(self) -> str:
        """Package and version, as written into every row."""
        return f"{self.package}@{self.version}"


STYLES = {
    style.name: style
    for style in (
        Style(name="noto", version="1.2.9", licence="Apache-2.0", lookup="chars"),
        Style(name="noto-v1", version="1.2.5", licence="Apache-2.0", lookup="names"),
        Style(name="twemoji", version="1.2.5", licence="CC-BY-4.0", lookup="chars"),
        Style(name="fluent-emoji-flat", version="1.2.6", licence="MIT", lookup="chars"),
        Style(name="emojione-v1", version="1.2.3", licence="CC-BY-SA-4.0", lookup="names"),
        Style(name="fxemoji", version="1.2.2", licence="Apache-2.0", lookup="names"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Concept:
    """One emoji, whatever its style."""

    hexcode: str  # lower-case, joined by "-", without fe0f
    caption: str
    tags: tuple[str, ...]  # more captions, none of them another concept's caption
    unicode_name: str
    group: str
    subgroup: str

    @property
    def family(self) -> str:
        """Concepts of one family stay on one side of every split."""
        return family(self.caption)


@dataclass(frozen=True, kw_only=True)
class Icon:
    """One drawing of one concept."""

    svg: str
    mirrored: bool


def read_package(folder: Path, package: str, version: str, *, members: Iterable[str]) -> dict[str, Any]:
    """Parse JSON members of ``folder``'s tarball of an npm package; a member it lacks is an empty dict.

    Raises:
        MissingPackage: the tarball is not there; the message holds the command that gets it.
        ShardError: the tarball cannot be read.
    """
    path = folder / f"{package.removeprefix('@').replace('/', '-')}-{version}.tgz"
    if not path.is_file():
        raise MissingPackage(
            f"no '{path.name}' in '{folder}'. Get it with: (cd {folder} && npm pack {package}@{version})"
        )
    found: dict[str, Any] = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in members:
                try:
                    stream = tar.extractfile(f"package/{member}")
                except KeyError:
                    stream = None
                found[member] = json.load(stream) if stream else {}
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise ShardError(f"'{path}' is not an npm tarball of JSON files: {error}. Pack it again.") from error
    return found


def read_concepts(folder: Path) -> list[Concept]:
    """Read every emoji concept but components, skin tones and flags, in emojibase order.

    Raises:
        MissingPackage: emojibase-data is not in ``folder``.
        ShardError: two concepts would get one caption.
    """
    raw = read_package(
        folder, *CONCEPTS_PACKAGE, members=("en/data.json", "meta/groups.json", "meta/unicode-names.json")
    )
    groups, subgroups = raw["meta/groups.json"]["groups"], raw["meta/groups.json"]["subgroups"]
    rows = [row for row in raw["en/data.json"] if "group" in row and groups[str(row["group"])] not in SKIPPED_GROUPS]
    captions = [CAPTION_OVERRIDES.get(row["label"], row["label"]) for row in rows]
    repeated = [caption for caption, count in Counter(map(squeezed, captions)).items() if count > 1]
    if repeated:
        raise ShardError(f"several concepts have the caption '{repeated[0]}': add one to CAPTION_OVERRIDES")
    tags = useful_tags([row.get("tags", ()) for row in rows], captions)
    return [
        Concept(
            hexcode=plain_hexcode(row["hexcode"]),
            caption=caption,
            tags=own_tags,
            unicode_name=raw["meta/unicode-names.json"].get(row["hexcode"], ""),
            group=groups[str(row["group"])],
            subgroup=subgroups[str(row["subgroup"])],
        )
        for row, caption, own_tags in zip(rows, captions, tags, strict=True)
    ]


def plain_hexcode(hexcode: str) -> str:
    """Lower-case without the variation selector fe0f, as icon sets write code points."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def useful_tags(tags: list[Iterable[str]], captions: list[str]) -> list[tuple[str, ...]]:
    """Keep the tags that can stand as a caption, per concept.

    Dropped: a tag that is some concept's caption (it would name two pictures, and could name a held-out one),
    a tag without a word in it, and a tag of more than MOST_CONCEPTS_PER_TAG concepts.
    """
    names = set(map(squeezed, captions))
    counts = Counter(squeezed(tag) for own in tags for tag in own)
    kept = []
    for own in tags:
        forms = {squeezed(tag): tag for tag in own}
        kept.append(
            tuple(
                tag
                for form, tag in forms.items()
                if len(form) > 1 and form not in names and counts[form] <= MOST_CONCEPTS_PER_TAG
            )
        )
    return kept


def read_icons(folder: Path, style: Style, concepts: Iterable[Concept]) -> dict[str, Icon]:
    """Find the style's drawing of each concept: hexcode -> icon, without the concepts that it does not draw.

    Raises:
        MissingPackage: the style's tarball is not in ``folder``.
    """
    raw = read_package(folder, style.package, style.version, members=("icons.json", "chars.json"))
    icons = raw["icons.json"]
    if style.lookup == "chars":
        names = {
            concept.hexcode: raw["chars.json"][concept.hexcode]
            for concept in concepts
            if concept.hexcode in raw["chars.json"]
        }
    else:
        names = match_names(concepts, icons=icons["icons"], aliases=icons.get("aliases", {}))
    found = {hexcode: resolve_icon(icons, name) for hexcode, name in names.items()}
    return {hexcode: icon for hexcode, icon in found.items() if icon is not None}


def match_names(
    concepts: Iterable[Concept], *, icons: Mapping[str, Any], aliases: Mapping[str, Any]
) -> dict[str, str]:
    """Match concepts to icon names by letters and digits: hexcode -> icon or alias name.

    A name equal to the caption beats an alias equal to it, which beats the Unicode name.  One drawing goes to
    one concept, the better match: aliases are loose ("cricket", the insect, points to the game).
    """
    by_form = {squeezed(name): name for name in sorted(icons)}
    alias_by_form = {squeezed(name): name for name in sorted(aliases)}
    claims: list[tuple[int, int, str, str]] = []  # (how loose, order, hexcode, name)
    for order, concept in enumerate(concepts):
        tries = [
            (table, text) for text in (concept.caption, concept.unicode_name) for table in (by_form, alias_by_form)
        ]
        for looseness, (table, text) in enumerate(tries):
            form = squeezed(text)
            if form and form in table:
                claims.append((looseness, order, concept.hexcode, table[form]))
                break
    taken: set[str] = set()
    matched: dict[str, str] = {}
    for _, _, hexcode, name in sorted(claims):
        drawing = root_name(aliases, name)
        if drawing not in taken:
            taken.add(drawing)
            matched[hexcode] = name
    return matched


def root_name(aliases: Mapping[str, Any], name: str) -> str:
    """Follow alias parents to the icon that is drawn."""
    seen = {name}
    while name in aliases:
        name = aliases[name]["parent"]
        if name in seen:
            raise ShardError(f"the icon alias '{name}' points to itself")
        seen.add(name)
    return name


def resolve_icon(icons: Mapping[str, Any], name: str) -> Icon | None:
    """Return the drawing of an icon or alias of an Iconify set, or None where the set has none."""
    aliases, mirrored, step = icons.get("aliases", {}), False, name
    root = root_name(aliases, name)
    while step != root:
        extra = set(aliases[step]) - {"parent", "hidden", "hFlip"}
        if extra:
            raise ShardError(f"the icon alias '{step}' asks for {sorted(extra)}; only hFlip is known")
        mirrored ^= bool(aliases[step].get("hFlip"))
        step = aliases[step]["parent"]
    icon = icons["icons"].get(root)
    if icon is None:
        return None
    left, top = icon.get("left", icons.get("left", 0)), icon.get("top", icons.get("top", 0))
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{icon["body"]}</svg>'
    )
    return Icon(svg=svg, mirrored=mirrored)
