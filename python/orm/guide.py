"""Runs the Python blocks of a Markdown guide, holds them to their word and tells the story.

The blocks run in order in one namespace, with `await` at the top level, in an empty folder:

* `print(...)  # text` must print that text;
* `# Raises X` behind a statement: it must raise X;
* an `assert` must hold.

The guide leaves out one thing, the creation of its tables by SQLAlchemy: it is inserted before the
first block that awaits.  On a server that the caller names, the URL takes the place of the guide's
own, and the tables are made by `orm.create_all`: its database must not have them yet.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import inspect
import io
import os
import re
import sys
import tempfile
import time
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from .database import database_of
from .metadata import is_alchemy
from .models import ModelMeta

__all__ = ["Block", "Failure", "Guide", "Story", "default_path", "main", "parse", "run"]

INSERTED = (
    "metadata.create_all(sqlalchemy.create_engine("
    "str(database.url), poolclass=sqlalchemy.pool.NullPool))"
)
INSERTED_ON_SERVER = "await orm.create_all(metadata, database)"
OWN_URL = "sqlite:///db.sqlite"


# ---- reading -----------------------------------------------------------------------------------


@dataclass
class Step:
    """One statement and what the guide says of it."""

    source: str
    line: int  # in the file
    node: ast.stmt
    remark: str = ""  # comment lines above it
    prints: str | None = None
    raises: str | None = None


@dataclass
class Block:
    """One fenced block, with the prose above it."""

    prose: str
    steps: list[Step] = field(default_factory=list)

    @property
    def awaits(self) -> bool:
        """Whether one of its own statements awaits."""
        return any(_awaits(step.node) for step in self.steps)


@dataclass
class Guide:
    """A parsed guide: its blocks and the prose behind the last one."""

    name: str
    blocks: list[Block]
    ending: str


def parse(text: str, name: str = "guide") -> Guide:
    """Reads Markdown; only blocks fenced as ```python are code."""
    blocks: list[Block] = []
    prose: list[str] = []
    lines = iter(enumerate(text.split("\n"), 1))
    for number, line in lines:
        if not re.fullmatch(r"\s*```python\s*", line):
            prose.append(line)
            continue
        code = []
        for _, inner in lines:
            if re.fullmatch(r"\s*```\s*", inner):
                break
            code.append(inner)
        source = "\n".join(code) + "\n"
        blocks.append(Block("\n".join(prose).strip(), list(_steps(source, number, name))))
        prose = []
    return Guide(name, blocks, "\n".join(prose).strip())


def _steps(source: str, above: int, name: str) -> Iterator[Step]:
    lines = source.split("\n")
    comments = _comments(source)
    tree = ast.parse(source, name)
    ast.increment_lineno(tree, above)
    told = 0
    for node in tree.body:
        assert node.end_lineno is not None
        first, last = node.lineno - above, node.end_lineno - above
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([first, *(item.lineno - above for item in node.decorator_list)])
        remark = "\n".join(filter(None, lines[told : first - 1]))
        step = Step("\n".join(lines[first - 1 : last]), first + above, node, remark)
        told = last
        comment = comments.get(last)
        if comment is not None:
            raises = re.match(r"Raises\s+([\w.]+)", comment)
            if raises:
                step.raises = raises[1]
            elif _is_print(node):
                step.prints = comment
        yield step


