"""One self-contained HTML page of a result: no file or address outside it is needed to read it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from mmcontrast.errors import MMContrastError
from mmcontrast.evaluate.collection import open_collection
from mmcontrast.evaluate.page import rendered
from mmcontrast.evaluate.plots import confusion_map, interval, lines, scatter, spectrum_plot
from mmcontrast.evaluate.table import interval_text, other_controls, verdict, written

MIME = {
    "png": "image/png", "webp": "image/webp", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif",
    "ogg": "audio/ogg", "opus": "audio/ogg", "wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg",
}  # fmt: skip
SECTIONS = {  # modalities of an evaluation -> its heading
    ("image", "text"): "Pictures and text",
    ("audio", "text"): "Sounds and text",
    ("audio", "image"): "Pictures and sounds",
    ("image",): "Pictures alone",
    ("audio",): "Sounds alone",
    ("text",): "Texts alone",
}
MOST_TILES = 7
FEW_CLASSES = 10
MOST_MEDIA_BYTES = 400_000  # one file in the page; a larger one is named instead


def write_report(tree: dict[str, Any], out: Path) -> Path:
    """Draw ``out/report.html`` from a result's tree (see ``suite.result_tree``); return its path."""
    about, reports = tree["about"], tree["evaluators"]
    page = rendered(
        "page.html.j2",
        heading=about.get("run", "A model"),
        suite=tree["suite"],
        subtitle=_subtitle(tree),
        description=tree["description"],
        tiles=_tiles(reports),
        sections=_sections(reports),
        controls=any("untrained" in metric["controls"] for each in reports.values()
                     for metric in each["metrics"].values()),
        skipped=tree["skipped"] | tree.get("absent", {}) | tree.get("failed", {}),
        missing=[(each["title"] or name, each["num_missing"], each["missing"][:5])
                 for name, each in reports.items() if each["num_missing"]],
        notes=[(each["title"] or name, note) for name, each in reports.items() for note in each.get("notes", [])],
        galleries=_galleries(reports),
        probes=_probes(reports),
        maps=_maps(reports),
        spaces=[
            {"title": each["title"] or name, "svg": scatter(each["scatter"]), "facts": each["facts"],
             "spectra": spectrum_plot(each.get("spectra", {}))}
            for name, each in reports.items()
            if each["scatter"] or each.get("spectra")
        ],
        classes=_classes(reports),
        curves=_curves(about.get("training", [])),
        data=list(about.get("data", {}).values()),
        config=about.get("config", ""),
        versions=about.get("versions", {}),
        weights=about.get("weights_sha256", ""),
        machine=_machine(about.get("environment", {})),
        preprocessing=about.get("preprocessing", {}).get("sha256", ""),
        protocol=tree["protocol"].get("sha256", ""),
    )  # fmt: skip
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _subtitle(tree: dict[str, Any]) -> str:
    about = tree["about"]
    parts = [f"checkpoint {about['checkpoint']}"] if "checkpoint" in about else []
    training = about.get("training", [])
    if training:
        last = training[-1]
        parts.append(f"{last['step']:,} steps")
        if last.get("rows"):
            parts.append(f"{last['rows']:,} rows seen")
        if last.get("seconds"):
            parts.append(f"trained in {last['seconds'] / 60:.1f} minutes")
    parts.append(f"evaluated in {about.get('seconds', 0):.0f} seconds")
    return ", ".join(parts)


def _machine(environment: dict[str, Any]) -> str:
    if not environment:
        return ""
    threads, ranks = environment["threads"], environment["ranks"]
    return (
        f"{environment['device']}, {environment['processor']}, {threads} thread{'s' if threads > 1 else ''}, "
        f"{ranks} process{'es' if ranks > 1 else ''}"
    )


def _tiles(reports: dict[str, Any]) -> list[dict[str, str]]:
    goals = [verdict(metric) for each in reports.values() for metric in each["metrics"].values()]
    aimed = len(goals) - goals.count("")
    tiles = []
    if aimed:
        tiles.append({"value": f"{goals.count('reached')} of {aimed}", "label": "targets reached", "note": ""})
    # With targets the page opens on what was aimed at; without, on the first evaluations.
    wanted = {name for name, each in reports.items() if any(metric["target"] for metric in each["metrics"].values())}
    for name, each in reports.items():
        aims = [key for key, metric in each["metrics"].items() if metric["target"] is not None]
        chosen = (aims or [each["primary"]])[0]
        metric = each["metrics"][chosen]
        if metric["unit"] != "share" or (wanted and name not in wanted) or len(tiles) >= MOST_TILES:
            continue
        note = f"{chosen}, chance {written(metric['chance'])}%"
        if metric["target"] is not None:
            note += f", target {written(metric['target'])}%"
        tiles.append({"value": f"{written(metric['value'])}%", "label": each["title"] or name, "note": note})
    return tiles


def _sections(reports: dict[str, Any]) -> list[dict[str, Any]]:
    sections: dict[str, list[dict[str, Any]]] = {}
    for name, each in reports.items():
        heading = SECTIONS.get(tuple(sorted(each["modalities"])), "All modalities")
        for position, (metric_name, metric) in enumerate(each["metrics"].items()):
            sections.setdefault(heading, []).append(_row(name, each, metric_name, metric, first=position == 0))
    return [{"title": title, "rows": rows} for title, rows in sections.items()]


