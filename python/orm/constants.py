"""encode/orm's names for what becomes of rows that refer to a deleted one."""

from __future__ import annotations

from .fields import CASCADE, NO_ACTION, RESTRICT, SET_DEFAULT, SET_NULL

__all__ = ["CASCADE", "NO_ACTION", "RESTRICT", "SET_DEFAULT", "SET_NULL"]