def _comments(source: str) -> dict[int, str]:
    """The comments that stand behind code, by line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("#").strip()
        for token in tokens
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip()
    }


def _is_print(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "print"
    )


def _awaits(node: ast.AST) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
        return False
    if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
        return True
    return any(_awaits(child) for child in ast.iter_child_nodes(node))


# ---- telling -----------------------------------------------------------------------------------


class Story:
    """What a person reads while a guide runs: with colours where `file` is a terminal.

    Without `rich`, with NO_COLOR set or into a pipe it is plain text.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._console: Any = None
        with contextlib.suppress(ImportError):
            from rich.console import Console

            self._console = Console(file=file, highlight=False, soft_wrap=True)
            if not self._console.is_terminal or os.environ.get("NO_COLOR"):
                self._console = None

    def _say(self, text: str, style: str = "", lexer: str | None = None) -> None:
        if self._console is None:
            print(text, file=self._file)
            return
        from rich.syntax import Syntax
        from rich.text import Text

        if lexer is None:
            self._console.print(Text(text, style=style))
            return
        syntax = Syntax(text, lexer, theme="ansi_dark", background_color="default")
        painted = syntax.highlight(text)
        painted.rstrip()
        self._console.print(painted)

    def title(self, name: str) -> None:
        """The guide begins."""
        self._say(name, "bold")

    def prose(self, text: str) -> None:
        """The words above a block."""
        for paragraph in filter(None, text.split("\n\n")):
            if paragraph.startswith("#"):
                self._say("\n" + paragraph.lstrip("# "), "bold underline")
            else:
                self._say("\n" + paragraph, "italic")
        self._say("")

    def inserted(self, source: str) -> None:
        """What the guide leaves out."""
        self._say("  # the tables (the guide takes them for granted)", "dim")
        self.code(source)

    def code(self, source: str) -> None:
        """A statement, before it runs."""
        # the guide has a no-break space that was once read as Latin-1, and stays as it is there
        for line in source.replace("\u00c2\u00a0", " ").split("\n"):
            self._say("  " + line, lexer="python")

    def sql(self, statement: str, seconds: float | None = None) -> None:
        """A statement that was sent."""
        lines = [re.sub(r"\s+", " ", line).strip() for line in statement.strip().split("\n")]
        text = "      -> " + " ".join(filter(None, lines))
        if seconds is not None:
            text += f"  -- {seconds * 1000:.2f} ms"
        self._say(text, lexer="sql")

    def holds(self, what: str) -> None:
        """An expectation that was met."""
        self._say(f"      ok {what}", "green")

    def fails(self, failure: Failure) -> None:
        """An expectation that was not."""
        self._say(f"\n{failure}", "bold red")

    def end(self, checks: int, statements: int, seconds: float) -> None:
        """The guide has run."""
        text = f"{checks} expectations hold, {statements} statements sent, {seconds * 1000:.0f} ms"
        self._say("\n" + text, "bold green")


