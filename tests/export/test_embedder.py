"""``mmcontrast.load``: whatever holds the same picture, sound or text gives the same point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import mmcontrast
from mmcontrast.errors import ConfigError, ExportError, NeedsError
from mmcontrast.export.embedder import Embedder
from mmcontrast.export.parity import CAPTIONS, pictures
from mmcontrast.export.run_export import export

RATE = 8000


@pytest.fixture(scope="module")
def encoder(trained: Path) -> Embedder:
    found: Embedder = mmcontrast.load(trained, device="cpu")
    return found


def test_every_form_of_a_picture_is_the_same_picture(encoder: Embedder, tmp_path: Path) -> None:
    picture = pictures((37, 18))[0]
    picture.save(tmp_path / "a.png")
    pixels = np.asarray(picture)
    z = encoder.encode(image=picture)
    assert z.shape == (8,) and z.dtype == torch.float32
    for form in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        pixels,
        torch.from_numpy(pixels.transpose(2, 0, 1).copy()),
    ):
        assert torch.equal(encoder.encode(image=form), z)
    grey = picture.convert("L")
    assert torch.equal(encoder.encode(image=np.asarray(grey)), encoder.encode(image=grey))
    many = encoder.encode(image=np.stack([pixels, pixels[:, ::-1]]))
    assert many.shape == (2, 8) and torch.allclose(many[0], z, atol=1e-6)


def test_every_form_of_a_sound_is_the_same_sound(encoder: Embedder, tmp_path: Path) -> None:
    samples = (0.5 * np.sin(np.arange(1900) * 0.3) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="PCM_16")
    wave = samples.astype(np.float32) / 32768
    z = encoder.encode(audio=wave)
    assert z.shape == (8,)
    for form in (
        samples,
        torch.from_numpy(wave),
        (wave, RATE),
        (np.stack([wave, wave], axis=1), RATE),
        tmp_path / "a.wav",
    ):
        assert torch.allclose(encoder.encode(audio=form), z, atol=1e-6)
    assert encoder.encode(audio=np.stack([wave, -wave, wave])).shape == (3, 8)
    faster = encoder.encode(audio=(wave, 2 * RATE))  # half as long once it is resampled
    assert not torch.allclose(faster, z, atol=1e-3)


def test_several_are_a_list_a_generator_or_an_array(encoder: Embedder) -> None:
    z = encoder.encode(text=list(CAPTIONS))
    assert z.shape == (len(CAPTIONS), 8)
    lazily = encoder.encode(text=(caption for caption in CAPTIONS), batch_rows=2, progress=True)
    assert torch.allclose(lazily, z, atol=1e-6)
    assert encoder.encode(text=CAPTIONS[1]).shape == (8,)
    assert encoder.encode(text=[]).shape == (0, 8)
    both = encoder.encode(text=CAPTIONS[1], image=Image.new("RGB", (9, 9)), to="numpy")
    assert set(both) == {"image", "text"} and isinstance(both["text"], np.ndarray)
    assert torch.allclose(encoder.similarity(both["text"], z)[0, 1], torch.tensor(1.0))


def test_a_generator_is_drawn_no_further_than_a_batch_ahead(encoder: Embedder) -> None:
    drawn: list[int] = []

    def captions() -> object:
        for number in range(6):
            drawn.append(number)
            yield "a word" if number < 4 else 5

    with pytest.raises(ExportError, match=r"text\[4\]: expected a string, got int"):
        encoder.encode(text=captions(), batch_rows=2)
    assert drawn == [0, 1, 2, 3, 4, 5]


def test_bf16_is_near_and_not_equal(trained: Path, encoder: Embedder) -> None:
    z = encoder.encode(text=list(CAPTIONS))
    low = mmcontrast.load(trained, device="cpu", dtype="bf16").encode(text=list(CAPTIONS))
    assert low.dtype == torch.float32 and not torch.equal(low, z)
    assert torch.allclose(low, z, atol=0.05)


def test_what_is_no_item_is_named_with_its_place(trained: Path, encoder: Embedder, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"image\[1\]: expected uint8 pixels"):
        encoder.encode(image=[Image.new("RGB", (4, 4)), np.zeros((4, 4, 3))])
    with pytest.raises(ExportError, match=r"image\[0\]: '.*none.png' cannot be read"):
        encoder.encode(image=tmp_path / "none.png")
    with pytest.raises(ExportError, match=r"audio\[0\]: samples are not all finite"):
        encoder.encode(audio=np.full(100, np.nan, np.float32))
    with pytest.raises(ExportError, match="nothing to encode"):
        encoder.encode()
    with pytest.raises(ConfigError, match="'int8' is none of"):
        mmcontrast.load(trained, dtype="int8")
    text = mmcontrast.load(export(trained, tmp_path / "text", towers=["text"]).folder, device="cpu")
    with pytest.raises(NeedsError, match="no image tower; it has: text"):
        text.encode(image=Image.new("RGB", (4, 4)))


def test_importing_the_package_imports_neither_torch_nor_the_exporters() -> None:
    code = "import sys, mmcontrast; print([n for n in ('torch', 'mmcontrast.export') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
