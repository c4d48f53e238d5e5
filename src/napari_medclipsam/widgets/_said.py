"""Refusals become sentences in the dock, never exceptions in the viewer."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from napari_medclipsam.errors import MedclipsamError

P = ParamSpec("P")


class Speaking(Protocol):
    """Whatever can say a sentence to the user."""

    said: Any


S = TypeVar("S", bound=Speaking)


def said_on_error(verb: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Say what a method refuses, instead of raising it: the viewer and the work stay as they are."""

    @wraps(verb)
    def wrapped(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            verb(self, *args, **kwargs)
        except MedclipsamError as error:
            self.said.emit(str(error))

    return wrapped
