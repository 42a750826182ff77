"""encode/orm's module of column types; importing it imports SQLAlchemy."""

from __future__ import annotations

from .alchemy import GUID, ExactDecimal, GenericIP, Microseconds

__all__ = ["GUID", "ExactDecimal", "GenericIP", "Microseconds"]
