"""Files of results and checkpoints, written atomically and read without pickle.

A file is written beside its destination, flushed to the disk and renamed, so that a process killed at any moment leaves
either the old file or the new one. A run is a folder:

    settings.toml       the settings, which reproduce the run
    checkpoint.eqx      training state: a line of JSON with the learning curve, then the leaves of the state
    records.parquet     results of the evaluation
    trace.parquet       every step of some episodes, for the figures
    about.json          the optimum, timings, versions; written last, so it marks a finished run
    report.html         the page
"""

import contextlib
import hashlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import polars as pl
import pyarrow as pa
from pyarrow import parquet

from twosided.core.errors import Refusal

SETTINGS, CHECKPOINT, ABOUT = "settings.toml", "checkpoint.eqx", "about.json"
RECORDS, TRACE, REPORT = "records.parquet", "trace.parquet", "report.html"
FORMAT = 1
"""Version of the layout of checkpoints."""


class StoreError(Refusal):
    """A file cannot be read or written; the message is one sentence with the path and the reason."""


def write(path: Path, content: bytes | str) -> None:
    """Write content to a path atomically. Raises StoreError."""
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()


def finished(folder: Path) -> list[Path]:
    """Return the files of a folder, after removing partial files that a killed process left."""
    for path in folder.glob(".*.partial"):
        path.unlink(missing_ok=True)
    return list(folder.iterdir())


def claim(folder: Path, text: str, kind: str) -> bool:
    """Write settings into a folder that is new or empty, and return whether it was.

    Returns False if the folder has settings already. Raises StoreError if it holds files but no settings of a `kind` (a
    run, a study).
    """
    if (folder / SETTINGS).exists():
        return False
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is not a folder; choose another --out")
    if folder.exists() and any(finished(folder)):
        raise StoreError(f"{folder} is not empty and holds no {kind}; choose another --out")
    write(folder / SETTINGS, text)
    return True


def remove(path: Path) -> None:
    """Remove a file if it exists. Raises StoreError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot remove {path}: {error.strerror}") from None


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """Write a table as Parquet. Raises StoreError."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    write(path, buffer.getvalue())


def read_text(path: Path) -> str:
    """Read a UTF-8 text. Raises StoreError."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError:
        raise StoreError(f"{path} is not a text in UTF-8") from None


def read_json(path: Path) -> Any:
    """Read plain data from JSON. Raises StoreError."""
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path} is not JSON") from None


def read_frame(path: Path) -> pl.DataFrame:
    """Read a table from Parquet. Raises StoreError."""
    try:
        # pyarrow reads it, because polars aborts the process on some damaged files.
        # Without threads of its own, because pyarrow sometimes aborts a process that ends soon after it has used them.
        file = parquet.ParquetFile(io.BytesIO(read_bytes(path)), pre_buffer=False)
        return pl.DataFrame(file.read(use_threads=False))
    except (pa.ArrowException, OSError):
        raise StoreError(f"{path} is not a Parquet file") from None


def write_checkpoint(path: Path, state: Any, header: dict[str, Any]) -> None:
    """Write a pytree of arrays and a header of plain data as one file. Raises StoreError."""
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, _plain_keys(state))
    leaves = buffer.getvalue()
    head = {"format": FORMAT, "sha256": hashlib.sha256(leaves).hexdigest(), **header}
    write(path, json.dumps(head).encode() + b"\n" + leaves)


def read_header(path: Path) -> dict[str, Any]:
    """Read the header of a checkpoint, without the state after it, which can be large. Raises StoreError."""
    try:
        with path.open("rb") as file:
            return _header(path, file.readline())
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None


def read_checkpoint(path: Path, like: Any) -> Any:
    """Read the pytree of a checkpoint, with the structure and shapes of `like`. Raises StoreError."""
    header, leaves = _parts(path)
    if hashlib.sha256(leaves).hexdigest() != header["sha256"]:
        raise StoreError(f"{path} is damaged: its content does not match its checksum")
    try:
        state = eqx.tree_deserialise_leaves(io.BytesIO(leaves), jax.eval_shape(_plain_keys, like))
    except (RuntimeError, ValueError, EOFError):
        raise StoreError(f"{path} does not fit the settings of its run") from None
    return jax.tree.map(
        lambda leaf, shape: jax.random.wrap_key_data(leaf) if _is_key(shape) else leaf, state, like
    )


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """Content of a file of at most `limit` bytes. Raises StoreError."""
    try:
        with path.open("rb") as file:
            content = file.read(-1 if limit is None else limit + 1)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None
    if limit is not None and len(content) > limit:
        raise StoreError(f"{path} must have at most {limit} bytes, but has more")
    return content


def _parts(path: Path) -> tuple[dict[str, Any], bytes]:
    head, _, leaves = read_bytes(path).partition(b"\n")
    return _header(path, head), leaves


def _header(path: Path, head: bytes) -> dict[str, Any]:
    try:
        header = json.loads(head)
        known = header["format"] == FORMAT and isinstance(header["sha256"], str)
    except (ValueError, TypeError, KeyError):
        known, header = False, {}
    if not known:
        raise StoreError(f"{path} is not a checkpoint of this version")
    return header


def _plain_keys(tree: Any) -> Any:
    """Replace random keys by their data, which files can hold."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
