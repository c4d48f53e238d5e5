"""One record of a journal as one line of JSON that proves itself; see docs/project-format.md."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Record = dict[str, Any]

_CHECK_DIGITS = 16
_BEFORE_CHECK = b',"check":"'
_AFTER_CHECK = b'"}'
_END = len(_BEFORE_CHECK) + _CHECK_DIGITS + len(_AFTER_CHECK)


def encode(fields: Mapping[str, Any], prev: str) -> tuple[bytes, str]:
    """Return a record as a line that ends in a line break, and its check.

    Parameters
    ----------
    fields : dict
        Of JSON values.
    prev : str
        Check of the record before.
    """
    text = json.dumps({**fields, "prev": prev}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Half of a surrogate pair, as a text field can hold, becomes the JSON escape for it.
    body = text[:-1].encode("utf-8", "backslashreplace")
    check = _check_of(body)
    return body + _BEFORE_CHECK + check.encode() + _AFTER_CHECK + b"\n", check


def decode(line: bytes) -> Record | None:
    """Return the record of a line without its line break; None if the line does not prove itself."""
    body, end = line[:-_END], line[-_END:]
    if not (end.startswith(_BEFORE_CHECK) and end.endswith(_AFTER_CHECK)):
        return None
    if end[len(_BEFORE_CHECK) : -len(_AFTER_CHECK)] != _check_of(body).encode():
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and {"n", "verb", "prev"} <= record.keys() else None


def utc_now() -> str:
    """Return the time as records say it: UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _check_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:_CHECK_DIGITS]
