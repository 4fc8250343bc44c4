"""``mmcontrast head train``, ``eval`` and ``apply``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcontrast.errors import ConfigError

if TYPE_CHECKING:
    from mmcontrast.downstream.towers import Towers

EXAMPLES = """examples:
  mmcontrast list downstream
  mmcontrast head train close source=package:quickstart/emoji-train label=group \\
      --model runs/quickstart --out heads/group
  mmcontrast head train close captions=classes.json gap=mean pairs=embedded/photos --model runs/clip --out heads/close
  mmcontrast head eval heads/group package:quickstart/emoji-unseen-style
  mmcontrast head apply heads/group --image cat.png dog.png
"""


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the three commands."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.description = (
        "Small models on frozen embeddings: trained in seconds, kept with the digests of their towers."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    train = commands.add_parser("train", help="train a head on embeddings, or on a source embedded now")
    train.add_argument("name", metavar="NAME", help="a downstream head (mmcontrast list downstream), or a YAML file")
    train.add_argument("overrides", nargs="*", metavar="key=value", help="fields of the head, applied in order")
    train.add_argument("--out", type=Path, help="folder of the head")
    train.add_argument("--print-config", action="store_true", help="print the head's fields and stop")
    train.set_defaults(call=_train)
    judge = commands.add_parser("eval", help="measure a head on other rows, beside what needs none")
    judge.add_argument("head", type=Path, help="folder of a head")
    judge.add_argument("source", help="embeddings, or anything that mmcontrast embed reads")
    judge.add_argument("--modality", choices=["image", "audio", "text"], help="what is judged; default: the head's")
    judge.add_argument("--label", help="field of the class; default: as in training")
    judge.add_argument("--where", action="append", default=[], metavar="FIELD=VALUE", help="keep these rows")
    judge.add_argument("--probe-source", metavar="SOURCE", help="rows of the modality for a linear probe beside it")
    judge.add_argument("--triplets", type=Path, help="of a composer: JSON lines of reference, text and target")
    judge.add_argument("--keep", metavar="FIELD", help="of a composer: draw triplets that keep this field")
    judge.add_argument("--json", action="store_true", help="one line of JSON")
    judge.set_defaults(call=_eval)
    apply = commands.add_parser("apply", help="class files, sounds or strings")
    apply.add_argument("head", type=Path, help="folder of a classifier head")
    for name in ("image", "audio", "text"):
        apply.add_argument(f"--{name}", nargs="+", default=[], help=f"{name}s to class")
    apply.add_argument("-k", "--count", type=int, default=3, help="classes shown")
    apply.set_defaults(call=_apply)
    for each in (train, judge, apply):
        each.add_argument("--model", help="a run, a checkpoint or an export; default: where it was")
        each.add_argument("--device", default="cpu", help="torch device of the towers")


def _train(parsed: argparse.Namespace) -> int:
    from mmcontrast.config import apply_overrides, dump, parse, read_tree
    from mmcontrast.downstream import DOWNSTREAM
    from mmcontrast.downstream.folder import Described, check_new, write_head
    from mmcontrast.downstream.towers import Towers

    is_file = parsed.name.endswith((".yaml", ".yml"))
    tree = read_tree(Path(parsed.name)) if is_file else {"type": parsed.name}
    chosen = parse(Described, {"head": apply_overrides(tree, parsed.overrides)}, where=parsed.name).head
    if parsed.print_config:
        print(dump(chosen), end="")
        return 0
    if parsed.out is None:
        raise ConfigError("--out: name the folder of the head.")
    check_new(parsed.out)
    head = DOWNSTREAM.get(chosen.registry_name).learn(chosen, Towers(parsed.model, device=parsed.device))
    write_head(head, parsed.out)
    rows = ", ".join(str(each.get("name")) for each in head.about.trained_on)
    print(f"{parsed.out}: {chosen.registry_name}, {len(head.about.classes) or 'no'} classes, trained on {rows}")
    return 0


def _towers(parsed: argparse.Namespace, head: Any) -> Towers:
    from mmcontrast.downstream.towers import Towers

    return Towers(parsed.model or head.about.model, device=parsed.device)


def _eval(parsed: argparse.Namespace) -> int:
    from mmcontrast.downstream.base import Judged
    from mmcontrast.downstream.folder import read_head

    head = read_head(parsed.head)
    bad = [each for each in parsed.where if "=" not in each]
    if bad:
        raise ConfigError(f"--where: '{bad[0]}' is no condition; expected FIELD=VALUE.")
    judged = Judged(
        source=parsed.source,
        modality=parsed.modality,
        label=parsed.label,
        where=dict(each.split("=", 1) for each in parsed.where),
        probe_source=parsed.probe_source,
        triplets=parsed.triplets,
        keep=parsed.keep,
    )
    found = head.judge(_towers(parsed, head), judged)
    if parsed.json:
        print(json.dumps(found))
        return 0
    for name, value in found.items():
        print(f"{name:<24} {value:,.0f}" if name == "rows" else f"{name:<24} {value:.4f}")
    return 0


def _apply(parsed: argparse.Namespace) -> int:
    from mmcontrast.downstream.applied import Applied

    if parsed.count < 1:
        raise ConfigError(f"--count: {parsed.count} is no count.")
    applied = Applied.open(parsed.head, model=parsed.model, device=parsed.device)
    given = {name: getattr(parsed, name) for name in ("image", "audio", "text") if getattr(parsed, name)}
    if not given:
        raise ConfigError("nothing to class: give --image, --audio or --text.")
    for modality, items in given.items():
        for item, classes in zip(items, applied.classes(modality, items, count=parsed.count), strict=True):
            print(f"{item}  " + ", ".join(f"{name} {share:.3f}" for name, share in classes))
    return 0
