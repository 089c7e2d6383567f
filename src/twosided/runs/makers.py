"""Trained makers as files: `save` writes a policy as one file, `load` reads it back as a maker that acts.

A file is in the safetensors format: named arrays, and metadata as JSON. The metadata hold the policy's structure
(classes by name, their fields), the observation that it expects, the scenario that it was made for, versions, and a
SHA-256 checksum of all of it. Loading unpickles nothing and imports nothing but this package and Equinox; classes
of other packages, such as a user's own policy, must be handed to `load`.
"""

import dataclasses
import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as tensors_to_bytes

from twosided.core import store
from twosided.core.errors import Refusal
from twosided.core.names import nearest
from twosided.core.numeric import as_arrays
from twosided.core.policy import Policy
from twosided.core.scenario import Scenario, seat
from twosided.settings.user_files import module_name

FORMAT = 1
"""Version of the file's layout."""
TRUSTED = ("twosided", "equinox")
"""Packages whose classes `load` imports by name."""
MAX_BYTES = 2**30
"""Largest file that `load` reads."""


class MakerError(Refusal):
    """One sentence on why a maker cannot be saved or loaded, or on a bad observation."""


class Input(NamedTuple):
    """A field of the observation that a maker expects."""

    name: str
    shape: tuple[int, ...]


class Maker:
    """A loaded maker: a policy with the observation that it expects and the scenario that it was made for.

    `act` carries the policy's state from call to call; `reset` starts again. To evaluate the maker, or to give it a
    seat in a scenario, use `policy`.
    """

    def __init__(
        self,
        policy: Policy,
        inputs: tuple[Input, ...] | None = None,
        scenario: Scenario | None = None,
        versions: Mapping[str, str] = {},
        observation: type | None = None,
        seed: int = 0,
    ):
        self.policy = policy
        self.inputs = inputs
        """Fields of the observation, in order; None if the file does not say."""
        self.scenario = scenario
        """Scenario that the maker was made for, if the file has it."""
        self.versions = dict(versions)
        """Versions of the packages that the maker was saved with."""
        self._class = observation
        self._key = jax.random.key(seed)
        self.reset()

    def reset(self) -> None:
        """Forget the policy's state and repeat its random draws from the seed."""
        self._state, self._batch, self._count = None, None, 0

    def act(self, observation: Any) -> Any:
        """Return the maker's action, its fields as NumPy arrays in the market's units.

        `observation` is one observation or a batch, in which every value has one more leading axis. It is a mapping
        from field names to numbers, an object of the market's observation class, or an array with all fields in
        order, flattened: shape (features,) or (batch, features). Raises MakerError for a field that is missing,
        unknown or of another shape.
        """
        fields, batch = self._read(observation)
        if batch != self._batch or self._state is None:
            if self._count and jax.tree.leaves(self._state):
                raise MakerError(
                    f"observations must keep the batch of {self._batch} that the maker's state is for, "
                    f"but got {batch}; call reset() to begin again"
                )
            self._state, self._batch = _initial(self.policy, batch or 1), batch
        key = jax.random.fold_in(self._key, self._count)
        action, self._state = _act(self.policy, key, self._state, fields)
        self._count += 1
        return jax.tree.map(lambda leaf: np.array(leaf if batch is not None else leaf[0]), action)

    def _read(self, observation: Any) -> tuple[Any, int | None]:
        """The observation as the policy takes it, with an axis of the batch; and the batch, None for one
        observation."""
        if self.inputs is None or self._class is None:
            raise MakerError("the file does not say what the maker observes; save it with its scenario")
        if isinstance(observation, Mapping):
            values = self._named(observation)
        elif self._class not in (None, dict) and isinstance(observation, self._class):
            values = self._named({f.name: getattr(observation, f.name) for f in self.inputs})
        else:
            values = self._flat(observation)
        batches = {
            len(v) if v.ndim > len(f.shape) else None for f, v in zip(self.inputs, values, strict=True)
        }
        if len(batches) > 1:
            raise MakerError(f"all fields must have the same batch, but got {sorted(map(str, batches))}")
        (batch,) = batches
        leaves = {
            field.name: value if batch is not None else value[None]
            for field, value in zip(self.inputs, values, strict=True)
        }
        return _observation(self._class, leaves), batch

    def _named(self, observation: Mapping[str, Any]) -> list[np.ndarray]:
        names = [field.name for field in self.inputs or ()]
        for name in observation:
            if name not in names:
                raise MakerError(f"the observation has no field {name}{nearest(name, names)}")
        for name in names:
            if name not in observation:
                raise MakerError(f"the observation lacks {name}; it takes {', '.join(names)}")
        return [self._checked(field, observation[field.name]) for field in self.inputs or ()]

    def _flat(self, observation: Any) -> list[np.ndarray]:
        sizes = [int(np.prod(field.shape)) for field in self.inputs or ()]
        values = _numbers("observation", observation)
        if values.ndim not in (1, 2) or values.shape[-1] != sum(sizes):
            raise MakerError(
                f"observation must have the shape ({sum(sizes)},) or (batch, {sum(sizes)}), but got {values.shape}"
            )
        parts = np.split(values, np.cumsum(sizes)[:-1], axis=-1)
        return [
            self._checked(field, part.reshape(*part.shape[:-1], *field.shape))
            for field, part in zip(self.inputs or (), parts, strict=True)
        ]

    def _checked(self, field: Input, value: Any) -> np.ndarray:
        values = _numbers(field.name, value)
        if (
            values.shape[values.ndim - len(field.shape) :] != field.shape
            or values.ndim > len(field.shape) + 1
        ):
            raise MakerError(
                f"{field.name} must have the shape {field.shape}, or one more axis, but got {values.shape}"
            )
        if not np.isfinite(values).all():
            raise MakerError(f"{field.name} must be finite, but got {values[~np.isfinite(values)][0]}")
        return values


