"""The page: what it answers, draws and refuses; and, where gradio and a browser are, what a reader sees."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmcontrast.cli import main
from mmcontrast.errors import SearchError
from mmcontrast.search.explore.embedding_map import apart
from mmcontrast.search.explore.explorer import Explorer
from mmcontrast.search.explore.media import Media
from mmcontrast.search.searcher import Searcher


@pytest.fixture(scope="module")
def explorer(index: Path) -> Explorer:
    searcher = Searcher.open(index)
    return Explorer(searcher, Media(searcher.index))


def test_a_card_shows_and_plays_what_its_row_has(explorer: Explorer, files: Path) -> None:
    shown = explorer.answer(rows="image:row-04", modality="image", count=1)
    assert shown.count('class="card"') == 1 and "row-04" in shown and "a red square, number 4" in shown
    picture = shown.split('src="data:image/webp;base64,')[1].split('"')[0]
    assert Image.open(io.BytesIO(base64.b64decode(picture))).size == (16, 16)
    sound = shown.split('src="data:audio/wav;base64,')[1].split('"')[0]
    assert base64.b64decode(sound) == (files / "row-04.wav").read_bytes()
    assert "<audio" not in explorer.answer(rows="image:row-03", modality="image", count=1)


def test_a_dropped_picture_and_a_recorded_sound_ask(explorer: Explorer, files: Path) -> None:
    by_row = explorer.answer(rows="image:row-02", modality="audio", count=3)
    assert explorer.answer(image=Image.open(files / "row-02.png"), modality="audio", count=3) == by_row
    wave, rate = soundfile.read(files / "row-02.wav", dtype="int16")
    recorded = explorer.answer(audio=(rate, wave), modality="image", count=3)
    assert recorded == explorer.answer(rows="audio:row-02", modality="image", count=3)


def test_captions_cannot_write_html_and_mistakes_are_told(explorer: Explorer) -> None:
    assert "nothing is looked for" in explorer.answer(modality="image", count=3)
    told = explorer.answer(rows="image:<script>", modality="image", count=3)
    assert "no row &#x27;&lt;script&gt;&#x27;" in told and "<script>" not in told
    assert "'UMAP3' is none of" in explorer.map("UMAP3").replace("&#x27;", "'")


def test_the_map_draws_every_point_and_the_gaps(explorer: Explorer) -> None:
    drawn = explorer.map("PCA")
    assert drawn.count("<title>") == 11 + 8 + 12  # pictures, sounds, texts
    values = {name: np.asarray(explorer.searcher.index.points(name).values) for name in ("audio", "image", "text")}
    for each in apart(explorer.searcher.index):
        distance = np.linalg.norm(values[each.a].mean(axis=0) - values[each.b].mean(axis=0))
        assert each.gap == pytest.approx(float(distance), abs=1e-6) and f"<td>{each.gap:.3f}</td>" in drawn


def test_files_that_changed_since_are_refused(index: Path, files: Path, tmp_path: Path) -> None:
    searcher = Searcher.open(index)
    moved = tmp_path / files.name  # the name counts too
    shutil.copytree(files, moved)
    assert Media(searcher.index, sources=[str(moved)])
    (moved / "row-01.png").unlink()
    with pytest.raises(SearchError, match="is not what was embedded"):
        Media(searcher.index, sources=[str(moved)])
    with pytest.raises(SearchError, match="2 sources are named; the index has 1"):
        Media(searcher.index, sources=["a", "b"])


def test_without_gradio_the_extra_is_named(
    index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mmcontrast.packages.find_spec", lambda name: None)
    assert main(["explore", str(index)]) == 2
    assert "pip install 'mmcontrast[explore]'" in capsys.readouterr().err


@pytest.fixture
def page(explorer: Explorer) -> Iterator[Any]:
    """The served page in headless Chromium."""
    pytest.importorskip("gradio", reason="its pins (pillow below 13) clash with other packages of the test extra")
    browsers = pytest.importorskip("playwright.sync_api", reason="drives the browser")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    from mmcontrast.search.explore.page import build_page, serve

    served = build_page(explorer)
    address = serve(served, port=None)
    with browsers.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page()
        opened.asked = []
        opened.on("request", lambda request: opened.asked.append(request.url))
        opened.goto(address)
        yield opened
        browser.close()
    served.close()


@pytest.mark.slow
def test_a_reader_types_drops_listens_and_sees_the_map(page: Any, files: Path) -> None:
    page.get_by_label("Find").fill("a red square")
    page.get_by_label("Answers").first.fill("3")
    page.get_by_role("button", name="Search").click()
    page.wait_for_function("document.querySelectorAll('#answers .card img').length == 3")
    widths = page.evaluate("Array.from(document.querySelectorAll('#answers img')).map(each => each.naturalWidth)")
    assert all(width >= 12 for width in widths)  # decoded by the browser
    page.get_by_label("Find").fill("")
    page.locator("input[type=file]").first.set_input_files(files / "row-04.png")
    page.wait_for_selector("img[src*=gradio_api]")
    page.get_by_label("audio", exact=True).check()
    page.get_by_role("button", name="Search").click()
    page.wait_for_function("document.querySelectorAll('#answers .card audio').length == 3")
    page.wait_for_function(
        "Array.from(document.querySelectorAll('#answers audio')).every(each => each.duration > 0.4)"
    )
    page.get_by_role("tab", name="Map").click()
    page.wait_for_function("document.querySelectorAll('#map svg circle').length > 30")
    assert page.locator("#map table tr").count() == 4
    outside = [url for url in page.asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
    assert outside == []
