"""A head's folder: ``head.json`` (what it is and belongs to), ``head.safetensors``, and the digest of both."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from mmcontrast.config import OneOf, config, parse, to_tree
from mmcontrast.downstream import DOWNSTREAM
from mmcontrast.downstream.base import About, Head
from mmcontrast.errors import ConfigError, HeadError
from mmcontrast.exported.folder import HASHES, seal, verify

HEAD_JSON, WEIGHTS = "head.json", "head.safetensors"
FORMAT, VERSION = "mmcontrast head", 1


@config
class Described:
    """A head and its fields."""

    head: Annotated[Any, OneOf(DOWNSTREAM)]


def check_new(folder: Path) -> None:
    """Refuse a place that is taken.

    Raises:
        HeadError: it is there already.
    """
    if folder.exists():
        raise HeadError(f"'{folder}' is there already. Use another --out, or remove it.")


def write_head(head: Head, folder: Path) -> None:
    """Write a head into a new folder, whole or not at all.

    Raises:
        HeadError: it is there already.
    """
    from safetensors.torch import save_file

    check_new(folder)
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
    scratch.mkdir(parents=True)
    try:
        save_file({name: value.contiguous() for name, value in head.state_dict().items()}, scratch / WEIGHTS)
        tree = {"format": FORMAT, "version": VERSION, "head": to_tree(head.config), "about": asdict(head.about)}
        text = json.dumps(tree, indent=1, ensure_ascii=False, default=str)
        (scratch / HEAD_JSON).write_text(text + "\n", encoding="utf-8")
        seal(scratch)
        scratch.replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_head(folder: str | Path) -> Head:
    """Read a head whose files are all what they were.

    Raises:
        HeadError: it is missing or damaged, or of another version; names the file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    problem = verify(folder) if (folder / HASHES).is_file() else f"it has no {HASHES}"
    if problem is not None:
        raise HeadError(f"head '{folder}': {problem}. Train it again: mmcontrast head train.")
    try:
        tree = json.loads((folder / HEAD_JSON).read_text(encoding="utf-8"))
        if (tree["format"], tree["version"]) != (FORMAT, VERSION):
            raise HeadError(
                f"'{folder}/{HEAD_JSON}' is {tree['format']} version {tree['version']}; expected {VERSION}."
            )
        chosen = parse(Described, {"head": tree["head"]}, where=f"{folder}/{HEAD_JSON}").head
        about = tree["about"]
        listed = {name: tuple(about[name]) for name in ("classes", "trained_on")}
        head: Head = DOWNSTREAM.build(chosen, about=About(**about | listed))
        head.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ConfigError, SafetensorError) as error:
        raise HeadError(f"head '{folder}': {HEAD_JSON} or {WEIGHTS} does not read: {error}") from error
    return head.eval().requires_grad_(False)
