"""Seeds and fingerprints as literal numbers: with others, an experiment would give other results."""

from __future__ import annotations

import numpy as np

from drdc.runtime.identity import (
    entropy_of,
    fingerprint_of,
    fingerprint_of_text,
    seed_of,
    seed_of_batch,
    seed_of_bytes,
)

KEY = "ab" * 32


def test_seeds_never_change() -> None:
    assert seed_of(0, 1) == 6096812863120040317
    assert seed_of(0, KEY) == 3000400857950275448
    assert seed_of_bytes(bytes(12)) == 789886921529858394
    assert seed_of_batch(3, KEY) == 3267026822908938157
    assert np.random.default_rng(entropy_of("random_map", 0, KEY)).integers(2**62) == 437709910414804475


def test_fingerprints_never_change() -> None:
    assert fingerprint_of({"b": [2], "a": 1.5})[:16] == "e7e220ccfa430a89"
    assert fingerprint_of([{"b": [2], "a": 1.5}, "float32", 3])[:16] == "206e578275624c3b"
    assert fingerprint_of({"b": {1}}, plain=sorted) == fingerprint_of({"b": [1]})
    assert fingerprint_of_text("{}")[:12] == "44136fa355b3"


def test_no_two_seeds_are_the_same_and_each_has_63_bits() -> None:
    seeds = {seed_of(seed, step) for seed in range(5) for step in range(-1, 200)}
    seeds |= {seed_of(0, step, rank) for step in range(200) for rank in range(3)}
    assert len(seeds) == 5 * 201 + 3 * 200
    assert 0 <= min(seeds) <= max(seeds) < 2**63


def test_a_fingerprint_is_of_the_content_not_of_its_order() -> None:
    assert fingerprint_of({"a": 1, "b": [2]}) == fingerprint_of({"b": [2], "a": 1})
    assert fingerprint_of({"a": 1, "b": [2]}) != fingerprint_of({"a": 1, "b": [3]})
