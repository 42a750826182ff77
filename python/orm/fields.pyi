import builtins
import datetime
import decimal
import enum as _enum
import ipaddress
import re
import uuid
from collections.abc import Callable, Iterable
from typing import (
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    TypeAlias,
    TypedDict,
    TypeVar,
    overload,
)

from typing_extensions import Self, Unpack

from ._core import ModelType
from .models import Model

__all__ = [
    "AutoNowMixin",
    "CASCADE",
    "NO_ACTION",
    "NO_DEFAULT",
    "RESTRICT",
    "SET_DEFAULT",
    "SET_NULL",
    "Array",
    "BigInteger",
    "Binary",
    "Boolean",
    "Date",
    "DateTime",
    "Decimal",
    "Email",
    "Enum",
    "Field",
    "Float",
    "ForeignKey",
    "IPAddress",
    "Integer",
    "Interval",
    "JSON",
    "ModelField",
    "OneToOne",
    "SmallInteger",
    "String",
    "Text",
    "Time",
    "URL",
    "UUID",
]

CASCADE: Final = "CASCADE"
RESTRICT: Final = "RESTRICT"
SET_NULL: Final = "SET NULL"
SET_DEFAULT: Final = "SET DEFAULT"
NO_ACTION: Final = "NO ACTION"

class _NoDefault: ...

NO_DEFAULT: Final[_NoDefault]

_T = TypeVar("_T")
_M = TypeVar("_M", bound=Model)
_V = TypeVar("_V")
_E = TypeVar("_E", bound=_enum.Enum)

_Number: TypeAlias = int | float | decimal.Decimal
_Action: TypeAlias = Literal["CASCADE", "RESTRICT", "SET NULL", "SET DEFAULT", "NO ACTION"]
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Key: TypeAlias = int | str | bytes | uuid.UUID

class _Options(TypedDict, total=False):
    primary_key: bool
    unique: bool
    index: bool
    default: Any
    column: str | None
    comment: str | None
    read_only: bool
    title: str
    description: str

class _TextOptions(_Options, total=False):
    min_length: int | None
    pattern: str | re.Pattern[str] | None
    allow_blank: bool
    trim_whitespace: bool
    choices: Iterable[str] | None
    format: str | None
    coerce_types: bool

class _NumberOptions(_Options, total=False):
    minimum: _Number | None
    maximum: _Number | None
    exclusive_minimum: _Number | None
    exclusive_maximum: _Number | None
    multiple_of: _Number | None
    precision: str | None
    choices: Iterable[_Number] | None
    coerce_types: bool

class _BooleanOptions(_Options, total=False):
    coerce_types: bool

class _ClockOptions(_Options, total=False):
    auto_now: bool
    auto_now_add: bool

class _BinaryOptions(_Options, total=False):
    max_length: int | None
    min_length: int | None

class _KeyOptions(_Options, total=False):
    on_update: _Action | None
    related_name: str | None

class Field(Generic[_T]):
    arguments: ClassVar[dict[str, Any]]
    name: str | None
    primary_key: bool
    allow_null: bool
    unique: bool
    index: bool
    default: Any
    column: str | None
    comment: str | None
    read_only: bool
    title: str
    description: str
    max_length: int | None
    min_length: int | None
    pattern: re.Pattern[str] | None
    pattern_text: str | None
    choices: tuple[Any, ...] | None
    allow_blank: bool
    trim_whitespace: bool
    format: str | None
    coerce_types: bool
    minimum: _Number | None
    maximum: _Number | None
    exclusive_minimum: _Number | None
    exclusive_maximum: _Number | None
    multiple_of: _Number | None
    precision: str | None
    max_digits: int | None
    decimal_places: int | None
    auto_now: bool
    auto_now_add: bool
    timezone: bool
    enum: builtins.type[_enum.Enum] | None
    item: Field[Any] | None
    target: ModelType | str | None
    on_delete: _Action | None
    on_update: _Action | None
    related_name: str | None
    converter: Callable[[Any], Any] | None
    checker: Callable[[Any], Any] | None
    encoder: Callable[[Any], Any] | None
    decoder: Callable[[Any], Any] | None
    sql_type: str | None

    def __init__(self, **options: Any) -> None: ...
    def check(self) -> None: ...
    def has_default(self) -> bool: ...
    def get_default_value(self) -> Any: ...
    @property
    def validator(self) -> Any: ...
    def get_validator(self, **options: Any) -> Any: ...
    def validate(self, value: Any, **options: Any) -> Any: ...
    def validate_or_error(self, value: Any, **options: Any) -> Any: ...
    def get_column_type(self) -> Any: ...
    def get_constraints(self) -> list[Any]: ...
    def get_column(self, name: str) -> Any: ...
    def expand_relationship(self, value: Any) -> Any: ...
    @overload
    def __get__(self, instance: None, owner: builtins.type[Any]) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: builtins.type[Any] | None = None) -> _T: ...
    def __set__(self, instance: object, value: _T) -> None: ...
    # An ORM_TYPE_… number
    type: int

