import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthmill.seeds import derive, normals, philox, uniforms

# Known answers of the authors (Random123, kat_vectors, philox4x32 10 rounds): counter, key, output.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_known_answers_of_its_authors(counter, key, expected):
    words = philox(tuple(np.array([c], dtype=np.uint64) for c in counter), key[0] | key[1] << 32)
    assert tuple(int(word[0]) for word in words) == expected


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=20), st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_a_number_depends_on_its_candidate_and_not_on_its_batch(candidates, step, size):
    together = uniforms(7, np.array(candidates), step, size)
    alone = np.concatenate([uniforms(7, np.array([c]), step, size) for c in candidates])
    assert np.array_equal(together, alone)


def test_a_wider_draw_starts_with_the_narrower_one():
    assert np.array_equal(uniforms(1, np.arange(5), 0, 9)[:, :4], uniforms(1, np.arange(5), 0, 4))


def test_keys_steps_and_candidates_give_different_numbers():
    seen = {uniforms(key, np.array([c]), step, 1).item() for key in range(10) for c in range(10) for step in range(10)}
    assert len(seen) == 1000


def test_uniforms_are_uniform_and_normals_are_normal():
    draws = uniforms(3, np.arange(100_000), 0, 1)[:, 0]
    assert abs(np.histogram(draws, 10, (0, 1))[0] / 10_000 - 1).max() < 0.05
    assert 0 < draws.min() < draws.max() < 1
    z = normals(3, np.arange(100_000), 0, 2)
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    assert abs(np.corrcoef(z.T)[0, 1]) < 0.01


def test_derive_keeps_parts_apart():
    assert derive("ab", "c") != derive("a", "bc")
    assert derive("a") == derive("a")
