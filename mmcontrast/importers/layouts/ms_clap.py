"""MS-CLAP's checkpoints of 2022 (Cnn14 and BERT) and 2023 (HTSAT and GPT-2); the tokenizer lies elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mmcontrast.config import Count, NonNegative, Positive, config
from mmcontrast.errors import CheckpointError, ConfigError
from mmcontrast.export.base import Read
from mmcontrast.export.key_map import KeyMap, Rule
from mmcontrast.export.part import Part
from mmcontrast.front_ends.presets import MsClap2022, MsClap2023
from mmcontrast.heads.residual import Residual
from mmcontrast.importers import IMPORTERS
from mmcontrast.importers.base import (
    NOT_ASKED,
    POSITIONS,
    SCALE,
    Draft,
    Importer,
    Tower,
    find_file,
    read_weights,
    scalar,
)
from mmcontrast.importers.htsat_sizes import COMPUTED, htsat_sizes
from mmcontrast.importers.hugging_face import makes_tokens_of_nothing, tokenizer_of
from mmcontrast.importers.layouts.laion_clap import STFT, compare_filters, under
from mmcontrast.importers.ms_clap_peer import audio_reader, ms_version, text_reader
from mmcontrast.importers.ms_clap_text import END, PADDING, text_settings, write_text_folder
from mmcontrast.specs import ClipLength
from mmcontrast.tokenizers.hugging_face import HuggingFace
from mmcontrast.towers.htsat import HTSAT
from mmcontrast.towers.hugging_face_text import HuggingFaceText
from mmcontrast.towers.panns import PANNs

SECONDS = {"2022": 5.0, "2023": 7.0}
CONTEXT_LENGTHS = {"2022": 100, "2023": 77}
BRANCHES = {"2022": "audio_encoder.base.", "2023": "audio_encoder.base.htsat."}
FRONT_END = "the front end, which the tower computes; its filters are compared"
EVENTS = "the classifier of AudioSet's events"
BUFFER = "a mask that follows from sizes"
LEFT_OUT = {
    "logit_scale": SCALE,
    "caption_encoder.base.embeddings.position_ids": POSITIONS,
    "caption_encoder.base.h.{layer}.attn.bias": BUFFER,
    "caption_encoder.base.h.{layer}.attn.masked_bias": BUFFER,
    "audio_encoder.base.fc_audioset.{kind}": EVENTS,
    "audio_encoder.base.htsat.tscam_conv.{kind}": EVENTS,
    "audio_encoder.base.htsat.head.{kind}": EVENTS,
} | {
    f"{branch}{part}.{{rest}}": FRONT_END
    for branch in BRANCHES.values()
    for part in ("spectrogram_extractor", "logmel_extractor")
}


@IMPORTERS.register("ms_clap")
class MsCLAP(Importer):
    """MS-CLAP of 2022 or 2023, each tower with a head of two layers and a shortcut."""

    modalities = ("audio", "text")
    packages = ("transformers",)

    @config
    class Config:
        """What the file does not say; the defaults are those of the published ones."""

        tokenizer: Path | None = None  # a folder with the tokenizer of bert-base-uncased (2022) or gpt2 (2023)
        seconds: Positive | None = None  # length of a window; null: 5 of 2022, 7 of 2023
        sample_rate_hz: Count = 44_100
        filter_rate_hz: Count | None = None  # rate that the mel filters are made for; null: 44,100 or 2023's 32,000
        hop_samples: Count = 320
        low_hz: NonNegative = 50.0
        high_hz: Positive = 14_000.0

    def read(self, path: Path, modalities: Sequence[str], scratch: Path) -> Draft:
        """Read the file; sizes are those of its weights."""
        files = [find_file(path, "*.pth")]
        state = read_weights(files)
        version = version_of(state, where=path)
        towers: dict[str, Tower] = {}
        head = Residual.Config()
        if "audio" in modalities:
            towers["audio"] = Tower(tower=self._audio(state, version, path), head=head, key_map=audio_map(version))
        if "text" in modalities:
            tower = self._text(under("caption_encoder.base.", state), version, scratch / "text", path)
            towers["text"] = Tower(tower=tower, head=head, key_map=TEXT_MAP)
        names = {"audio": "audio_encoder.{rest}", "text": "caption_encoder.{rest}"}
        last = state.get("audio_encoder.projection.linear1.weight")
        if last is None:
            raise CheckpointError(f"'{path}' is truncated: it has no audio_encoder.projection.linear1.weight.")
        return Draft(
            towers=towers,
            dim=len(last),
            state=state,
            files=files,
            left_out=LEFT_OUT | {name: NOT_ASKED for of, name in names.items() if of not in towers},
            computed=COMPUTED,
            logit_scale=scalar(state, "logit_scale"),
            notes=["MS-CLAP takes a random window of a sound that is longer; here it is the first."],
        )

    def peer(self, path: Path, part: Part) -> tuple[str, Read]:
        """msclap's own audio encoder, and its text encoder around transformers' model."""
        state = read_weights([find_file(path, "*.pth")])
        version = version_of(state, where=path)
        encode, empty = {}, True
        if "audio" in part.modalities:
            encode["audio"] = audio_reader(state, part.tower("audio").config, part.config.dim, version)
        if "text" in part.modalities:
            tokenizer = self._tokenizer(path, version)
            settings = text_settings(under("caption_encoder.base.", state), where=str(path))
            encode["text"] = text_reader(state, settings, tokenizer, part.config.dim, CONTEXT_LENGTHS[version])
            empty = version == "2023" or makes_tokens_of_nothing(tokenizer)
        return ms_version(), Read(encode, empty_captions=empty)

    def _audio(self, state: Mapping[str, Tensor], version: str, path: Path) -> Any:
        branch = under(BRANCHES[version], state)
        fft = 2 * (len(branch[STFT]) - 1) if STFT in branch else 1024
        front_end: Any = MsClap2023 if version == "2023" else MsClap2022
        fields = {
            "sample_rate_hz": self.config.sample_rate_hz,
            "fft_samples": fft,
            "window_samples": fft,
            "hop_samples": self.config.hop_samples,
            "mels": len(branch["bn0.weight"]) if "bn0.weight" in branch else 64,
            "low_hz": self.config.low_hz,
            "high_hz": self.config.high_hz,
        }
        if self.config.filter_rate_hz is not None:
            fields["filter_rate_hz"] = self.config.filter_rate_hz
        mel = front_end.Config(**fields)
        compare_filters(branch, mel, where=path)
        common: dict[str, Any] = {
            "seconds": self.config.seconds or SECONDS[version],
            "mel": mel,
            "length": ClipLength(short="repeat"),
        }
        try:
            if version == "2023":
                return HTSAT.Config(**common, **htsat_sizes(branch, where=str(path)))
            widths = tuple(len(branch[f"conv_block{number}.conv1.weight"]) for number in range(1, 7))
            return PANNs.Config(**common, widths=widths, width=len(branch["fc1.weight"]), batch_norm="frozen")
        except KeyError as error:
            raise CheckpointError(f"'{path}' is truncated: it has no {error} of Cnn14.") from error
        except ValueError as error:
            raise CheckpointError(f"'{path}' has sizes that its audio tower cannot have: {error}") from error

    def _text(self, branch: Mapping[str, Tensor], version: str, folder: Path, path: Path) -> Any:
        write_text_folder(folder, text_settings(branch, where=str(path)), self._tokenizer(path, version))
        gpt = version == "2023"
        return HuggingFaceText.Config(
            folder=folder,
            tokenizer=HuggingFace.Config(folder=folder, suffix=END if gpt else ""),
            pooling="nonzero_count" if gpt else "cls",
            context_length=CONTEXT_LENGTHS[version],
        )

    def _tokenizer(self, path: Path, version: str) -> Any:
        model = "gpt2" if version == "2023" else "bert-base-uncased"
        if self.config.tokenizer is None:
            raise CheckpointError(
                f"'{path}' holds no tokenizer. Add --set tokenizer=FOLDER with that of {model}, or import the audio "
                "tower alone: --tower audio."
            )
        found = tokenizer_of(self.config.tokenizer)
        if found is None:
            raise ConfigError(f"tokenizer: '{self.config.tokenizer}' holds no tokenizer.")
        if version == "2023":
            found.add_special_tokens({"pad_token": PADDING})
            if found.pad_token_id != 0:
                raise ConfigError(f"tokenizer: '{PADDING}' has id {found.pad_token_id} there; GPT-2's is 0.")
        return found


def audio_map(version: str) -> KeyMap:
    """Names of the audio tower and its head."""
    tower = Rule(f"{BRANCHES[version]}{{rest}}", "tower.{rest}")
    return KeyMap((Rule("audio_encoder.projection.{layer}.{kind}", "head.{layer}.{kind}"), tower))


TEXT_MAP = KeyMap(
    (
        Rule("caption_encoder.projection.{layer}.{kind}", "head.{layer}.{kind}"),
        Rule("caption_encoder.base.{rest}", "tower.inner.{rest}"),
    )
)


def version_of(state: Mapping[str, Tensor], *, where: Path) -> str:
    """Which of the two a file is.

    Raises:
        CheckpointError: neither.
    """
    if any(name.startswith(BRANCHES["2023"]) for name in state):
        return "2023"
    if any(name.startswith(f"{BRANCHES['2022']}conv_block1.") for name in state):
        return "2022"
    raise CheckpointError(
        f"'{where}' is no checkpoint of MS-CLAP: it has neither Cnn14 nor HTSAT as audio_encoder.base."
    )
