"""A transaction as a decorator, which the extension module asks for, and doing one again."""

from __future__ import annotations

import functools

from .exceptions import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, ParamSpec, TypeVar

    from ._core import Transaction

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["decorate", "retry"]


def decorate(
    transaction: Transaction, function: Callable[P, Coroutine[Any, Any, T]]
) -> Callable[P, Coroutine[Any, Any, T]]:
    """`function`, each call of it inside of a transaction of its own."""
    import inspect

    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"a transaction decorates a coroutine function, not {function!r}")

    @functools.wraps(function)
    async def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        async with transaction.again():
            return await function(*args, **kwargs)

    return inside


def retry(
    attempts: int = 5, *, wait: float = 0.01
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Runs a coroutine function again, from its beginning, when its transaction lost to another.

        @orm.retry()
        @database.transaction(isolation="serializable")
        async def move(amount: int) -> None: ...

    It is run at most `attempts` times: after errors that are `is_retryable` (serialization
    failures, deadlocks, connections that were lost) and whose outcome is not unknown.  Between
    them it waits `wait` seconds, twice as long each time, less up to a half at random.  A COMMIT
    whose answer was lost is never tried again: `CommitUnknown` is raised.  All that the
    function does has to stand in its transaction, and no transaction around it.
    """
    import asyncio
    import inspect
    import random

    if attempts < 1:
        raise ValueError(f"attempts is {attempts}: expected at least 1")

    def decorate_with(
        function: Callable[P, Coroutine[Any, Any, T]],
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"retry() decorates a coroutine function, not {function!r}")

        @functools.wraps(function)
        async def again(*args: P.args, **kwargs: P.kwargs) -> T:
            for attempt in range(attempts - 1):
                try:
                    return await function(*args, **kwargs)
                except Error as error:
                    if not error.is_retryable or error.outcome == "unknown":
                        raise
                await asyncio.sleep(wait * 2**attempt * random.uniform(0.5, 1))
            return await function(*args, **kwargs)

        return again

    return decorate_with
