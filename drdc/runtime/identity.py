"""Seeds and fingerprints derived from content: the same on every machine and in every order of work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed derived from the parts alone, such as (seed, step) or (seed, key of an image)."""
    return seed_of_bytes("/".join(map(str, parts)).encode())


def seed_of_bytes(content: bytes) -> int:
    """A 63-bit seed derived from the content alone: the first bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> 1


def seed_of_batch(seed: int, key: str) -> int:
    """The seed of a method's noise for a batch; `key`: SHA-256 of its first image's pixels."""
    return seed_of(seed, int(key, 16))


def entropy_of(*parts: int | str) -> list[int]:
    """256 bits derived from the parts alone, as bytes: seed of a generator of NumPy."""
    return list(hashlib.sha256("/".join(map(str, parts)).encode()).digest())


def fingerprint_of(identity: Any, plain: Callable[[Any], Any] | None = None) -> str:
    """SHA-256 of everything that a result depends on, in hexadecimal, whatever the order of keys.

    Args:
        identity: of types that JSON has.
        plain: converts all other types within it.
    """
    return fingerprint_of_text(json.dumps(identity, sort_keys=True, default=plain))


def fingerprint_of_text(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
