"""Print what ImageBind's own modules make of the tiny checkpoint: the numbers in test_imagebind.py.

Its package is in no registry; recorded at commit 53680b0.  To run it again:

    git clone https://github.com/facebookresearch/ImageBind
    pip install iopath
    PYTHONPATH=.:ImageBind python -m tests.importers.record_imagebind
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.nn.functional import normalize

from mmcontrast.importers.imagebind_peer import three_clips
from mmcontrast.importers.peer_module import peer_module
from tests.importers.imagebind_file import CAPTIONS, DIM, HEADS, SIZES, asked, tiny_state

SHOWN = 4  # coordinates


def main() -> None:
    """Embed everything."""
    from torchvision.transforms.functional import normalize as by_channel
    from torchvision.transforms.functional import to_tensor

    with peer_module("imagebind", "models.imagebind_model") as module:
        model: Any = module.ImageBindModel(**SIZES, **HEADS, out_embed_dim=DIM).eval()
        (home,) = sys.modules["imagebind"].__path__
        words = f"{home}/bpe/bpe_simple_vocab_16e6.txt.gz"
        tokenizer = sys.modules["imagebind.models.multimodal_preprocessors"].SimpleTokenizer(bpe_path=words)
    model.load_state_dict(tiny_state())  # strict: the names and shapes are the package's own
    found = asked()
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    inputs = {
        "vision": torch.stack([by_channel(to_tensor(each), mean, std) for each in found["image"]]),
        "audio": torch.stack([three_clips(each) for each in found["audio"]]),
        "text": torch.stack([tokenizer(each) for each in CAPTIONS]),
    }
    with torch.inference_mode():
        for name, each in model(inputs).items():
            rows = normalize(each, dim=-1)[:, :SHOWN].tolist()
            print(f'    "{"image" if name == "vision" else name}": [')
            for row in rows:
                print("        [" + ", ".join(f"{value:.7f}" for value in row) + "],")
            print("    ],")


if __name__ == "__main__":
    main()
