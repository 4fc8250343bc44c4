"""Sounds: from files to spectrograms and through HTSAT-tiny, ours beside LAION-CLAP's own code and librosa.

One thread a side, in turns, in seconds of processor time: other work on the machine changes them less than it changes
the clock on the wall.  Before timing, the spectrograms and the towers' outputs of both sides are compared.  The peer
is installed as benchmarks/loader_peers.py says.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.loader import flac
from benchmarks.loader_peers import laion_clap_data, laion_clap_htsat
from benchmarks.row import Row
from benchmarks.turns import in_turns
from mmcontrast.data.decode import decode_audio
from mmcontrast.data.transforms.audio import AudioTransform, train_audio
from mmcontrast.data.transforms.clip import filled
from mmcontrast.data.transforms.window import random_window
from mmcontrast.front_ends import FRONT_ENDS
from mmcontrast.front_ends.fusion import Fusion, four_mels
from mmcontrast.front_ends.presets import Laion
from mmcontrast.specs import AudioSpec, ClipLength
from mmcontrast.towers.htsat import HTSAT

RATE_HZ, SECONDS, SAMPLES = 48_000, 10.0, 480_000
ROWS = 16
FILES = 4
AUDIO = {"sample_rate": RATE_HZ, "window_size": 1024, "hop_size": 480, "mel_bins": 64, "fmin": 50, "fmax": 14_000}
SPEC = AudioSpec(sample_rate_hz=RATE_HZ, seconds=SECONDS, length=ClipLength(short="repeat_pad"))
LARGEST_DECIBELS = 2e-3  # between both sides' spectrograms: torchlibrosa's transform is a float32 convolution
LARGEST_FEATURE = 1e-3  # between both sides' pooled features


def measure() -> list[Row]:
    """Every row of the table.

    Raises:
        RuntimeError: both sides compute something else, so that a ratio would mean nothing.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    peer = laion_clap_htsat(SimpleNamespace(model_name="tiny", class_num=527, **AUDIO)).eval()
    tower = our_tower(peer)
    return [*front_ends(peer), *paths(peer), *steps(tower, peer)]


def our_tower(peer: nn.Module) -> HTSAT:
    """HTSAT-tiny with the peer's weights."""
    tower = HTSAT(HTSAT.Config(mel=Laion.Config(int16=False), drop_path=0.1, mask_mels=8, mask_frames=64))
    adopted = tower.adopt({f"audio_branch.{name}": value for name, value in peer.state_dict().items()})
    missing, unexpected = tower.load_state_dict(adopted, strict=False)
    if missing or unexpected:
        raise RuntimeError(f"the peer's weights do not fit: {[*missing, *unexpected][:4]}")
    return tower.eval()


# ------------------------------------------------------------------ spectrograms


def front_ends(peer: Any) -> list[Row]:
    """A batch of windows to decibels: beside the peer's layers inside its model, and beside librosa row by row."""
    import librosa

    waves = 0.1 * torch.randn(ROWS, SAMPLES, generator=torch.Generator().manual_seed(0))
    mel = FRONT_ENDS.build(Laion.Config(int16=False))

    def ours() -> Tensor:
        return mel(waves)

    def theirs() -> Tensor:
        with torch.no_grad():
            return peer.logmel_extractor(peer.spectrogram_extractor(waves))[:, 0].transpose(1, 2)

    def librosas() -> Tensor:
        found = []
        for wave in waves.numpy():
            power = librosa.feature.melspectrogram(
                y=wave, sr=RATE_HZ, n_fft=1024, hop_length=480, n_mels=64, fmin=50, fmax=14_000, pad_mode="reflect"
            )
            found.append(torch.from_numpy(librosa.power_to_db(power, top_db=None)))
        return torch.stack(found)

    rows = []
    for name, call in (("LAION-CLAP's layers", theirs), ("librosa", librosas)):
        off = float((ours() - call()).abs().max())
        agree(f"spectrograms of {name}", off, LARGEST_DECIBELS)
        setting = f"{ROWS} windows of 10 s at 48 kHz, 64 mels; peer: {name}, equal to {off:.0e} dB"
        rows.append(ratio("waveform to log-mel", ours, call, rows=ROWS, setting=setting))
    return rows


# ------------------------------------------------------------------ files