def save(policy: Policy, path: str | Path, scenario: Scenario | None = None) -> None:
    """Write a policy as one file: its parameters, normalisation, action mapping, spaces, scenario and versions.

    With a scenario the file names the fields of the observation, in the market's units, so that the loaded maker
    acts on them. Raises MakerError for what cannot be saved, and StoreError if the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    content = {
        "format": FORMAT,
        "policy": _encoded(as_arrays(policy), "policy", arrays),
        "inputs": None,
        "observation": None,
        "scenario": None,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("twosided", "jax", "equinox", "numpy")},
    }
    if scenario is not None:
        seen = _seen(scenario)
        content["inputs"] = [[name, list(leaf.shape)] for name, leaf in _fields(seen)]
        content["observation"] = "dict" if isinstance(seen, dict) else _name(type(seen))
        content["scenario"] = _encoded(scenario, "scenario", arrays)
    text = json.dumps(content)
    metadata = {"twosided": text, "sha256": _checksum(text, arrays)}
    store.write(Path(path), tensors_to_bytes(arrays or {"empty": np.zeros(0, np.float32)}, metadata))


def load(path: str | Path, classes: Sequence[type] = (), seed: int = 0) -> Maker:
    """Read a maker that `save` wrote.

    `classes` are the classes of other packages that the file names, such as a user's own policy or market: no
    module but this package's and Equinox's is imported. `seed` decides the random draws of a policy that is random.
    Raises MakerError and StoreError.
    """
    path = Path(path)
    data = store.read_bytes(path, MAX_BYTES)
    try:
        arrays = read_tensors(data)
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        text, checksum = head["twosided"], head["sha256"]
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        raise MakerError(f"{path} is not a maker, or is damaged") from None
    arrays.pop("empty", None)
    if checksum != _checksum(text, arrays):
        raise MakerError(f"{path} is damaged: its content does not match its checksum")
    content = json.loads(text)
    if content["format"] != FORMAT:
        raise MakerError(f"{path} has the format {content['format']}; this version reads {FORMAT}")
    known = {_name(found): found for found in classes}
    try:
        policy = _decoded(content["policy"], arrays, known)
        scenario = content["scenario"] and _decoded(content["scenario"], arrays, known)
        observation = _observation_class(content["observation"], known)
    except MakerError as error:
        raise MakerError(f"{path}: {error}") from None
    if not isinstance(policy, Policy):
        raise MakerError(f"{path} holds {type(policy).__name__}, which is not a policy")
    inputs = content["inputs"] and tuple(Input(name, tuple(shape)) for name, shape in content["inputs"])
    return Maker(policy, inputs, scenario, content["versions"], observation, seed)


@eqx.filter_jit
def _act(policy: Policy, key: Any, state: Any, observation: Any) -> tuple[Any, Any]:
    batch = jax.tree.leaves(observation)[0].shape[0]
    return jax.vmap(policy.act)(policy.shocks(key, (batch,)), state, observation)


def _initial(policy: Policy, batch: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch, *jnp.shape(leaf))), policy.init())


def _numbers(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise MakerError(f"{name} must be numbers, but got {value!r}") from None


def _seen(scenario: Scenario) -> Any:
    """Shapes of what one maker observes."""

    def first(key: Any) -> Any:
        shock = jax.tree.map(lambda leaf: leaf[0], scenario.market.shocks(key, (1,)))
        return seat(scenario.market.reset(shock)[1], 0)

    return jax.eval_shape(first, jax.random.key(0))


def _fields(observation: Any) -> Iterator[tuple[str, Any]]:
    """Fields of an observation that are observed, in the order of its leaves, with their shapes. Raises MakerError."""
    if isinstance(observation, dict):
        fields = sorted(observation.items())
    elif dataclasses.is_dataclass(observation):
        fields = [(field.name, getattr(observation, field.name)) for field in dataclasses.fields(observation)]
    else:
        raise MakerError(f"an observation must have named fields, but is {type(observation).__name__}")
    for name, value in fields:
        if value is None:
            continue
        if not hasattr(value, "shape"):
            raise MakerError(f"observation field {name} must be an array, but is {type(value).__name__}")
        yield name, value


def _observation_class(name: str | None, known: Mapping[str, type]) -> type | None:
    if name is None or name == "dict":
        return name and dict
    return _class(name, known)


def _observation(of: Any, leaves: dict[str, np.ndarray]) -> Any:
    """An observation of a class, in which fields that are not observed are None."""
    if of is dict:
        return leaves
    made = object.__new__(of)
    for field in dataclasses.fields(of):  # pyright: ignore[reportArgumentType]
        object.__setattr__(made, field.name, leaves.get(field.name))
    return made


def _encoded(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """Plain data for a value made of numbers, texts, arrays, tuples and modules; arrays are put aside by place."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        arrays[place] = np.array(value, order="C")
        return {"array": place}
    if isinstance(value, tuple | list):
        return {"tuple": [_encoded(item, f"{place}.{i}", arrays) for i, item in enumerate(value)]}
    if isinstance(value, eqx.Module):
        names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
        fields = {name: _encoded(getattr(value, name), f"{place}.{name}", arrays) for name in names}
        return {"class": _name(type(value)), "fields": fields}
    raise MakerError(f"{place} cannot be saved: it is of the type {type(value).__name__}")


