"""Front ends of published models, each with the quirks that its weights were trained with."""

from __future__ import annotations

from typing import Literal

from mmcontrast.config import Count, NonNegative, Positive, config
from mmcontrast.front_ends import FRONT_ENDS
from mmcontrast.front_ends.kaldi_fbank import KaldiFbank, KaldiFbankConfig
from mmcontrast.front_ends.log_mel import LogMel, LogMelConfig
from mmcontrast.front_ends.mel_filters import Scale


@FRONT_ENDS.register("laion")
class Laion(LogMel):
    """LAION-CLAP without fusion: plain decibels, sounds cut to 16 bits.

    Source: Wu et al. 2022, arXiv:2211.06687, with the values of its published code (laion-clap 1.1.7).
    """

    @config
    class Config(LogMelConfig):
        """LAION-CLAP's values."""

        sample_rate_hz: Count = 48_000
        window_samples: Count = 1024
        hop_samples: Count = 480
        high_hz: Positive = 14_000.0
        mean_db: float = 0.0
        deviation_db: Positive = 1.0
        int16: bool = True


@FRONT_ENDS.register("laion_fusion")
class LaionFusion(LogMel):
    """LAION-CLAP with fusion, whose spectrograms come from another code: HTK's scale, filters that reach 1.

    Source: as ``laion``; Hugging Face's ``ClapFeatureExtractor`` has the same two filter banks.
    """

    @config
    class Config(Laion.Config):
        """LAION-CLAP's values for fusion."""

        scale: Scale = "htk"
        norm: Literal["slaney", "none"] = "none"


@FRONT_ENDS.register("msclap_2022")
class MsClap2022(LogMel):
    """Microsoft's CLAP of 2022.

    Source: Elizalde et al. 2022, arXiv:2206.04769, with the values of its published code (msclap).
    """

    @config
    class Config(LogMelConfig):
        """The values of 2022."""

        sample_rate_hz: Count = 44_100
        window_samples: Count = 1024
        high_hz: Positive = 14_000.0
        mean_db: float = 0.0
        deviation_db: Positive = 1.0


@FRONT_ENDS.register("msclap_2023")
class MsClap2023(LogMel):
    """Microsoft's CLAP of 2023: filters made for 32 kHz read sounds of 44.1 kHz, so that they reach 69 Hz to 19.3 kHz.

    Source: Elizalde et al. 2023, arXiv:2309.05767, with the values of its published code (msclap).
    """

    @config
    class Config(MsClap2022.Config):
        """The values of 2023."""

        filter_rate_hz: Count | None = 32_000


@FRONT_ENDS.register("imagebind")
class ImageBind(KaldiFbank):
    """ImageBind's audio: 2-second clips without their mean, 204 frames of which the last six are empty.

    Those past the end of a shorter sound are empty, too.

    Source: Girdhar et al. 2023, arXiv:2305.05665, with the values of its published code.
    """

    @config
    class Config(KaldiFbankConfig):
        """ImageBind's values."""

        window: Literal["hanning", "povey", "hamming"] = "hanning"
        centred: bool = True
        fixed_frames: Count | None = 204
        empty_frames: bool = True
        mean: float = -4.268
        deviation: Positive = 9.138


@FRONT_ENDS.register("ast")
class AST(KaldiFbank):
    """The audio spectrogram transformer: 10.24 seconds as 1024 frames.

    Frames past the end of a shorter sound are zeros of the logarithm.

    Source: Gong et al. 2021, arXiv:2104.01778; values of transformers' ``ASTFeatureExtractor``.
    """

    @config
    class Config(KaldiFbankConfig):
        """AST's values."""

        window: Literal["hanning", "povey", "hamming"] = "hanning"
        fixed_frames: Count | None = 1024
        empty_frames: bool = True
        mean: float = -4.2677393
        deviation: Positive = 2 * 4.5689974


@FRONT_ENDS.register("beats")
class BEATs(KaldiFbank):
    """BEATs: samples as 16-bit integers, Povey's window.

    Source: Chen et al. 2022, arXiv:2212.09058, with the values of its published code.
    """

    @config
    class Config(KaldiFbankConfig):
        """BEATs' values."""

        gain: Positive = 32768.0
        mean: float = 15.41663
        deviation: Positive = 2 * 6.55582


@FRONT_ENDS.register("whisper")
class Whisper(LogMel):
    """Whisper's: 80 dB below the clip's loudest value, ``(log10 + 4) / 4``.  The large-v3 models have 128 mels.

    Source: Radford et al. 2022, arXiv:2212.04356; values of transformers' ``WhisperFeatureExtractor``.
    """

    @config
    class Config(LogMelConfig):
        """Whisper's values."""

        fft_samples: Count = 400
        window_samples: Count = 400
        hop_samples: Count = 160
        mels: Count = 80
        low_hz: NonNegative = 0.0
        range_db: Positive | None = 80.0
        mean_db: float = -40.0
        deviation_db: Positive = 40.0
        drop_last: bool = True
