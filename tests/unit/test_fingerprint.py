import pytest

from synthmill.fingerprint import fingerprint, hash_file, hash_folder


def test_order_of_keys_does_not_matter_and_everything_else_does():
    base = fingerprint("model", {"a": 1, "b": [1, 2]})
    assert fingerprint("model", {"b": [1, 2], "a": 1}) == base
    others = {fingerprint("job", {"a": 1, "b": [1, 2]}), fingerprint("model", {"a": 1, "b": [2, 1]})}
    assert base not in others
    assert len(others) == 2


def test_the_hash_is_the_same_as_ever():
    # A stored value: when it changes, every model and shard of every user is made anew. Raise FORMAT if that is meant.
    assert fingerprint("model", {"a": 1}) == "c8aeeaefcc6f986374701e755fec36f7"


def test_nan_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint("model", {"a": float("nan")})


def test_a_folder_is_hashed_by_names_and_contents(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    before = hash_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_folder(tmp_path) != before
    assert hash_file(tmp_path / "b") == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