def _row(
    name: str, report: dict[str, Any], metric_name: str, metric: dict[str, Any], *, first: bool
) -> dict[str, Any]:
    unit, share = metric["unit"], metric["unit"] == "share"
    plot = ""
    if share and metric["value"] is not None:
        plot = interval(metric["value"], metric["low"], metric["high"], chance=metric["chance"], goal=metric["target"])
    facts = report["facts"]
    pool = facts.get("classes") or facts.get("pool") or facts.get("pairs")
    what = "classes" if "classes" in facts else "in the pool" if "pool" in facts else "pairs"
    return {
        "span": len(report["metrics"]) if first else 0,
        "title": report["title"] or name,
        "pool": f"{pool:,} {what}, {report['num_rows']:,} {'queries' if 'pool' in facts else 'rows'}" if pool else "",
        "metric": metric_name,
        "value": written(metric["value"], unit),
        "interval": interval_text(metric),
        "chance": written(metric["chance"], unit),
        "shuffled": written(metric["controls"].get("shuffled"), unit),
        "untrained": written(metric["controls"].get("untrained"), unit),
        "others": other_controls(metric),
        "target": "" if metric["target"] is None else written(metric["target"], unit),
        "verdict": verdict(metric),
        "plot": plot,
    }


def _galleries(reports: dict[str, Any]) -> list[dict[str, Any]]:
    galleries = []
    for name, each in reports.items():
        if not each["gallery"] or each["evaluator"] == "order":
            continue
        galleries.append(
            {
                "title": each["title"] or name,
                "of": each["facts"].get("pool") or each["facts"].get("classes"),
                "answers": each["gallery"][0]["answers"][0]["kind"],
                "examples": [_example(example) for example in each["gallery"]],
                "failures": [_example(example) for example in each.get("failures", [])],
            }
        )
    return galleries


def _example(example: dict[str, Any]) -> dict[str, Any]:
    return {
        "query": _media(example["query"]),
        "answers": [_media(answer) for answer in example["answers"]],
        "rank": example["rank"],
    }


def _media(shown: dict[str, Any]) -> dict[str, Any]:
    """Add a data URI to a picture or sound; ``uri`` is empty when its source is not here any more."""
    if shown["kind"] == "text":
        return shown
    try:
        collection = open_collection(shown["source"])
        extension = collection.extension(shown["position"], shown["kind"])
        content = collection.content(shown["position"], shown["kind"])
    except (MMContrastError, KeyError, IndexError):
        return shown | {"uri": ""}
    if len(content) > MOST_MEDIA_BYTES or extension not in MIME:
        return shown | {"uri": ""}
    return shown | {"uri": f"data:{MIME[extension]};base64,{base64.b64encode(content).decode()}"}


def _probes(reports: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "title": each["title"] or name,
            "examples": [_example(example) for example in each["gallery"]],
            "failures": [_example(example) for example in each.get("failures", [])],
        }
        for name, each in reports.items()
        if each["evaluator"] == "order" and each["gallery"]
    ]


def _maps(reports: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "title": each["title"] or name,
            "svg": confusion_map(**each["confusion"]),
        }
        for name, each in reports.items()
        if each["confusion"] and each["num_rows"] > 2 * len(each["confusion"]["names"])
    ]


def _classes(reports: dict[str, Any]) -> list[dict[str, Any]]:
    """Many classes with more than one row each: one row says little of its class, and a few are in the map."""
    blocks = []
    for name, each in reports.items():
        if len(each["classes"]) < FEW_CLASSES or each["num_rows"] < 2 * len(each["classes"]):
            continue
        entries = sorted(each["classes"].items(), key=lambda item: (-item[1]["accuracy"], item[0]))
        blocks.append({"title": each["title"] or name, "entries": entries, "confused": each["confused"]})
    return blocks


def _curves(training: list[dict[str, Any]]) -> list[str]:
    def series(key: str, scale: float = 1.0) -> list[tuple[float, float]]:
        return [(row["step"], scale * row[key]) for row in training if row.get(key) is not None]

    names = sorted({key for row in training for key in row if "/" in key})
    objectives = [key for key in names if key.startswith("loss/")]
    terms = [key for key in names if not key.startswith(("loss/", "epochs/")) and "." not in key]
    scales = [key for key in names if key.endswith(".logit_scale")]

    def last(key: str) -> str:
        return key.split("/", 1)[1].removesuffix(".logit_scale")

    plots = [
        lines({"loss": series("loss")}, title="Loss"),
        lines({last(key): series(key) for key in objectives}, title="Loss of each objective")
        if len(objectives) > 1
        else "",
        lines({last(key): series(key) for key in terms}, title="Loss of each pair"),
        lines({last(key): series(key) for key in scales}, title="Logit scale", from_zero=False),
        lines({"rate": series("learning_rate")}, title="Learning rate"),
        lines({"samples": series("samples_per_second")}, title="Samples per second"),
        lines({"wait": series("data_wait_fraction", 100)}, title="Waiting for data, percent of the time"),
    ]
    return [plot for plot in plots if plot]
