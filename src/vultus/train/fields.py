"""Documents as frozen dataclasses, strictly: an unknown key or a value of another type is named, never passed over."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, TypeVar

from ..errors import BadInput

T = TypeVar("T")


def from_document(kind: type[T], document: Mapping[str, Any], where: str) -> T:
    """A dataclass of type ``kind`` from a document's keys; what is left out has its default, lists become tuples.

    Args:
        kind: fields are dataclasses, tuples, ``dict[str, Any]``, str, int, float, bool, ``Literal``, or one of these ``| None``.
        where: what holds the document, for messages: a file, a section of it.

    Raises:
        BadInput: an unknown or missing key, a value of another type, or one that the dataclass refuses.
    """
    if not isinstance(document, Mapping):
        raise BadInput(f"{where}: a section of keys and values is expected here, not {document!r}")
    known = {f.name: f for f in fields(kind)}  # pyright: ignore[reportArgumentType]
    unknown = sorted(set(document) - set(known))
    if unknown:
        raise BadInput(f"{where}: unknown {_listed(unknown)}; known here: {', '.join(known)}")
    missing = [n for n, f in known.items() if n not in document and f.default is MISSING and f.default_factory is MISSING]  # fmt: skip
    if missing:
        raise BadInput(f"{where}: {_listed(missing)} missing; say what it is")
    hints = typing.get_type_hints(kind)
    values = {name: _value(hints[name], value, f"{where}: {name}") for name, value in document.items()}
    try:
        return kind(**values)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error


def to_document(value: Any) -> dict[str, Any]:
    """The reverse of :func:`from_document`: nested dicts as JSON gives them back."""
    return _plain(asdict(value))


def changed(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the keys that differ between two documents, one of them missing included."""
    names: list[str] = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            names += changed(old, new, f"{prefix}{key}.")
        elif old != new:
            names.append(f"{prefix}{key}")
    return names


def _value(hint: Any, value: Any, where: str) -> Any:
    """``value`` as ``hint`` wants it."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        return _value(next(part for part in parts if part is not type(None)), value, where)
    if origin is typing.Literal:
        if value not in parts:
            raise BadInput(f"{where} {value!r}: choose one of {', '.join(map(str, parts))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise BadInput(f"{where} {value!r}: a list is expected")
        of = [parts[0]] * len(value) if parts[-1] is Ellipsis else list(parts)
        if len(of) != len(value):
            raise BadInput(f"{where} {value!r}: a list of {len(of)} is expected")
        return tuple(_value(part, item, where) for part, item in zip(of, value))
    if is_dataclass(hint):
        return from_document(typing.cast(type, hint), value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = dict if origin is dict else hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise BadInput(f"{where} {value!r}: {_KINDS.get(wanted, wanted.__name__)} is expected")
    return value


_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a section"}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _listed(names: list[str]) -> str:
    return f"{'key' if len(names) == 1 else 'keys'} {', '.join(names)}"
