"""Towers and front ends against the packages they follow."""

from __future__ import annotations

import pytest
import torch

from mmcontrast.front_ends.log_mel import LogMelConfig
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.towers import TOWERS


def test_open_clip_tokens_are_open_clips_without_the_padding() -> None:
    import open_clip

    theirs = open_clip.get_tokenizer("ViT-B-32")
    ours = TOKENIZERS.build(TOKENIZERS.get("open_clip").Config())
    printable = "".join(chr(code) for code in range(32, 127))
    hard = ("tom &amp;amp; jerry", "  It's\tOK ", "\N{LEFT DOUBLE QUOTATION MARK}x", "a <start_of_text> b", printable)
    for text in ("a photo of a cat", "", "naïve café, 12:30!", "word " * 200, *hard):
        ids = ours.encode(text, context_length=77)
        expected = theirs([text])[0]
        assert ids == expected[: len(ids)].tolist()
        assert int(expected[len(ids) :].sum()) == 0


def test_open_clip_towers_are_open_clips_on_trimmed_captions() -> None:
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt").eval()
    text = TOWERS.build(TOWERS.get("open_clip_text").Config(name="ViT-S-32-alt")).eval()
    image = TOWERS.build(TOWERS.get("open_clip_image").Config(name="ViT-S-32-alt")).eval()
    state = model.state_dict()
    text.inner.load_state_dict({key: state[key] for key in text.inner.state_dict() if key in state}, strict=False)
    image.inner.load_state_dict({key.removeprefix("visual."): v for key, v in state.items() if "visual." in key})
    captions = ["a red square", "two dogs and a cat on a green sofa", "x"]
    ids = open_clip.get_tokenizer("ViT-S-32-alt")(captions)
    longest = int((ids != 0).sum(dim=1).max())
    pixels = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    mean, std = (
        torch.tensor(each).view(3, 1, 1) for each in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    with torch.no_grad():
        expected = model.encode_text(ids)
        torch.testing.assert_close(text(ids[:, :longest]).pooled, expected, atol=1e-5, rtol=1e-5)
        expected = model.encode_image((pixels / 255 - mean) / std)
        torch.testing.assert_close(image(pixels).pooled, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["RN50", "convnext_tiny", "MobileCLIP-S1", "coca_ViT-B-32"])
def test_every_kind_of_open_clip_image_tower_keeps_rows_apart(name: str) -> None:
    torch.manual_seed(0)
    tower = TOWERS.build(TOWERS.get("open_clip_image").Config(name=name, size=64)).train()
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pooled = tower(pixels).pooled
        assert pooled.shape == (2, tower.width)
        torch.testing.assert_close(tower(pixels[:1]).pooled, pooled[:1], atol=1e-5, rtol=1e-4)


def test_a_window_shift_masks_what_does_not_touch() -> None:
    from timm.models.swin_transformer import SwinTransformerBlock

    from mmcontrast.towers.swin import SwinBlock

    torch.manual_seed(0)
    ours = SwinBlock(8, grid=8, heads=2, window=4, shift=2, drop_path=0.0).eval()
    theirs = SwinTransformerBlock(8, (8, 8), num_heads=2, window_size=4, shift_size=2).eval()
    theirs.load_state_dict(
        {key: value for key, value in ours.state_dict().items() if key in theirs.state_dict()}, strict=False
    )
    x = torch.randn(2, 64, 8)
    with torch.no_grad():
        expected = theirs(x.view(2, 8, 8, 8)).view(2, 64, 8)
        torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-4)


def test_htsat_folds_time_into_stacked_runs() -> None:
    cls = TOWERS.get("htsat")
    mel = LogMelConfig(
        sample_rate_hz=8000, fft_samples=256, window_samples=256, hop_samples=128, mels=16, high_hz=4000.0
    )
    tower = cls(cls.Config(seconds=0.5, mel=mel, size=32, width=8, depths=(1, 1), heads=(2, 2), window=4))
    picture = tower.fold(torch.arange(64).expand(1, 16, 64).float())  # 2 runs of 32 frames
    assert picture.shape == (1, 1, 32, 32)
    assert torch.equal(picture[0, 0, :16], torch.arange(32).expand(16, 32).float())
    assert torch.equal(picture[0, 0, 16:], torch.arange(32, 64).expand(16, 32).float())
