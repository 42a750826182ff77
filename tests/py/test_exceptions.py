"""The tree of errors: its shape, what each is besides, and that all of them pickle."""

import copy
import pickle
from collections.abc import Mapping

import pytest

import orm
from orm import exceptions

CLASSES = [
    cls
    for cls in vars(exceptions).values()
    if isinstance(cls, type) and issubclass(cls, (exceptions.Error, Warning))
]

PARENTS = {
    "InterfaceError": ["Error"],
    "ConfigurationError": ["InterfaceError", "ValueError"],
    "PoolClosed": ["InterfaceError"],
    "ConnectionClosed": ["InterfaceError"],
    "TransactionClosed": ["InterfaceError"],
    "ConcurrentUse": ["InterfaceError"],
    "WrongLoop": ["InterfaceError"],
    "ForkedError": ["InterfaceError"],
    "DatabaseError": ["Error"],
    "DataError": ["DatabaseError", "ValueError"],
    "IntegrityError": ["DatabaseError"],
    "UniqueViolation": ["IntegrityError"],
    "ForeignKeyViolation": ["IntegrityError"],
    "NotNullViolation": ["IntegrityError"],
    "CheckViolation": ["IntegrityError"],
    "ExclusionViolation": ["IntegrityError"],
    "OperationalError": ["DatabaseError"],
    "ConnectError": ["OperationalError", "ConnectionError"],
    "AuthError": ["ConnectError"],
    "TLSError": ["ConnectError"],
    "ConnectionLost": ["OperationalError", "ConnectionError"],
    "PoolTimeout": ["OperationalError", "TimeoutError"],
    "QueryTimeout": ["OperationalError", "TimeoutError"],
    "LockTimeout": ["OperationalError"],
    "DeadlockDetected": ["OperationalError"],
    "SerializationFailure": ["OperationalError"],
    "DiskFull": ["OperationalError"],
    "ServerBusy": ["OperationalError"],
    "QueryCanceled": ["OperationalError"],
    "TransactionRolledBack": ["OperationalError"],
    "CommitUnknown": ["OperationalError"],
    "ProgrammingError": ["DatabaseError"],
    "NoSuchTable": ["ProgrammingError"],
    "NoSuchColumn": ["ProgrammingError"],
    "SyntaxError_": ["ProgrammingError"],
    "QueryTooComplex": ["ProgrammingError"],
    "CachedStatementInvalid": ["ProgrammingError"],
    "InternalError": ["DatabaseError"],
    "NotSupportedError": ["DatabaseError"],
    "QueryError": ["Error"],
    "NoMatch": ["QueryError"],
    "MultipleMatches": ["QueryError"],
    "FieldError": ["QueryError"],
    "ValidationError": ["QueryError", "ValueError"],
}


def example(cls):
    if issubclass(cls, exceptions.ValidationError):
        return cls({"name": "This field is required."})
    return cls("what happened")


@pytest.mark.parametrize("name", PARENTS)
def test_the_tree(name):
    cls = getattr(orm, name)
    assert [base.__name__ for base in cls.__bases__ if base is not Mapping] == PARENTS[name]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_exported(cls):
    assert getattr(orm, cls.__name__) is cls
    assert cls.__doc__


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_pickles_and_copies_with_its_attributes(cls):
    error = example(cls)
    error.code, error.table, error.is_retryable = 2067, "track", True
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert (twin.code, twin.table, twin.is_retryable) == (2067, "track", True)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, exceptions.Error)])
def test_what_is_not_known_is_none(cls):
    error = example(cls)
    unknown = ("backend", "code", "sqlstate", "constraint", "table", "column", "sql", "detail")
    assert [getattr(error, name) for name in unknown] == [None] * len(unknown)
    assert (error.is_disconnect, error.is_retryable, error.outcome) == (False, False, "none")


def test_aliases():
    assert orm.DoesNotExist is orm.NoMatch
    assert orm.MultipleObjectsReturned is orm.MultipleMatches
    assert orm.ImproperlyConfigured is orm.ConfigurationError
    assert orm.Model.DoesNotExist is orm.NoMatch
    assert orm.Model.MultipleObjectsReturned is orm.MultipleMatches


def test_no_match_is_raised_without_arguments_too():
    assert str(orm.NoMatch()) == ""


def test_a_validation_error_is_a_mapping():
    error = orm.ValidationError({"name": "This field is required.", "age": "May not be null."})
    assert dict(error) == {"name": "This field is required.", "age": "May not be null."}
    assert error["age"] == "May not be null."
    assert "name" in error
    assert "nope" not in error
    assert len(error) == 2
    assert str(error) == str(dict(error))
    assert repr(error) == f"ValidationError({dict(error)!r})"


def test_a_validation_error_lists_its_messages():
    error = orm.ValidationError({"name": "Must have no more than 5 characters."})
    (message,) = error.messages()
    assert message.text == "Must have no more than 5 characters."
    assert message.code == "max_length"
    assert message.index == ["name"]


def test_a_validation_error_is_hashable_and_always_true():
    error = orm.ValidationError({})
    assert error
    assert hash(error) == hash(orm.ValidationError({}))
    assert orm.ValidationError({"a": "b"}) == orm.ValidationError({"a": "b"})
    assert orm.ValidationError({"a": "b"}) != orm.ValidationError({"a": "c"})


def test_an_unknown_keyword_is_a_type_error_too():
    error = orm.InvalidKeyword({"nope": "Invalid property name."}, "'nope' is no field of Album")
    assert isinstance(error, TypeError)
    assert isinstance(error, ValueError)
    assert isinstance(error, orm.ValidationError)
    assert str(error) == "'nope' is no field of Album"
    assert dict(error) == {"nope": "Invalid property name."}
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), dict(twin)) == (str(error), dict(error))
