from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

import sqlalchemy
from typing_extensions import Self

from ._core import Instance, ModelType, Operation, QuerySet
from .constraints import Constraint
from .exceptions import MultipleMatches, NoMatch
from .fields import Field
from .registry import ModelRegistry
from .validation import ModelValidator

__all__ = [
    "FILTER_OPERATORS",
    "Model",
    "ModelMeta",
    "ModelMetaclass",
    "QuerySet",
    "asdict",
    "refresh",
    "save",
]

_M = TypeVar("_M", bound=Model)

FILTER_OPERATORS: dict[str, str]

class ModelMeta(ModelType):
    # Of models in a registry; here, so that a field may have one of these names.
    registry: ModelRegistry
    tablename: str
    pkname: str | None
    database: Any
    @property
    def table(cls) -> sqlalchemy.Table: ...
    @property
    def columns(cls) -> Any: ...
    def build_table(cls) -> sqlalchemy.Table: ...

ModelMetaclass = ModelMeta

class Unbound:
    queryset: type[QuerySet[Any]]
    keywords: dict[str, Any]
    def __init__(self, queryset: type[QuerySet[Any]], keywords: dict[str, Any]) -> None: ...
    def __call__(self, model: type[_M]) -> QuerySet[_M]: ...
    def __get__(self, instance: object, owner: type[_M]) -> QuerySet[_M]: ...

class _Objects:
    def __get__(self, instance: object, owner: type[_M]) -> QuerySet[_M]: ...

class Model(Instance, metaclass=ModelMeta):
    __abstract__: ClassVar[bool]
    __tablename__: ClassVar[str]
    __metadata__: ClassVar[Any]
    __database__: ClassVar[Any]
    __table_args__: ClassVar[Constraint | Iterable[Constraint]]
    __table_comment__: ClassVar[str | None]
    __table__: ClassVar[sqlalchemy.Table]
    __pkname__: ClassVar[str | None]
    fields: ClassVar[dict[str, Field[Any]]]
    objects: ClassVar[_Objects]  # pyright: ignore[reportIncompatibleMethodOverride]
    DoesNotExist: ClassVar[type[NoMatch]]
    MultipleObjectsReturned: ClassVar[type[MultipleMatches]]
    @classmethod
    def from_row(cls, row: Any, select_related: Iterable[str] = ()) -> Self: ...
    @classmethod
    def _from_row(cls, row: Any, select_related: Iterable[str] = ()) -> Self: ...
    @classmethod
    def make_validator(cls, *, strict: bool = False) -> ModelValidator: ...
    @classmethod
    def validate(cls, value: Mapping[str, Any], *, strict: bool = False) -> Self: ...
    @classmethod
    def validate_or_error(cls, value: Mapping[str, Any], *, strict: bool = False) -> Any: ...

def asdict(instance: Model) -> dict[str, Any]: ...
def save(instance: _M) -> Operation[_M]: ...
def refresh(instance: _M) -> Operation[_M]: ...
