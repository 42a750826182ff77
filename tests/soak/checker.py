"""Whether a history of transactions could have happened at the isolation level that was declared.

    findings = list(check(history, final, "snapshot"))

Keys hold lists; a transaction appends values that nobody else appends, and reads whole lists.  What
is read thereby tells the order in which all that is in it was written, and from that the checker
knows who saw what of whom: the method of Elle (Kingsbury and Alvaro, 2020).

    ww   B appended right behind A          wr   B read what A appended
    rw   A read a list to which B was the next to append

Forbidden at every level: an acknowledged append that is gone, a refused one that is there, half of
a transaction, one value twice, lists that are not each other's beginnings, a read of what was never
committed or of the middle of a transaction, a transaction that does not see its own appends, a read
that began after an acknowledgement and does not see what was acknowledged, and a circle of ww and
wr.  Beyond these:

    snapshot       two reads of one list differ; a circle in which no two rw follow each other
    serializable   two reads differ; any circle

What became of a transaction may be unknown: then it may have happened or not, but not by halves.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

LEVELS = ("read committed", "snapshot", "serializable")
Edges = dict[str, set[str]]  # by whom they come from


@dataclass
class Operation:
    do: str  # "append" or "read"
    key: int
    values: tuple[str, ...]  # the one that is appended, all that were read


@dataclass
class Transaction:
    """`operations` in their order; of one that did not end well, its appends at least."""

    name: str
    begun: float
    ended: float = math.inf
    said: str = "unknown"  # "acknowledged", "refused"
    operations: list[Operation] = field(default_factory=list)

    def appends(self) -> Iterator[Operation]:
        return (each for each in self.operations if each.do == "append")


class History:
    """What the transactions say, beside the lists as they are in the end."""

    def __init__(self, transactions: Iterable[Transaction], final: dict[int, list[str]]) -> None:
        self.all = list(transactions)
        self.final = final
        self.writer = {
            each.values[0]: one for one in self.all for each in one.appends() if each.values
        }
        self.place = {
            value: (key, n) for key, values in final.items() for n, value in enumerate(values)
        }
        self.read = [one for one in self.all if one.said == "acknowledged"]

    # ---- what is stored

    def check_final(self) -> Iterator[str]:
        for key, values in self.final.items():
            for value, times in Counter(values).items():
                if times > 1:
                    yield f"{value} is {times} times in list {key}"
                if value not in self.writer:
                    yield f"{value} in list {key} was never written"
        for one in self.all:
            there = {self.place.get(each.values[0], (None, 0))[0] for each in one.appends()}
            lost = any(
                self.place.get(each.values[0], (None, 0))[0] != each.key for each in one.appends()
            )
            if one.said == "acknowledged" and lost:
                yield f"an acknowledged append of {one.name} is lost"
            elif one.said == "refused" and there - {None}:
                yield f"an append of {one.name} is there, which was refused"
            elif None in there and len(there) > 1:
                yield f"half of {one.name} is there"

    # ---- what was read

    def check_reads(self, level: str) -> Iterator[str]:
        for one in self.read:
            own: dict[int, list[str]] = defaultdict(list)
            seen: dict[int, tuple[str, ...]] = {}
            for each in one.operations:
                if each.do == "append":
                    own[each.key].append(each.values[0])
                    continue
                mine = own[each.key]
                yield from self.check_read(one, each, mine)
                others = each.values[: len(each.values) - len(mine)]
                before = seen.setdefault(each.key, others)
                if others[: len(before)] != before or (
                    level != "read committed" and others != before
                ):
                    yield f"{one.name} read list {each.key} twice and it had changed"
                seen[each.key] = others

    def check_read(self, one: Transaction, read: Operation, mine: list[str]) -> Iterator[str]:
        values, final = list(read.values), self.final.get(read.key, [])
        where = f"{one.name} read list {read.key}"
        if mine and values[-len(mine) :] != mine:
            yield f"{where} without its own appends"
        if values != final[: len(values)]:
            odd = [value for value in values if value not in final]
            yield f"{where} in an order that it never had, or what was not committed: {odd[:3]}"
            return
        if len(values) < len(final) and values and not mine:
            last, following = self.writer.get(values[-1]), self.writer.get(final[len(values)])
            if last is following and last is not one:
                yield f"{where} in the middle of {last.name if last else '?'}"

    def check_age(self) -> Iterator[str]:
        """Reads that miss what was acknowledged before their transaction began."""
        known = {
            key: [
                writer.ended if writer and writer.said == "acknowledged" else math.inf
                for writer in map(self.writer.get, values)
            ]
            for key, values in self.final.items()
        }
        for one in self.read:
            for each in one.operations:
                missed = known.get(each.key, [])[len(each.values) :]
                if each.do == "read" and missed and min(missed) < one.begun:
                    yield f"{one.name} read list {each.key} as it was before it began"

    # ---- who saw what of whom

    def edges(self) -> tuple[Edges, Edges]:
        """ww and wr, and rw."""
        depends: Edges = defaultdict(set)
        precedes: Edges = defaultdict(set)
        writers = {
            key: [self.writer[value].name for value in values if value in self.writer]
            for key, values in self.final.items()
        }
        for names in writers.values():
            for first, second in zip(names, names[1:], strict=False):
                depends[first].add(second)
        for one in self.read:
            for each in one.operations:
                names, size = writers.get(each.key, []), len(each.values)
                if each.do != "read" or size > len(names):
                    continue
                while size and names[size - 1] == one.name:
                    size -= 1
                if size:
                    depends[names[size - 1]].add(one.name)
                if size < len(names):
                    precedes[one.name].add(names[size])
        return strip(depends), strip(precedes)

    def check_circles(self, level: str) -> Iterator[str]:
        depends, precedes = self.edges()
        graph: Edges = {name: set(others) for name, others in depends.items()}
        if level == "serializable":
            for name, others in precedes.items():
                graph.setdefault(name, set()).update(others)
        elif level == "snapshot":  # one ww or wr, and behind it one rw or none
            for name, others in depends.items():
                for other in others:
                    graph[name] |= precedes.get(other, set())
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            yield f"a circle that {level} forbids: {' '.join(error.args[1][:8])}"


def strip(edges: Edges) -> Edges:
    """Without those from one to itself."""
    return {name: others - {name} for name, others in edges.items()}


def check(
    transactions: Iterable[Transaction], final: dict[int, list[str]], level: str
) -> Iterator[str]:
    """What is wrong; nothing when it could have happened."""
    if level not in LEVELS:
        raise ValueError(f"no level {level!r}; expected one of {LEVELS}")
    history = History(transactions, final)
    yield from history.check_final()
    yield from history.check_reads(level)
    yield from history.check_age()
    yield from history.check_circles(level)


# ---- a counter


@dataclass
class Step:
    """One attempt to add 1 to a counter, or (`found`) to read it."""

    begun: float
    ended: float = math.inf
    said: str = "unknown"
    found: int | None = None


def check_counter(steps: list[Step], final: int) -> Iterator[str]:
    """Reads lie between what was acknowledged before them and what had been begun by then."""
    reads = [step for step in steps if step.found is not None and step.said == "acknowledged"]
    adds = [step for step in steps if step.found is None and step.said != "refused"]
    for read in [*reads, Step(math.inf, math.inf, "acknowledged", final)]:
        least = sum(add.said == "acknowledged" and add.ended < read.begun for add in adds)
        most = sum(add.begun <= read.ended for add in adds)
        if read.found is None or not least <= read.found <= most:
            yield f"the counter was read as {read.found}, expected {least} to {most}"