class Silence(Story):
    """Tells nothing."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())

    def _say(self, text: str, style: str = "", lexer: str | None = None) -> None:
        pass


# ---- running -----------------------------------------------------------------------------------


class Failure(AssertionError):
    """An expectation of the guide that was not met."""

    def __init__(self, guide: Guide, step: Step, expected: str, found: str) -> None:
        self.line, self.expected, self.found = step.line, expected, found
        changes = [f"  - {line}" for line in expected.split("\n")]
        changes += [f"  + {line}" for line in found.split("\n")]
        code = [f"    {line}" for line in step.source.split("\n")]
        super().__init__("\n".join([f"{guide.name}:{step.line}", *code, *changes]))


class _OtherURL(ast.NodeTransformer):
    """The code of the guide with another URL; what is shown stays as it is, without secrets."""

    def __init__(self, url: str) -> None:
        self.url = url

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if node.value != OWN_URL:
            return node
        return ast.copy_location(ast.Constant(self.url), node)


class _Run:
    def __init__(self, guide: Guide, story: Story, url: str | None = None) -> None:
        self.guide = guide
        self.url = url
        self.story = story
        self.names: dict[str, Any] = {"__name__": "__guide__", "__builtins__": builtins}
        self.databases: list[Any] = []
        self.checks = 0
        self.statements = 0

    async def all(self) -> None:
        created = False
        for block in self.guide.blocks:
            if block.awaits and not created:
                created = True
                if is_alchemy(self.names.get("metadata")):
                    await self.create_tables()
            self.story.prose(block.prose)
            for step in block.steps:
                self.story.code("\n".join(filter(None, [step.remark, step.source])))
                await self.step(step)
                self.watch()
        if self.guide.ending:
            self.story.prose(self.guide.ending)

    async def create_tables(self) -> None:
        if self.url is not None:
            self.story.inserted(INSERTED_ON_SERVER)
            self.watch()
            (inserted,) = _steps(INSERTED_ON_SERVER, 0, self.guide.name)
            await self.execute(inserted)
            return
        import sqlalchemy

        def sent(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            if not statement.startswith("PRAGMA"):
                self.sent(statement, None)

        self.story.prose("")
        self.story.inserted(INSERTED)
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", sent)
        try:
            exec(INSERTED, self.names)
        finally:
            sqlalchemy.event.remove(sqlalchemy.engine.Engine, "before_cursor_execute", sent)

    def watch(self) -> None:
        """Listens to the databases of the models that are there by now."""
        for model in list(self.names.values()):
            if isinstance(model, ModelMeta) and getattr(model, "__database__", None) is not None:
                database = database_of(model.__database__)
                if not any(database is known for known in self.databases):
                    self.databases.append(database)
                    database.on_statement(lambda event: self.sent(event.sql, event.seconds))

    def sent(self, sql: str, seconds: float | None) -> None:
        self.statements += 1
        self.story.sql(sql, seconds)

    async def step(self, step: Step) -> None:
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                await self.execute(step)
        except AssertionError as error:
            if isinstance(step.node, ast.Assert):
                raise Failure(self.guide, step, "holds", self.explain(step.node)) from error
            self.raised(step, error)
        except Exception as error:
            self.raised(step, error)
        else:
            self.returned(step, output.getvalue())

    async def execute(self, step: Step) -> None:
        module = ast.Module([step.node], [])
        if self.url is not None:
            module = _OtherURL(self.url).visit(module)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(module, self.guide.name, "exec", flags, dont_inherit=True)
        result = eval(code, self.names)
        if code.co_flags & inspect.CO_COROUTINE:
            await result

    def raised(self, step: Step, error: Exception) -> None:
        found = f"raises {type(error).__name__}: {error}"
        if step.raises is None:
            expected = "raises nothing" if step.prints is None else f"prints {step.prints}"
            raise Failure(self.guide, step, expected, found) from error
        names = [cls.__name__ for cls in type(error).__mro__]
        if step.raises.rpartition(".")[2] not in names:
            raise Failure(self.guide, step, f"raises {step.raises}", found) from error
        self.met(f"raises {step.raises}: {error}")

    def returned(self, step: Step, output: str) -> None:
        text = output.removesuffix("\n")
        found = f"prints {text}" if output else "raises nothing"
        if step.raises is not None:
            raise Failure(self.guide, step, f"raises {step.raises}", found)
        if step.prints is not None and text != step.prints:
            raise Failure(self.guide, step, f"prints {step.prints}", found)
        if step.prints is not None or isinstance(step.node, ast.Assert):
            self.met(found if output else "holds")
        elif output:
            self.story.holds(found)

    def met(self, what: str) -> None:
        self.checks += 1
        self.story.holds(what)

    def explain(self, node: ast.Assert) -> str:
        """The values on both sides of a comparison that does not hold."""
        test = node.test
        if not isinstance(test, ast.Compare) or _awaits(test):
            return "does not hold"
        sides = [test.left, *test.comparators]
        values = [
            repr(eval(compile(ast.Expression(side), "", "eval"), self.names)) for side in sides
        ]
        return "does not hold: " + " and ".join(values)


async def run(guide: Guide, story: Story | None = None, url: str | None = None) -> int:
    """Runs a guide in the current folder, or on the database at `url`.

    Returns how many expectations were met; raises Failure at the first that was not.
    """
    telling = _Run(guide, story or Silence(), url)
    started = time.perf_counter()
    try:
        await telling.all()
    finally:
        for database in telling.databases:
            await database.disconnect()
    telling.story.end(telling.checks, telling.statements, time.perf_counter() - started)
    return telling.checks


def default_path() -> Path:
    """The guide that comes with the package."""
    here = Path(__file__).resolve().parent
    installed = here / "foreignkey.md"
    return installed if installed.exists() else here.parents[1] / "docs/guide/foreignkey.md"


@contextlib.contextmanager
def _empty_folder() -> Iterator[None]:
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def main(path: str | None = None, url: str | None = None) -> int:
    """Runs the guide at `path` in an empty folder and tells the story; 1 when it broke its word."""
    file = default_path() if path is None else Path(path)
    try:
        guide = parse(file.read_text(encoding="utf-8"), file.name)
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        print(f"{file}: {error}", file=sys.stderr)
        return 2
    story = Story(sys.stdout)
    story.title(f"{file.name}, block by block")
    with _empty_folder():
        try:
            asyncio.run(run(guide, story, url))
        except Failure as failure:
            story.fails(failure)
            return 1
    return 0
