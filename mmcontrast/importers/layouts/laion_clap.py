"""LAION-CLAP's checkpoints: one file of torch.save, HTSAT and RoBERTa; the tokenizer lies elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from mmcontrast.config import Count, NonNegative, Positive, config
from mmcontrast.errors import CheckpointError, ConfigError
from mmcontrast.export.base import Read
from mmcontrast.export.key_map import KeyMap, Rule
from mmcontrast.export.part import Part
from mmcontrast.front_ends import FRONT_ENDS
from mmcontrast.front_ends.presets import Laion, LaionFusion
from mmcontrast.heads.mlp import MLP
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
from mmcontrast.importers.htsat_sizes import COMPUTED, fusion_kind, htsat_sizes
from mmcontrast.importers.hugging_face import makes_tokens_of_nothing, tokenizer_of
from mmcontrast.importers.laion_peer import audio_reader, laion_version, text_reader
from mmcontrast.importers.roberta import roberta_sizes, write_roberta
from mmcontrast.specs import ClipLength
from mmcontrast.towers.htsat import HTSAT
from mmcontrast.towers.htsat_fusion import HTSATFusion
from mmcontrast.towers.hugging_face_text import HuggingFaceText

CONTEXT_LENGTH = 77  # tokens that LAION-CLAP reads of a caption
PARTS = {"audio": ("audio_branch.", "audio_projection."), "text": ("text_branch.", "text_projection.")}
FILTERS, STFT = "logmel_extractor.melW", "spectrogram_extractor.stft.conv_real.weight"
HEAD = "head.layers.{layer}.{kind}"
MAPS = {
    "audio": KeyMap((Rule("audio_projection.{layer}.{kind}", HEAD), Rule("audio_branch.{rest}", "tower.{rest}"))),
    "text": KeyMap((Rule("text_projection.{layer}.{kind}", HEAD), Rule("text_branch.{rest}", "tower.inner.{rest}"))),
}
LEFT_OUT = {
    "audio_branch.spectrogram_extractor.{rest}": "the front end, which the tower computes itself",
    "audio_branch.logmel_extractor.{rest}": "the front end, which the tower computes itself",
    "audio_branch.tscam_conv.{rest}": "the classifier of AudioSet's events",
    "audio_branch.head.{rest}": "the classifier of AudioSet's events",
    "audio_branch.patch_embed.fusion_model.global_att2.{rest}": "never read there either",
    "audio_branch.fusion_model.global_att2.{rest}": "never read there either",
    "audio_transform.{rest}": "of the loss with four terms; no embedding passes it",
    "text_transform.{rest}": "of the loss with four terms; no embedding passes it",
    "text_branch.embeddings.position_ids": POSITIONS,
    "text_branch.embeddings.token_type_ids": "zeros",
    "logit_scale_a": SCALE,
    "logit_scale_t": SCALE,
}


@IMPORTERS.register("laion_clap")
class LaionCLAP(Importer):
    """LAION-CLAP with HTSAT, with feature fusion or without, and RoBERTa, each with a head of two layers."""

    modalities = ("audio", "text")
    packages = ("transformers",)

    @config
    class Config:
        """What the file does not say; the defaults are those of every published one."""

        tokenizer: Path | None = None  # a folder with roberta-base's tokenizer; the text tower needs it
        seconds: Positive = 10.0  # length of a window
        sample_rate_hz: Count = 48_000
        hop_samples: Count = 480
        low_hz: NonNegative = 50.0
        high_hz: Positive = 14_000.0
        activation: Literal["relu", "gelu"] = "relu"  # between the two layers of a head

    def read(self, path: Path, modalities: Sequence[str], scratch: Path) -> Draft:
        """Read the file; sizes are those of its weights."""
        files = [find_file(path, "*.pt")]
        state = read_weights(files)
        if not any(name.startswith("audio_branch.") for name in state):
            raise CheckpointError(f"'{path}' is no checkpoint of LAION-CLAP: it has no audio_branch.")
        made: dict[str, Any] = {}
        if "audio" in modalities:
            made["audio"] = self._audio(under(PARTS["audio"][0], state), where=path)
        if "text" in modalities:
            made["text"] = self._text(under(PARTS["text"][0], state), scratch / "text", where=path)
        head = MLP.Config(activation=self.config.activation)
        others = {f"{name}{{rest}}": NOT_ASKED for of, names in PARTS.items() if of not in made for name in names}
        last = state.get("audio_projection.2.weight")
        if last is None:
            raise CheckpointError(f"'{path}' is truncated: it has no audio_projection.2.weight.")
        return Draft(
            towers={of: Tower(tower=tower, head=head, key_map=MAPS[of]) for of, tower in made.items()},
            dim=len(last),
            state=state,
            files=files,
            left_out=LEFT_OUT | others,
            computed=COMPUTED,
            logit_scale=scalar(state, "logit_scale_a"),
        )

    def peer(self, path: Path, part: Part) -> tuple[str, Read]:
        """laion_clap's HTSAT and transformers' RoBERTa, which is what laion_clap runs, behind their heads."""
        state = read_weights([find_file(path, "*.pt")])
        encode, empty = {}, True
        if "audio" in part.modalities:
            encode["audio"] = audio_reader(state, part.tower("audio").config, self.config)
        if "text" in part.modalities:
            tokenizer = self._tokenizer(path)
            encode["text"] = text_reader(state, tokenizer, CONTEXT_LENGTH, self.config.activation)
            empty = makes_tokens_of_nothing(tokenizer)
        return laion_version(), Read(encode, empty_captions=empty)

    def _audio(self, branch: Mapping[str, Tensor], *, where: Path) -> Any:
        sizes = htsat_sizes(branch, where=str(where))
        fusion = fusion_kind(branch)
        fused = fusion is not None
        fft = 2 * (len(branch[STFT]) - 1) if STFT in branch else 1024
        mel: Any = (LaionFusion if fused else Laion).Config(
            sample_rate_hz=self.config.sample_rate_hz,
            fft_samples=fft,
            window_samples=fft,
            hop_samples=self.config.hop_samples,
            mels=len(branch["bn0.weight"]) if "bn0.weight" in branch else 64,
            low_hz=self.config.low_hz,
            high_hz=self.config.high_hz,
        )
        if not fused:
            compare_filters(branch, mel, where=where)
        length = ClipLength(short="repeat_pad")
        common: dict[str, Any] = {"seconds": self.config.seconds, "mel": mel, "length": length, **sizes}
        try:
            return HTSATFusion.Config(**common, fusion=fusion) if fused else HTSAT.Config(**common)
        except ValueError as error:
            raise CheckpointError(f"'{where}' has sizes that HTSAT cannot have: {error}") from error

    def _text(self, branch: Mapping[str, Tensor], folder: Path, *, where: Path) -> Any:
        sizes = roberta_sizes(branch, where=str(where))
        write_roberta(folder, sizes, self._tokenizer(where))
        return HuggingFaceText.Config(folder=folder, pooling="pooler", context_length=CONTEXT_LENGTH)

    def _tokenizer(self, path: Path) -> Any:
        if self.config.tokenizer is None:
            raise CheckpointError(
                f"'{path}' holds no tokenizer. Add --set tokenizer=FOLDER with roberta-base's (vocab.json and "
                "merges.txt, or tokenizer.json), or import the audio tower alone: --tower audio."
            )
        found = tokenizer_of(self.config.tokenizer)
        if found is None:
            raise ConfigError(f"tokenizer: '{self.config.tokenizer}' holds no tokenizer.")
        return found


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a state dict below a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def compare_filters(branch: Mapping[str, Tensor], mel: Any, *, where: Path) -> None:
    """The file stores its mel filters: rates and bands that are not its own are found out.

    Raises:
        CheckpointError: they are not those of the front end.
    """
    stored = branch.get(FILTERS)  # (F, M)
    if stored is None:
        return
    ours: Any = FRONT_ENDS.build(mel).filters
    if stored.shape != ours.shape or (stored - ours).abs().max() > 1e-5 * stored.abs().max():
        raise CheckpointError(
            f"the mel filters in '{where}' are not those of {mel.filter_rate_hz or mel.sample_rate_hz} Hz from "
            f"{mel.low_hz:g} to {mel.high_hz:g} Hz. Set sample_rate_hz, low_hz and high_hz as the model was trained."
        )
