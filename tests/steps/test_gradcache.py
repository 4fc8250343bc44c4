"""Tokens of chunks that differ in length: gradients are those of the rows together."""

from __future__ import annotations

import torch

from mmcontrast.types import Embedded, Embeddings, Tokens

LENGTHS = (3, 5, 2)  # tokens of each chunk
ROWS, WIDTH = 2, 4


def chunk(length: int, seed: int) -> Embeddings:
    torch.manual_seed(seed)
    values = torch.randn(ROWS, length, WIDTH, requires_grad=True)
    real = torch.rand(ROWS, length) < 0.8
    z, present = torch.randn(ROWS, WIDTH, requires_grad=True), torch.ones(ROWS, dtype=torch.bool)
    column = Embedded(z, present, Tokens(values, real))
    return Embeddings({"text": column}, {}, [""] * ROWS)


def loss(embeddings: Embeddings) -> torch.Tensor:
    column = embeddings["text"]
    assert column.tokens is not None
    means = (column.tokens.values * column.tokens.real[:, :, None]).sum(dim=1)
    return (column.z @ means.T).logsumexp(dim=1).mean()


def test_gradients_of_tokens_come_back_to_chunks_of_other_lengths() -> None:
    chunks = [chunk(length, seed) for seed, length in enumerate(LENGTHS)]
    joined = Embeddings.join(chunks)
    assert joined["text"].tokens is not None and joined["text"].tokens.real.shape == (6, 5)
    assert not joined["text"].tokens.real[4:, 2:].any()  # what pads the last chunk is no real token
    leaves = joined.as_leaves()
    loss(leaves).backward()
    for part, grads in zip(chunks, leaves.grads(ROWS), strict=True):
        part.dot(grads).backward()
    found = [(part["text"].z.grad, part["text"].tokens.values.grad) for part in chunks]
    for part in chunks:
        part["text"].z.grad = part["text"].tokens.values.grad = None
    loss(joined).backward()
    for part, (z, tokens) in zip(chunks, found, strict=True):
        torch.testing.assert_close(z, part["text"].z.grad)
        torch.testing.assert_close(tokens, part["text"].tokens.values.grad)