ModelField = Field

def is_custom(field: Field[Any]) -> bool: ...

class Text(Field[_T]):
    @overload
    def __init__(
        self: Text[str],
        *,
        max_length: int | None = None,
        allow_null: Literal[False] = False,
        **options: Unpack[_TextOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Text[str | None],
        *,
        max_length: int | None = None,
        allow_null: Literal[True],
        **options: Unpack[_TextOptions],
    ) -> None: ...

class String(Text[_T]):
    @overload
    def __init__(
        self: String[str],
        *,
        max_length: int | None,
        allow_null: Literal[False] = False,
        **options: Unpack[_TextOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: String[str | None],
        *,
        max_length: int | None,
        allow_null: Literal[True],
        **options: Unpack[_TextOptions],
    ) -> None: ...

class Email(String[_T]):
    @overload
    def __init__(
        self: Email[str],
        *,
        max_length: int | None,
        allow_null: Literal[False] = False,
        **options: Unpack[_TextOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Email[str | None],
        *,
        max_length: int | None,
        allow_null: Literal[True],
        **options: Unpack[_TextOptions],
    ) -> None: ...

class URL(String[_T]):
    @overload
    def __init__(
        self: URL[str],
        *,
        max_length: int | None,
        allow_null: Literal[False] = False,
        **options: Unpack[_TextOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: URL[str | None],
        *,
        max_length: int | None,
        allow_null: Literal[True],
        **options: Unpack[_TextOptions],
    ) -> None: ...

class IPAddress(Field[_T]):
    @overload
    def __init__(
        self: IPAddress[_Address],
        *,
        allow_null: Literal[False] = False,
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: IPAddress[_Address | None], *, allow_null: Literal[True], **options: Unpack[_Options]
    ) -> None: ...

class Integer(Field[_T]):
    @overload
    def __init__(
        self: Integer[int], *, allow_null: Literal[False] = False, **options: Unpack[_NumberOptions]
    ) -> None: ...
    @overload
    def __init__(
        self: Integer[int | None], *, allow_null: Literal[True], **options: Unpack[_NumberOptions]
    ) -> None: ...

class BigInteger(Field[_T]):
    @overload
    def __init__(
        self: BigInteger[int],
        *,
        allow_null: Literal[False] = False,
        **options: Unpack[_NumberOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: BigInteger[int | None],
        *,
        allow_null: Literal[True],
        **options: Unpack[_NumberOptions],
    ) -> None: ...

class SmallInteger(Field[_T]):
    @overload
    def __init__(
        self: SmallInteger[int],
        *,
        allow_null: Literal[False] = False,
        **options: Unpack[_NumberOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: SmallInteger[int | None],
        *,
        allow_null: Literal[True],
        **options: Unpack[_NumberOptions],
    ) -> None: ...

class Float(Field[_T]):
    @overload
    def __init__(
        self: Float[float], *, allow_null: Literal[False] = False, **options: Unpack[_NumberOptions]
    ) -> None: ...
    @overload
    def __init__(
        self: Float[float | None], *, allow_null: Literal[True], **options: Unpack[_NumberOptions]
    ) -> None: ...

class Boolean(Field[_T]):
    @overload
    def __init__(
        self: Boolean[bool],
        *,
        allow_null: Literal[False] = False,
        **options: Unpack[_BooleanOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Boolean[bool | None], *, allow_null: Literal[True], **options: Unpack[_BooleanOptions]
    ) -> None: ...

class AutoNowMixin(Field[_T]): ...

class Date(AutoNowMixin[_T]):
    @overload
    def __init__(
        self: Date[datetime.date],
        *,
        allow_null: Literal[False] = False,
        **options: Unpack[_ClockOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Date[datetime.date | None],
        *,
        allow_null: Literal[True],
        **options: Unpack[_ClockOptions],
    ) -> None: ...

class DateTime(AutoNowMixin[_T]):
    @overload
    def __init__(
        self: DateTime[datetime.datetime],
        *,
        timezone: bool = False,
        allow_null: Literal[False] = False,
        **options: Unpack[_ClockOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: DateTime[datetime.datetime | None],
        *,
        timezone: bool = False,
        allow_null: Literal[True],
        **options: Unpack[_ClockOptions],
    ) -> None: ...

class Time(Field[_T]):
    @overload
    def __init__(
        self: Time[datetime.time],
        *,
        allow_null: Literal[False] = False,
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Time[datetime.time | None], *, allow_null: Literal[True], **options: Unpack[_Options]
    ) -> None: ...

class Interval(Field[_T]):
    @overload
    def __init__(
        self: Interval[datetime.timedelta],
        *,
        allow_null: Literal[False] = False,
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Interval[datetime.timedelta | None],
        *,
        allow_null: Literal[True],
        **options: Unpack[_Options],
    ) -> None: ...

class Binary(Field[_T]):
    @overload
    def __init__(
        self: Binary[bytes],
        *,
        allow_null: Literal[False] = False,
        **options: Unpack[_BinaryOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Binary[bytes | None], *, allow_null: Literal[True], **options: Unpack[_BinaryOptions]
    ) -> None: ...

class UUID(Field[_T]):
    @overload
    def __init__(
        self: UUID[uuid.UUID], *, allow_null: Literal[False] = False, **options: Unpack[_Options]
    ) -> None: ...
    @overload
    def __init__(
        self: UUID[uuid.UUID | None], *, allow_null: Literal[True], **options: Unpack[_Options]
    ) -> None: ...

class JSON(Field[Any]):
    def __init__(self, *, allow_null: bool = False, **options: Unpack[_Options]) -> None: ...

class Decimal(Field[_T]):
    @overload
    def __init__(
        self: Decimal[decimal.Decimal],
        max_digits: int,
        decimal_places: int,
        *,
        allow_null: Literal[False] = False,
        **options: Unpack[_NumberOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Decimal[decimal.Decimal | None],
        max_digits: int,
        decimal_places: int,
        *,
        allow_null: Literal[True],
        **options: Unpack[_NumberOptions],
    ) -> None: ...

class Enum(Field[_T]):
    @overload
    def __init__(
        self: Enum[_E],
        enum: type[_E],
        *,
        allow_null: Literal[False] = False,
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Enum[_E | None],
        enum: type[_E],
        *,
        allow_null: Literal[True],
        **options: Unpack[_Options],
    ) -> None: ...

class Array(Field[_T]):
    @overload
    def __init__(
        self: Array[list[_V]],
        item: Field[_V],
        *,
        allow_null: Literal[False] = False,
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Array[list[_V] | None],
        item: Field[_V],
        *,
        allow_null: Literal[True],
        **options: Unpack[_Options],
    ) -> None: ...

class ForeignKey(Field[_T]):
    @property
    def to(self) -> ModelType | str: ...
    @overload
    def __init__(
        self: ForeignKey[_M],
        to: type[_M],
        allow_null: Literal[False] = False,
        on_delete: _Action | None = None,
        **options: Unpack[_KeyOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: ForeignKey[_M | None],
        to: type[_M],
        allow_null: Literal[True],
        on_delete: _Action | None = None,
        **options: Unpack[_KeyOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: ForeignKey[Any],
        to: str,
        allow_null: bool = False,
        on_delete: _Action | None = None,
        **options: Unpack[_KeyOptions],
    ) -> None: ...
    @overload  # type: ignore[override]
    def __get__(self: ForeignKey[_M | None], instance: None, owner: type[Any]) -> type[_M]: ...
    @overload
    def __get__(self: ForeignKey[_M], instance: None, owner: type[Any]) -> type[_M]: ...
    @overload
    def __get__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, instance: object, owner: type[Any] | None = None
    ) -> _T: ...
    def __set__(self, instance: object, value: _T | _Key) -> None: ...

class OneToOne(ForeignKey[_T]):
    @overload
    def __init__(
        self: OneToOne[_M],
        to: type[_M],
        allow_null: Literal[False] = False,
        on_delete: _Action | None = None,
        **options: Unpack[_KeyOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: OneToOne[_M | None],
        to: type[_M],
        allow_null: Literal[True],
        on_delete: _Action | None = None,
        **options: Unpack[_KeyOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: OneToOne[Any],
        to: str,
        allow_null: bool = False,
        on_delete: _Action | None = None,
        **options: Unpack[_KeyOptions],
    ) -> None: ...
