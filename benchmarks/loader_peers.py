"""The loaders of other packages, as their own code builds them.

LAION-CLAP asks for numpy 1, so its extra is not one of ours: ``pip install --no-deps laion-clap==1.1.7 wget
braceexpand torchlibrosa`` and ``pip install h5py progressbar pandas``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch

SHUFFLED_ROWS = 64  # both packages hold up to 5,000 rows' bytes; fewer cost the same processor time
ENDLESS_ROWS = 1 << 20


def open_clip_batches(shards: Path, *, size: int, batch_rows: int, workers: int) -> Iterator[Any]:
    """open_clip's ``get_wds_dataset`` with its training transform and tokenizer, epoch after epoch.

    With the end-of-file marker of newer webdatasets turned off, at which its tar reader stops.
    """
    import open_clip
    from open_clip_train import data
    from webdataset.tariterators import tar_file_expander

    data.tar_file_expander = partial(tar_file_expander, eof_value=None)
    data._SAMPLE_SHUFFLE_SIZE = data._SAMPLE_SHUFFLE_INITIAL = SHUFFLED_ROWS
    transform = open_clip.image_transform(size, is_train=True, mean=None, std=None)
    args = SimpleNamespace(
        train_data="::".join(sorted(str(path) for path in shards.glob("*.tar"))),
        train_num_samples=ENDLESS_ROWS,
        train_data_upsampling_factors=None,
        dataset_resampled=True,
        seed=0,
        workers=workers,
        world_size=1,
        batch_size=batch_rows,
    )
    info = data.get_wds_dataset(args, transform, is_train=True, tokenizer=open_clip.get_tokenizer("ViT-B-32"))
    return iter(info.dataloader)


def laion_clap_batches(shards: Path, *, batch_rows: int, workers: int) -> Iterator[Any]:
    """LAION-CLAP's ``get_wds_dataset`` with random truncation, repeat and pad, and its CLIP tokenizer.

    torchaudio's loading is replaced by what it did in that package's time: soundfile, to float32 (channels, frames).
    """
    import torchaudio

    data = laion_clap_data()
    data._SAMPLE_SHUFFLE_SIZE = data._SAMPLE_SHUFFLE_INITIAL = SHUFFLED_ROWS
    torchaudio.load = _soundfile_load
    files = sorted(str(path) for path in shards.glob("*.tar"))
    (shards / "sizes.json").write_text(json.dumps({Path(path).name: ENDLESS_ROWS for path in files}))
    args = SimpleNamespace(
        train_data=files,
        remotedata=False,
        train_num_samples=ENDLESS_ROWS,
        parallel_eval=False,
        seed=0,
        batch_size=batch_rows,
        world_size=1,
        workers=workers,
        prefetch_factor=2,
        horovod=False,
        class_index_dict=None,
        data_filling="repeatpad",
        data_truncating="rand_trunc",
        text_augment_selection=None,
        tmodel="transformer",
    )
    config = {"audio_cfg": {"sample_rate": 48_000}}
    return iter(data.get_wds_dataset(args, config, is_train=True, max_len=480_000).dataloader)


def laion_clap_data() -> Any:
    """Its module of data pipelines; the three tokenizers that it downloads when imported are not used here."""
    import transformers

    found = importlib.util.find_spec("laion_clap")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"the peer for sounds is LAION-CLAP. {__doc__}")
    root = found.submodule_search_locations[0]
    if root not in sys.path:
        sys.path.insert(0, root)  # where the package itself looks for its modules
    with ExitStack() as patched:
        for tokenizer in (transformers.BertTokenizer, transformers.RobertaTokenizer, transformers.BartTokenizer):
            patched.enter_context(mock.patch.object(tokenizer, "from_pretrained"))
        return importlib.import_module("training.data")


def laion_clap_htsat(audio: Any) -> Any:
    """Its HTSAT with random weights, of the values that its config files call ``audio_cfg``."""
    laion_clap_data()
    return importlib.import_module("clap_module.htsat").create_htsat_model(audio)


def _soundfile_load(path: str) -> tuple[torch.Tensor, int]:
    import soundfile

    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(np.ascontiguousarray(samples.T)), rate_hz