def paths(peer: Any) -> list[Row]:
    """FLAC files to spectrograms of a 10-second window, decoded, resampled and cut as each side trains."""
    data, rows = laion_clap_data(), []
    mel = FRONT_ENDS.build(Laion.Config())
    for seconds, rate_hz in ((10, RATE_HZ), (30, RATE_HZ), (30, 44_100), (60, 44_100)):
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{number}.flac" for number in range(FILES)]
            for number, path in enumerate(files):
                path.write_bytes(flac(number, seconds, rate_hz=rate_hz))

            def ours(files: list[Path] = files) -> Tensor:
                return mel(torch.from_numpy(np.stack([our_window(path, number) for number, path in enumerate(files)])))

            def theirs(files: list[Path] = files) -> Tensor:
                waves = torch.stack([their_sample(data, path, "rand_trunc")["waveform"] for path in files])
                with torch.no_grad():
                    return peer.logmel_extractor(peer.spectrogram_extractor(waves))

            setting = f"{seconds} s FLAC at {rate_hz / 1000:g} kHz, random 10 s; peer: LAION-CLAP's file path"
            rows.append(ratio("file to log-mel", ours, theirs, rows=FILES, setting=setting))
            if (seconds, rate_hz) == (30, RATE_HZ):
                fused = partial(fusion_mels, files)
                calls = partial(their_fusion, data, files)
                setting = f"{seconds} s FLAC at 48 kHz, four spectrograms; peer: LAION-CLAP's fusion path"
                rows.append(ratio("file to fusion's input", fused, calls, rows=FILES, setting=setting))
    return rows


def our_window(path: Path, seed: int) -> np.ndarray:
    """One row as our loader makes it."""
    content, rng = path.read_bytes(), np.random.default_rng(seed)
    wave = random_window(content, AudioTransform(), SPEC, rng=rng)
    if wave is None:
        wave = decode_audio(content, key=path.name, sample_rate_hz=RATE_HZ)
    return train_audio(wave, AudioTransform(), SPEC, rng=rng)


def fusion_mels(files: list[Path]) -> Tensor:
    """Our four spectrograms of each file."""
    found = []
    for path in files:
        wave = decode_audio(path.read_bytes(), key=path.name, sample_rate_hz=RATE_HZ)
        wave = filled(wave, samples=SAMPLES, short="repeat_pad")
        found.append(four_mels(wave, Fusion(), samples=SAMPLES)["mels"])
    return torch.stack(found)


def their_fusion(data: Any, files: list[Path]) -> Tensor:
    """The peer's four spectrograms of each file."""
    return torch.stack([their_sample(data, path, "fusion")["mel_fusion"] for path in files])


def their_sample(data: Any, path: Path, truncating: str) -> dict[str, Any]:
    """One row as the peer's ``get_audio_embedding_from_filelist`` makes it, with its own functions."""
    import librosa

    samples, _ = librosa.load(path, sr=RATE_HZ)
    wave = torch.from_numpy(data.int16_to_float32(data.float32_to_int16(samples))).float()
    return data.get_audio_features({}, wave, SAMPLES, truncating, "repeatpad", AUDIO)


# ------------------------------------------------------------------ the tower


def steps(tower: HTSAT, peer: Any) -> list[Row]:
    """Forward without gradients, and forward, backward and update in training."""
    waves = 0.1 * torch.randn(ROWS, SAMPLES, generator=torch.Generator().manual_seed(1))

    def embedded() -> Tensor:
        return tower(waves).pooled

    def theirs() -> Tensor:
        return peer({"waveform": waves}, device="cpu")["embedding"]

    with torch.inference_mode():
        off = float((embedded() - theirs()).abs().max())
        agree("pooled features", off, LARGEST_FEATURE)
        about = f"HTSAT-tiny, batch {ROWS} of 10 s, fp32; peer: LAION-CLAP's module"
        rows = [ratio("forward", embedded, theirs, rows=ROWS, setting=f"{about}, equal to {off:.0e}")]

    def step(forward: Callable[[], Tensor], module: nn.Module) -> Callable[[], None]:
        module.train()
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-6, fused=True)

        def call() -> None:
            optimizer.zero_grad()
            forward().square().mean().backward()
            optimizer.step()

        return call

    calls = step(embedded, tower), step(theirs, peer)
    return [*rows, ratio("training step", *calls, rows=ROWS, setting=f"{about}; both with AdamW, fused")]


# ------------------------------------------------------------------ both


def agree(what: str, off: float, limit: float) -> None:
    """Refuse to compare the speed of two things that differ.

    Raises:
        RuntimeError: they do.
    """
    if not off <= limit:
        raise RuntimeError(f"{what} differ by {off:.2g}, more than {limit:g}")


def ratio(
    name: str, ours: Callable[[], object], peer: Callable[[], object], *, rows: int, setting: str, turns: int = 2
) -> Row:
    """A row of rates, from the median of ``turns`` after one that warms up."""
    seconds = [
        statistics.median(each) for each in in_turns(ours, peer, turns=turns, warm_up=1, clock=time.process_time)
    ]
    rates = [rows / each for each in seconds]
    return Row(
        name=name, ours=rates[0], peer=rates[1], ratio=rates[0] / rates[1], unit="samples/s/core", setting=setting
    )
