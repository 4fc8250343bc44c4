"""Small copies of the published files of choices among a few, each as it is published."""

from __future__ import annotations

from pathlib import Path

from mmcontrast.evaluate.collection import open_collection
from mmcontrast.probe_file import ProbeHeader, ProbeItem, write_probe
from tests.evaluate.fakes import picture
from tests.evaluate.published import put
from tests.evaluate.reader_cases import Case


def frozen_probe(root: Path) -> None:
    put(root / "source" / "things" / "a.png", picture(3))
    put(root / "media" / "b.png", picture(4))
    source = f"folder:{root / 'source'}"
    header = ProbeHeader(
        kind="bias", name="Made up", modality="image", seed=0, source=source,
        source_sha256=open_collection(source).facts()["manifest_sha256"],
    )  # fmt: skip
    scene = {"size": [8, 4], "parts": [{"row": "things/a.png", "box": [0, 0, 4, 4]}]}
    items = [
        ProbeItem(
            id="one", category="left", contexts=[{"row": "things/a.png"}, {"file": "media/b.png"}],
            texts=["red 3", "red 4"], right=[[0], [1]],
        ),
        ProbeItem(id="two", category="right", contexts=[{"scene": scene}], texts=["red 3", "red 9"], right=[[0]]),
    ]  # fmt: skip
    write_probe(root, header, items)


CHOICE_CASES: dict[str, Case] = {
    "probe": (frozen_probe, 3, (), {"row": "things/a.png"}),
}
