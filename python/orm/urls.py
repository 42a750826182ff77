"""The URL of a database, in its parts."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from urllib.parse import SplitResult

__all__ = ["DatabaseURL"]


def unquoted(part: str | None) -> str | None:
    from urllib.parse import unquote

    return None if part is None else unquote(part)


class DatabaseURL:
    """`dialect+driver://username:password@hostname:port/database?option=value`.

    `str()` gives it whole, with its password; `repr()` and `obscure_password` hide that.
    """

    def __init__(self, url: object) -> None:
        # those of `databases` and SQLAlchemy's are texts of the same form
        render = getattr(url, "render_as_string", None)
        self._url: str = render(hide_password=False) if render is not None else str(url)

    @property
    def components(self) -> SplitResult:
        from urllib.parse import urlsplit

        return urlsplit(self._url)

    @property
    def scheme(self) -> str:
        return self.components.scheme

    @property
    def dialect(self) -> str:
        return self.scheme.partition("+")[0]

    @property
    def driver(self) -> str:
        return self.scheme.partition("+")[2]

    @property
    def userinfo(self) -> bytes | None:
        name, password = self.components.username, self.components.password
        if not name:
            return None
        return (f"{name}:{password}" if password else name).encode()

    @property
    def username(self) -> str | None:
        return unquoted(self.components.username)

    @property
    def password(self) -> str | None:
        return unquoted(self.components.password)

    @property
    def hostname(self) -> str | None:
        return self.components.hostname or self.options.get("host") or self.options.get("unix_sock")

    @property
    def port(self) -> int | None:
        return self.components.port

    @property
    def netloc(self) -> str:
        return self.components.netloc

    @property
    def database(self) -> str:
        return unquoted(self.components.path.removeprefix("/")) or ""

    @property
    def options(self) -> dict[str, str]:
        from urllib.parse import parse_qsl

        return dict(parse_qsl(self.components.query))

    def replace(self, **parts: Any) -> DatabaseURL:
        """The URL with other parts: username, password, hostname, port, database, dialect,
        driver, or those of `components`."""
        if parts.keys() & {"username", "password", "hostname", "port"}:
            parts["netloc"] = self._authority(parts)
        if "database" in parts:
            parts["path"] = "/" + parts.pop("database")
        if parts.keys() & {"dialect", "driver"}:
            dialect = parts.pop("dialect", self.dialect)
            driver = parts.pop("driver", self.driver)
            parts["scheme"] = f"{dialect}+{driver}" if driver else dialect
        changed = self.components._replace(**parts)
        query = f"?{changed.query}" if changed.query else ""
        return DatabaseURL(f"{changed.scheme}://{changed.netloc}{changed.path}{query}")

    def _authority(self, parts: dict[str, Any]) -> str:
        from urllib.parse import quote

        old = self.components

        def part(name: str, known: Any) -> Any:
            given = parts.pop(name, None)
            return known if given is None else quote(str(given), safe="[]:*" * (name == "hostname"))

        if parts.get("password") is not None and set(parts["password"]) == {"*"}:
            password: Any = parts.pop("password")
        else:
            password = part("password", old.password)
        username = part("username", old.username)
        hostname = part("hostname", old.hostname) or ""
        port = part("port", old.port)
        user = "" if username is None else username
        user += f":{password}" if password is not None else ""
        return (f"{user}@" if user else "") + hostname + (f":{port}" if port is not None else "")

    @property
    def obscure_password(self) -> str:
        return str(self.replace(password="********")) if self.password else self._url

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.obscure_password!r})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(self._url)
