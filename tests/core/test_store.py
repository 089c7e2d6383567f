"""Results on disk: atomic writes, bit-identical checkpoints, and errors for damaged files."""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twosided.core import store

STATE = {"weights": jnp.arange(6.0).reshape(2, 3), "key": jax.random.key(7), "count": jnp.asarray(3)}
LIKE = jax.eval_shape(lambda: STATE)


def test_write_replaces_the_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    store.write(path, "one")
    store.write(path, b"two")
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    store.write(path, "old")

    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full_disk)
    with pytest.raises(store.StoreError, match=r"cannot write .*: No space left on device"):
        store.write(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_write_below_a_file_raises(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(store.StoreError, match="cannot write"):
        store.write(tmp_path / "taken" / "file", "x")


def test_checkpoint_is_read_back_bit_identical(tmp_path):
    path = tmp_path / "c.eqx"
    store.write_checkpoint(path, STATE, {"iteration": 5})
    state = store.read_checkpoint(path, LIKE)
    assert store.read_header(path)["iteration"] == 5
    np.testing.assert_array_equal(state["weights"], STATE["weights"])
    assert jax.random.key_data(state["key"]).tolist() == jax.random.key_data(STATE["key"]).tolist()
    assert state["key"].dtype == STATE["key"].dtype


def test_checkpoint_of_another_shape_raises(tmp_path):
    path = tmp_path / "c.eqx"
    store.write_checkpoint(path, STATE, {})
    other = LIKE | {"weights": jax.ShapeDtypeStruct((2, 4), jnp.float32)}
    with pytest.raises(store.StoreError, match="does not fit the settings"):
        store.read_checkpoint(path, other)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_checkpoint_raises_a_one_line_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "c.eqx"
    store.write_checkpoint(path, STATE, {"iteration": 5})
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        state = store.read_checkpoint(path, LIKE)
    except store.StoreError as error:
        assert "\n" not in str(error)
    else:
        # The damage must be in a part of the header that does not affect the content.
        np.testing.assert_array_equal(state["weights"], STATE["weights"])


def test_frames_are_read_back_and_other_files_raise(tmp_path):
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    store.write_frame(tmp_path / "f.parquet", frame)
    assert store.read_frame(tmp_path / "f.parquet").equals(frame)
    (tmp_path / "g.parquet").write_text("no")
    with pytest.raises(store.StoreError, match="not a Parquet file"):
        store.read_frame(tmp_path / "g.parquet")
    with pytest.raises(store.StoreError, match="cannot read"):
        store.read_frame(tmp_path / "h.parquet")