def _decoded(plain: Any, arrays: Mapping[str, np.ndarray], known: Mapping[str, type]) -> Any:
    """The value of plain data. A module is filled field by field, without its constructor, and then checked."""
    match plain:
        case None | bool() | int() | float() | str():
            return plain
        case {"array": str(place)} if place in arrays:
            return jnp.asarray(arrays[place])
        case {"tuple": list(items)}:
            return tuple(_decoded(item, arrays, known) for item in items)
        case {"class": str(name), "fields": dict(fields)}:
            of = _class(name, known)
            declared = {field.name for field in dataclasses.fields(of)}  # pyright: ignore[reportArgumentType]
            if unknown := fields.keys() - declared:
                raise MakerError(f"{of.__name__} has no field {sorted(unknown)[0]} in this version")
            if missing := declared - fields.keys():
                raise MakerError(f"{of.__name__} needs the field {sorted(missing)[0]} in this version")
            made = object.__new__(of)
            for field, value in fields.items():
                object.__setattr__(made, field, _decoded(value, arrays, known))
            return _checked(made)
    raise MakerError("its structure is not of this version")


def _checked(module: eqx.Module) -> eqx.Module:
    """The module, after the checks of its class and of those that it derives from. Raises MakerError."""
    for of in type(module).__mro__:
        if "__check_init__" in of.__dict__:
            try:
                of.__dict__["__check_init__"](module)
            except (ValueError, TypeError) as error:
                raise MakerError(f"{type(module).__name__}: {error}") from None
    return module


def _name(of: type) -> str:
    return f"{module_name(of)}:{of.__qualname__}"


def _class(name: str, known: Mapping[str, type]) -> type:
    """The module class of a name: one of those given, or one of the trusted packages. Raises MakerError."""
    if name in known:
        return known[name]
    module, _, qualified = name.partition(":")
    if module.split(".")[0] not in TRUSTED:
        raise MakerError(f"it needs the class {name}; hand it to load(path, classes=[...])")
    try:
        found: Any = import_module(module)
        for step in qualified.split("."):
            found = getattr(found, step)
    except (ImportError, AttributeError, ValueError):
        raise MakerError(f"it needs the class {name}, which this version does not have") from None
    if not (isinstance(found, type) and issubclass(found, eqx.Module)):
        raise MakerError(f"{name} is not a class of this version")
    return found


def _checksum(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
