"""Every error of the package, in one tree.

Classification is by the backend's code, never by the text of a message.  All errors pickle.  The
extension module looks these classes up by name, so this file imports nothing of the package.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Iterator, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

__all__ = [
    "AuthError",
    "BlockingQueryWarning",
    "CachedStatementInvalid",
    "CheckViolation",
    "CommitUnknown",
    "ConcurrentUse",
    "ConfigurationError",
    "ConnectError",
    "ConnectionClosed",
    "ConnectionLost",
    "DataError",
    "DatabaseError",
    "DeadlockDetected",
    "DiskFull",
    "DoesNotExist",
    "Error",
    "ExclusionViolation",
    "FieldError",
    "ForeignKeyViolation",
    "ForkedError",
    "ImproperlyConfigured",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "InvalidArgument",
    "InvalidKeyword",
    "LockTimeout",
    "Message",
    "MissingArgument",
    "MultipleMatches",
    "MultipleObjectsReturned",
    "NoMatch",
    "NoSuchColumn",
    "NoSuchTable",
    "NotNullViolation",
    "NotSupportedError",
    "OperationalError",
    "PoolClosed",
    "PoolTimeout",
    "ProgrammingError",
    "QueryCanceled",
    "QueryError",
    "QueryTimeout",
    "QueryTooComplex",
    "SerializationFailure",
    "ServerBusy",
    "SyntaxError_",
    "TLSError",
    "TransactionClosed",
    "TransactionRolledBack",
    "UniqueViolation",
    "UnknownArgument",
    "ValidationError",
    "WrongLoop",
]


class Error(Exception):
    """The root.  What is not known of an error is None."""

    backend: str | None = None  # "sqlite", …; None: the error is this package's own
    code: int | None = None  # the backend's own number (SQLite: the extended code)
    sqlstate: str | None = None
    constraint: str | None = None
    table: str | None = None
    column: str | None = None
    is_disconnect: bool = False  # the connection is gone
    is_retryable: bool = False  # running the whole transaction again may succeed
    outcome: str = "none"  # of the statement: "none", "rolled_back", "unknown"
    sql: str | None = None  # the template, never the values
    detail: str | None = None  # the backend's own words


# ---- the caller used the package wrongly --------------------------------------------------------


class InterfaceError(Error):
    """The package was used in a way that cannot work, whatever the database holds."""


class ConfigurationError(InterfaceError, ValueError):
    """A model, URL or option that cannot be right."""


class InvalidArgument(ConfigurationError, TypeError):
    """An argument of a field that it does not have, lacks or cannot use."""


class UnknownArgument(InvalidArgument):
    """An argument that this field does not have."""


class MissingArgument(InvalidArgument, AssertionError):
    """An argument that this field must have."""


class PoolClosed(InterfaceError):
    """The database was closed."""


class ConnectionClosed(InterfaceError):
    """The connection was closed by its user."""


class TransactionClosed(InterfaceError):
    """The transaction has ended."""


class ConcurrentUse(InterfaceError):
    """A task used a transaction that belongs to another task."""


class WrongLoop(InterfaceError):
    """A transaction or stream was carried over to another event loop."""


class ForkedError(InterfaceError):
    """The connection was opened by the parent process."""


# ---- the database said no ----------------------------------------------------------------------


class DatabaseError(Error):
    """The database refused or failed, or would have."""


class DataError(DatabaseError, ValueError):
    """A value that the column cannot hold, or a stored value that is not of its type."""


class IntegrityError(DatabaseError):
    """A constraint was broken."""


class UniqueViolation(IntegrityError):
    """There is a row with this value already."""


class ForeignKeyViolation(IntegrityError):
    """A key without its row, or a row that others refer to."""


class NotNullViolation(IntegrityError):
    """NULL where the column has none."""


class CheckViolation(IntegrityError):
    """A check constraint was broken."""


class ExclusionViolation(IntegrityError):
    """An exclusion constraint was broken."""


class OperationalError(DatabaseError):
    """Nothing wrong with the statement: the file, the server or the moment was."""


class ConnectError(OperationalError, ConnectionError):
    """The database could not be opened."""


class AuthError(ConnectError):
    """The server refused the credentials."""


class TLSError(ConnectError):
    """The encrypted connection could not be made."""


class ConnectionLost(OperationalError, ConnectionError):
    """The connection broke."""


class PoolTimeout(OperationalError, TimeoutError):
    """No connection, or not the writer, became free in time."""


class QueryTimeout(OperationalError, TimeoutError):
    """The statement did not end in time; it was stopped."""


class LockTimeout(OperationalError):
    """Somebody else held a lock for too long.  Retryable."""


class DeadlockDetected(OperationalError):
    """Two transactions waited for each other.  Retryable."""


class SerializationFailure(OperationalError):
    """The transaction cannot be put in order with the others.  Retryable."""


class DiskFull(OperationalError):
    """No space left for the database."""


class ServerBusy(OperationalError):
    """The server takes no more work now.  Retryable."""


class QueryCanceled(OperationalError):
    """The statement was cancelled."""


class TransactionRolledBack(OperationalError):
    """The database has ended the transaction; nothing of it is stored."""


class CommitUnknown(OperationalError):
    """The connection broke during COMMIT: it may or may not have taken effect."""


class ProgrammingError(DatabaseError):
    """A statement that is wrong."""


class NoSuchTable(ProgrammingError):
    """The database has no such table."""


class NoSuchColumn(ProgrammingError):
    """The table has no such column."""


class SyntaxError_(ProgrammingError):
    """The database could not parse the SQL."""


class QueryTooComplex(ProgrammingError):
    """More parameters, joins or depth than the database takes."""


class CachedStatementInvalid(ProgrammingError):
    """The table changed under a prepared statement inside a transaction.  Retryable."""


class InternalError(DatabaseError):
    """A corrupt file, or an answer that breaks the protocol."""


class NotSupportedError(DatabaseError):
    """This backend cannot do it."""


# ---- the question was wrong, or had another answer ---------------------------------------------


class QueryError(Error):
    """A query that cannot be asked, or was not answered as its form expects."""


class NoMatch(QueryError):
    """`get` found no row; `load`, `refresh` or `save` found that it is gone."""


class MultipleMatches(QueryError):
    """`get` found more than one row."""


class FieldError(QueryError):
    """A name that is no field, relation or lookup."""


if TYPE_CHECKING:

    class Message(NamedTuple):
        text: str
        code: str
        index: list[int | str]

else:
    Message = namedtuple("Message", "text code index")
    Message.__doc__ = "One broken rule: its text, the rule's name and the path to the value."


# The rules' texts, by their beginning.  They are this package's own.
_CODES = (
    ("This field is required", "required"),
    ("May not be null", "null"),
    ("Must not be blank", "blank"),
    ("Must have at least", "min_length"),
    ("Must have no more than", "max_length"),
    ("Must match the pattern", "pattern"),
    ("Must be a valid", "format"),
    ("Must be a real", "invalid"),
    ("Must be greater than or equal", "minimum"),
    ("Must be greater than", "exclusive_minimum"),
    ("Must be less than or equal", "maximum"),
    ("Must be less than", "exclusive_maximum"),
    ("Must be a multiple", "multiple_of"),
    ("Must be finite", "finite"),
    ("Must be an integer", "integer"),
    ("Must be one of", "choice"),
    ("Must be a", "type"),
    ("Invalid property name", "invalid_property"),
)


def _code(text: str) -> str:
    return next((code for start, code in _CODES if text.startswith(start)), "custom")


def _typesystem_too(cls: type[Any]) -> type[Any]:
    """The class that is typesystem's ValidationError as well, once somebody imports that."""
    module = sys.modules.get("typesystem")
    if module is None or issubclass(cls, module.ValidationError):
        return cls
    both = vars(cls).get("_with_typesystem")
    if both is None:
        names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "_plain": cls}
        both = type(cls)(cls.__name__, (cls, module.ValidationError), names)
        cls._with_typesystem = both
    return both


