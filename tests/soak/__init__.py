"""Long forms of tests: each runs for as long as it is told and adds a line to tests/ledger.jsonl.

The short forms, in tests/py and in CI, use the same functions.
"""
