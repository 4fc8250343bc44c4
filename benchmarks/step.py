"""A training step of the same towers, batch and precision: ours beside open_clip's own.

Both have the same weights, pictures and captions.  The peer does what open_clip's training loop does: captions
padded to 77 tokens, ClipLoss, AdamW without fusion.  Ours trims captions to the batch's longest and fuses AdamW, and
takes the pictures as uint8.  Before timing, the gradients of both are compared.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import Tensor

from benchmarks.row import Row
from benchmarks.turns import in_turns
from mmcontrast.data.collate import pad_ids
from mmcontrast.data.shards import open_shards
from mmcontrast.engines import ENGINES
from mmcontrast.engines.local import Local
from mmcontrast.heads.identity import Identity
from mmcontrast.model import Model, ModelConfig
from mmcontrast.objectives.infonce import InfoNCE
from mmcontrast.optim.adamw import AdamW
from mmcontrast.steps.plain import Plain
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.towers.open_clip_image import OpenCLIPImage
from mmcontrast.towers.open_clip_text import OpenCLIPText
from mmcontrast.tuning.fields import TowerTraining
from mmcontrast.types import Batch, Column

NAME = "ViT-S-32-alt"
ROWS = 32
STEPS = 12
LARGEST_DIFFERENCE = 1e-5  # of gradients, relative to the largest


def measure() -> list[Row]:
    """Time both, in turns; return samples per second.

    Raises:
        RuntimeError: the gradients differ, so that a ratio would mean nothing.
    """
    pixels, captions = pictures(), real_captions()
    peer, peer_inputs = peer_model(pixels, captions)
    batch = our_batch(pixels, captions)
    rows = []
    for compiled in (False, True):
        engine = our_engine(peer, compiled=compiled)
        difference = gradient_difference(engine, batch, peer, peer_inputs)
        if difference > LARGEST_DIFFERENCE:
            raise RuntimeError(f"gradients differ by {difference:.2g} of the largest one")
        step = Plain(Plain.Config(), engine=engine)
        optimizer = torch.optim.AdamW(peer_groups(peer), lr=5e-4, betas=(0.9, 0.98), eps=1e-6)

        def ours(step: Any = step, engine: Any = engine) -> None:
            step(batch)
            engine.step(lr_factor=1e-6)

        def theirs(optimizer: Any = optimizer) -> None:
            optimizer.zero_grad()
            peer_loss(peer, peer_inputs).backward()
            optimizer.step()

        seconds = [statistics.median(each) for each in in_turns(ours, theirs, turns=STEPS, warm_up=3)]
        rows.append(
            Row(
                name="training step, compiled against eager" if compiled else "training step, both eager",
                ours=ROWS / seconds[0],
                peer=ROWS / seconds[1],
                ratio=seconds[1] / seconds[0],
                unit="samples/s",
                setting=f"{NAME}, batch {ROWS}, fp32, gradients equal to {difference:.1e}",
            )
        )
    return rows


def peer_groups(peer: torch.nn.Module) -> list[dict[str, Any]]:
    """The peer's parameters, matrices and kernels decaying as ours do."""
    matrices = [parameter for parameter in peer.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in peer.parameters() if parameter.ndim < 2]
    return [{"params": matrices, "weight_decay": 0.2}, {"params": others, "weight_decay": 0.0}]


def pictures() -> Tensor:
    """Random uint8 pictures: a step's time does not depend on what they show."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (ROWS, 3, 224, 224), dtype=torch.uint8, generator=generator)


def real_captions() -> list[str]:
    """First captions of the shipped instrument set."""
    shards = open_shards("package:quickstart/instruments-train")
    return [shards[row].info()["caption"] for row in range(ROWS)]


def peer_model(pixels: Tensor, captions: list[str]) -> tuple[Any, tuple[Tensor, Tensor]]:
    """open_clip's model with its padded ids and normalised pictures."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model(NAME).train()
    mean, std = (
        torch.tensor(each).view(3, 1, 1) for each in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    return model, ((pixels / 255 - mean) / std, open_clip.get_tokenizer(NAME)(captions))


def peer_loss(model: Any, inputs: tuple[Tensor, Tensor]) -> Tensor:
    """open_clip's forward and loss."""
    import open_clip

    image, text, scale = model(*inputs)
    return open_clip.ClipLoss()(image, text, scale)


def our_batch(pixels: Tensor, captions: list[str]) -> Batch:
    """The same rows as our loader brings them."""
    tokenizer = TOKENIZERS.build(OpenCLIPText.Config(name=NAME).tokenizer)
    ids = torch.stack(pad_ids([tokenizer.encode(caption, context_length=77) for caption in captions]))
    present = torch.ones(ROWS, dtype=torch.bool)
    columns = {"image": Column("image", pixels, present), "text": Column("text", ids, present)}
    return Batch(columns, {}, [str(row) for row in range(ROWS)])


def our_engine(peer: Any, *, compiled: bool) -> Any:
    """Our towers with the peer's weights, under the local engine."""
    towers = {"image": OpenCLIPImage.Config(name=NAME), "text": OpenCLIPText.Config(name=NAME)}
    width = int(peer.text_projection.shape[1])
    heads = {"image": Identity.Config(), "text": Identity.Config()}
    objective = InfoNCE(InfoNCE.Config(temperature=1 / float(peer.logit_scale.detach().exp())))
    training = {name: TowerTraining(compile=compiled) for name in towers}
    model = Model(ModelConfig(dim=width, towers=towers, heads=heads, training=training), {"main": objective}).train()
    state = peer.state_dict()
    towers_of: Any = model.towers
    towers_of["image"].inner.load_state_dict(
        {key.removeprefix("visual."): value for key, value in state.items() if key.startswith("visual.")}
    )
    towers_of["text"].inner.load_state_dict(
        {key: value for key, value in state.items() if not key.startswith("visual.") and key != "logit_scale"},
        strict=False,
    )
    optimizer = AdamW(AdamW.Config(lr=5e-4))
    return ENGINES.build(Local.Config(device="cpu"), model=model, optimizer=optimizer)


def gradient_difference(engine: Any, batch: Batch, peer: Any, inputs: tuple[Tensor, Tensor]) -> float:
    """Largest difference of any weight's gradient, relative to the largest gradient."""
    peer.zero_grad()
    peer_loss(peer, inputs).backward()
    expected = {name: each.grad for name, each in peer.named_parameters() if each.grad is not None}
    engine.model.zero_grad()
    Plain(Plain.Config(), engine=engine)(batch)
    pairs = []
    for name, parameter in engine.model.named_parameters():
        key = name.replace("towers.image.inner.", "visual.").replace("towers.text.inner.", "")
        if key in expected:
            pairs.append((parameter.grad, expected[key]))
    engine.model.zero_grad()
    if len(pairs) != len(expected) - 1:  # all but the logit scale, which stands in the objective
        raise RuntimeError(f"only {len(pairs)} of {len(expected) - 1} gradients could be compared")
    largest = max(float(theirs.abs().max()) for _, theirs in pairs)
    return max(float((mine - theirs).abs().max()) for mine, theirs in pairs) / largest