class ValidationError(Mapping[str, str], QueryError, ValueError):
    """Values that break the rules of their fields: a mapping of field name to message.

    Where typesystem is loaded it is a `typesystem.ValidationError` as well.
    """

    _plain: type[Any] | None = None  # of the class that is typesystem's as well: the one without

    def __new__(cls, *args: Any, **options: Any) -> ValidationError:
        return ValueError.__new__(_typesystem_too(cls), *args)

    def __init__(self, messages: Mapping[str, str] | str = "") -> None:
        Exception.__init__(self, messages)
        self._messages = {"": messages} if isinstance(messages, str) else dict(messages)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._plain or type(self), (self._messages,), {**self.__dict__}

    def messages(self, *, add_prefix: str | int | None = None) -> list[Message]:
        """One `Message` per field; `add_prefix` goes before the path of each."""
        module = sys.modules.get("typesystem")
        make = Message if module is None else module.Message
        path = [] if add_prefix is None else [add_prefix]
        return [
            make(text=text, code=_code(text), index=[*path, name] if name else path)
            for name, text in self._messages.items()
        ]

    def __getitem__(self, name: str) -> str:
        return self._messages[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ValidationError) and self._messages == other._messages

    def __hash__(self) -> int:
        return hash(tuple(self._messages.items()))

    def __str__(self) -> str:
        return str(self._messages.get("", self._messages))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._messages!r})"


class InvalidKeyword(ValidationError, TypeError):
    """A keyword that is no field, or in a constructor one whose value the field refuses.

    `text`, when given, is the whole sentence; it is what `str` shows.
    """

    def __init__(self, messages: Mapping[str, str] | str = "", text: str | None = None) -> None:
        super().__init__(messages)
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return self._plain or type(self), (self._messages, self.text), {**self.__dict__}

    def __str__(self) -> str:
        return super().__str__() if self.text is None else self.text


class BlockingQueryWarning(RuntimeWarning):
    """A query was asked without `await` on the thread of a running event loop."""


DoesNotExist = NoMatch
MultipleObjectsReturned = MultipleMatches
ImproperlyConfigured = ConfigurationError
