"""Pairs of near things: exact search for hashes by bands, for unit vectors by blocks, for sets by MinHash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

BLOCK_ROWS = 4096
MISSED_AT_LEAST = 0.01  # of the pairs of sets at the limit itself


def equal_groups(values: Sequence[object]) -> Iterator[list[int]]:
    """Places of equal values, None left out, in order of the first."""
    groups: dict[object, list[int]] = defaultdict(list)
    for place, value in enumerate(values):
        if value is not None:
            groups[value].append(place)
    yield from groups.values()


def hamming_pairs(hashes: np.ndarray, distance: int) -> Iterator[tuple[int, int, int]]:
    """Pairs of distinct 64-bit hashes that differ in at most ``distance`` bits: (i, j, bits), i < j.

    Exact: two such hashes agree in at least one of ``distance + 1`` bands of bits (pigeonhole).
    """
    bands = np.array_split(np.arange(64, dtype=np.uint64), distance + 1)
    seen: set[tuple[int, int]] = set()
    for band in bands:
        mask = np.bitwise_or.reduce(np.left_shift(np.uint64(1), band))
        order = np.argsort(hashes & mask, kind="stable")
        keys = (hashes & mask)[order]
        starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1], True])
        for start, end in zip(starts[:-1], starts[1:], strict=True):
            members = np.sort(order[start:end])
            for offset, first in enumerate(members[:-1]):
                rest = members[offset + 1 :]
                bits = np.bitwise_count(hashes[rest] ^ hashes[first])
                for second, count in zip(rest[bits <= distance], bits[bits <= distance], strict=True):
                    pair = (int(first), int(second))
                    if pair not in seen:
                        seen.add(pair)
                        yield (*pair, int(count))


def cosine_pairs(vectors: np.ndarray, least: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of unit vectors (N, D) with a cosine of at least ``least``: (i, j, cosine), i < j; NaN rows have none.

    Exact, in blocks: memory stays at 64 MiB whatever N; time grows with N squared.
    """
    known = np.flatnonzero(~np.isnan(vectors).any(axis=1))
    table = np.ascontiguousarray(vectors[known], dtype=np.float32)
    for start in range(0, len(table), BLOCK_ROWS):
        for other in range(start, len(table), BLOCK_ROWS):
            scores = table[start : start + BLOCK_ROWS] @ table[other : other + BLOCK_ROWS].T
            firsts, seconds = np.nonzero(scores >= least)
            for first, second in zip(firsts + start, seconds + other, strict=True):
                if first < second:
                    yield int(known[first]), int(known[second]), float(scores[first - start, second - other])


def top_neighbours(queries: np.ndarray, keys: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` keys of the largest inner product for every query, by faiss: (scores, places), each (Q, k)."""
    import faiss

    index = faiss.IndexFlatIP(keys.shape[1])
    index.add(np.ascontiguousarray(keys, dtype=np.float32))
    scores, places = index.search(np.ascontiguousarray(queries, dtype=np.float32), min(k, len(keys)))
    return scores, places


def lsh_bands(least: float, permutations: int) -> tuple[int, int]:
    """Bands and rows a band, so that a pair of similarity ``least`` becomes a candidate with probability 0.99."""
    rows = permutations
    while rows > 1 and (1 - least**rows) ** (permutations // rows) > MISSED_AT_LEAST:
        rows -= 1
    return max(2, permutations // rows), rows


def minhash_pairs(
    shingles: Sequence[set[str]], *, least: float, permutations: int, seed: int
) -> Iterator[tuple[int, int, float]]:
    """Pairs of sets whose Jaccard similarity is at least ``least``: (i, j, similarity), i < j.

    Candidates by datasketch's MinHash LSH; each is then compared exactly, so a pair may be missed and none is wrong.
    Bands are as long as they can be with at most 1% of the pairs at ``least`` missed.  (datasketch's own choice weighs
    misses and false candidates alike: of pairs at 0.8 it misses more than half.)
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(params=lsh_bands(least, permutations), num_perm=permutations)
    for place, each in enumerate(shingles):
        if not each:
            continue
        sketch = MinHash(num_perm=permutations, seed=seed)
        sketch.update_batch([shingle.encode("utf-8") for shingle in sorted(each)])
        for other in sorted(int(found) for found in index.query(sketch)):
            similarity = len(shingles[other] & each) / len(shingles[other] | each)
            if similarity >= least:
                yield other, place, similarity
        index.insert(str(place), sketch)
