"""Counter-based randomness: a number is a function of (key, candidate, step, lane) and of nothing else.

So a row does not depend on its batch, its worker or what ran before it. Philox4x32-10 of Salmon, Moraes, Dror and Shaw,
"Parallel random numbers: as easy as 1, 2, 3" (SC 2011); the tests check the known answers of its authors.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ROUNDS = 10

Words = NDArray[np.uint64]


def philox(counter: tuple[Words, Words, Words, Words], key: int) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10 of broadcastable counters; words are 32-bit values held in uint64 arrays."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & 0xFFFFFFFF, key >> 32 & 0xFFFFFFFF
    for _ in range(_ROUNDS):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def derive(*parts: object) -> int:
    """A 64-bit key from printable parts: `derive(fingerprint, "given")`; ("ab", "c") and ("a", "bc") give different keys."""
    digest = hashlib.sha256()
    for part in parts:
        text = str(part).encode()
        digest.update(len(text).to_bytes(8, "little") + text)
    return int.from_bytes(digest.digest()[:8], "little")


def uniforms(key: int, candidates: NDArray[np.int64], step: int | NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Uniforms in the open interval (0, 1), one row per candidate: shape (len(candidates), size), 52 random bits each.

    `step` is below 2^32, one for all candidates or one each.
    """
    pairs = -(-size // 2)  # one counter gives four 32-bit words, so two doubles
    index = np.asarray(candidates, dtype=np.uint64)[:, None]
    lane = np.arange(pairs, dtype=np.uint64)[None, :]
    steps = np.broadcast_to(np.asarray(step, dtype=np.uint64).reshape(-1, 1), index.shape)
    words = philox((index & _LOW, index >> _SHIFT, steps, lane), key)
    high, low = np.stack([words[0], words[2]], -1), np.stack([words[1], words[3]], -1)  # (rows, pairs, 2)
    bits = ((high << _SHIFT) | low) >> np.uint64(12)
    return ((bits.astype(np.float64) + 0.5) * 2.0**-52).reshape(len(index), -1)[:, :size]


def normals(key: int, candidates: NDArray[np.int64], step: int | NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Standard normals by inversion, so that each comes from one uniform: shape (len(candidates), size)."""
    return np.asarray(ndtri(uniforms(key, candidates, step, size)), dtype=np.float64)
