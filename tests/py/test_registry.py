"""The registry's style of declaring models: orm.ModelRegistry, `fields`, `tablename`.

The world of these tests has a registry in the place of its metadata.
"""

import asyncio
import copy
import datetime
import enum
import ipaddress
import pickle
import subprocess
import sys
import uuid
from decimal import Decimal
from types import SimpleNamespace

import pytest

import orm


@pytest.fixture
def registry(world):
    world.metadata = orm.ModelRegistry(database=world.database)
    return world.metadata


@pytest.fixture
def club(registry):
    """Teams, members who may have one, and badges that belong to one member each."""
    models = registry

    class Member(orm.Model):
        registry = models
        fields = {
            "id": orm.Integer(primary_key=True),
            "team": orm.ForeignKey("Team", allow_null=True, on_delete=orm.SET_NULL),
            "email": orm.String(max_length=100),
        }

    class Team(orm.Model):
        tablename = "teams"
        registry = models
        fields = {
            "id": orm.Integer(primary_key=True),
            "name": orm.String(max_length=100),
            "motto": orm.String(max_length=100, allow_null=True),
        }

    class Badge(orm.Model):
        registry = models
        fields = {
            "id": orm.Integer(primary_key=True),
            "owner": orm.OneToOne(Member, on_delete=orm.CASCADE),
            "colour": orm.String(max_length=20, default="blue"),
        }

    return SimpleNamespace(Member=Member, Team=Team, Badge=Badge)


# ---- declaring ---------------------------------------------------------------------------------


def test_what_a_class_knows(world, registry, club):
    assert club.Team.tablename == "teams"
    assert club.Member.tablename == "member"
    assert club.Team.pkname == "id"
    assert club.Team.registry is registry
    assert club.Team.database is world.database
    assert list(club.Team.fields) == ["id", "name", "motto"]
    assert club.Team.fields["id"].primary_key is True
    assert isinstance(club.Team.fields["name"], orm.String)
    assert registry.models == {"Member": club.Member, "Team": club.Team, "Badge": club.Badge}
    assert registry.database is world.database
    queryset = club.Team.objects
    assert (queryset.model_cls, queryset.pkname) == (club.Team, "id")
    assert queryset.database is world.database
    assert queryset.table is club.Team.table is club.Team(id=1).table


def test_a_queryset_gives_the_database_that_was_given(folder):
    databases = pytest.importorskip("databases")
    database = databases.Database(f"sqlite:///{folder}/x.db")
    models = orm.ModelRegistry(database=database)
    body = {"registry": models, "fields": {"id": orm.Integer(primary_key=True)}}
    M = type(orm.Model)("M", (orm.Model,), body)
    assert M.database is M.objects.database is database
    models = orm.ModelRegistry(database=str(database.url))
    M = type(orm.Model)("M", (orm.Model,), {**body, "registry": models})
    assert isinstance(M.objects.database, orm.Database)


def test_a_registry_keeps_its_models(registry):
    def declare():
        type(orm.Model)(
            "Kept",
            (orm.Model,),
            {"registry": registry, "fields": {"id": orm.Integer(primary_key=True)}},
        )

    declare()
    import gc

    gc.collect()
    assert registry.models["Kept"].tablename == "kept"


def test_fields_may_be_shared_and_inherited(registry):
    models = registry

    class Base(orm.Model):
        __abstract__ = True
        registry = models
        fields = {"id": orm.Integer(primary_key=True), "name": orm.String(max_length=5)}

    class One(Base):
        fields = {"size": orm.Integer(default=1)}

    class Two(Base):
        fields = {"name": orm.String(max_length=50)}

    assert list(One.fields) == ["id", "name", "size"]
    assert list(Two.fields) == ["id", "name"]
    assert One.fields["name"].max_length == 5
    assert Two.fields["name"].max_length == 50
    assert registry.models == {"One": One, "Two": Two}
    assert registry.metadata.tables.keys() == {"one", "two"}


def test_a_field_wins_over_a_name_of_the_class(registry):
    models = registry

    class Odd(orm.Model):
        registry = models
        fields = {
            "id": orm.Integer(primary_key=True),
            "database": orm.String(max_length=10),
            "table": orm.String(max_length=10),
            "tablename": orm.String(max_length=10),
        }

    odd = Odd(database="d", table="t", tablename="n")
    assert (odd.database, odd.table, odd.tablename) == ("d", "t", "n")


@pytest.mark.parametrize("name", ["pk", "objects", "fields", "update", "delete", "load", "__x__"])
def test_a_reserved_name_is_refused(registry, name):
    fields = {"id": orm.Integer(primary_key=True), name: orm.Integer()}
    with pytest.raises(orm.ConfigurationError, match=f"{name}.*cannot be the name of a field"):
        type(orm.Model)("Bad", (orm.Model,), {"registry": registry, "fields": fields})


@pytest.mark.parametrize("fields", [["id"], {"id": int}, {1: orm.Integer(primary_key=True)}])
def test_fields_is_a_dict_of_fields(registry, fields):
    with pytest.raises(orm.ConfigurationError, match="fields is a dict"):
        type(orm.Model)("Bad", (orm.Model,), {"registry": registry, "fields": fields})


def test_fields_without_a_registry_is_an_error():
    fields = {"id": orm.Integer(primary_key=True)}
    with pytest.raises(orm.ConfigurationError, match=r"ModelRegistry\(database"):
        type(orm.Model)("Bad", (orm.Model,), {"fields": fields})


def test_two_tables_of_a_name_are_an_error(registry, club):
    body = {"registry": registry, "fields": {"id": orm.Integer(primary_key=True)}}
    with pytest.raises(orm.ConfigurationError, match="Team and Other share the table 'teams'"):
        type(orm.Model)("Other", (orm.Model,), {**body, "tablename": "teams"})
    with pytest.raises(orm.ConfigurationError, match="a model 'Team' already"):
        type(orm.Model)("Team", (orm.Model,), body)
    assert set(registry.models) == {"Member", "Team", "Badge"}


def test_a_target_that_never_appears(registry):
    models = registry

    class Lost(orm.Model):
        registry = models
        fields = {"id": orm.Integer(primary_key=True), "to": orm.ForeignKey("Nowhere")}

    with pytest.raises(orm.ConfigurationError, match=r"Lost\.to refers to 'Nowhere'.*declare it"):
        Lost.objects.filter(id=1)
    with pytest.raises(orm.ConfigurationError, match=r"'to' refers to 'Nowhere'.*declare it"):
        Lost.table  # noqa: B018
    with pytest.raises(orm.ConfigurationError, match="'to' refers to 'Nowhere'"):
        registry.metadata  # noqa: B018


def test_class_attributes_say_the_same_of_tables_and_targets(world):
    """The same two mistakes with a sqlalchemy.MetaData."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from orm.alchemy import table_of

    metadata = sqlalchemy.MetaData()
    sqlalchemy.Table("thing", metadata, sqlalchemy.Column("id", sqlalchemy.Integer))
    body = {"__metadata__": metadata, "__database__": world.database}
    with pytest.raises(orm.ConfigurationError, match="another table 'thing' already"):
        type(orm.Model)("Thing", (orm.Model,), {**body, "id": orm.Integer(primary_key=True)})

    fields = {"id": orm.Integer(primary_key=True), "to": orm.ForeignKey("Nowhere")}
    lost = type(orm.Model)("Lost", (orm.Model,), {**body, **fields})
    with pytest.raises(orm.ConfigurationError, match=r"Lost\.to refers to 'Nowhere'.*declare it"):
        lost.objects.filter(id=1)
    with pytest.raises(orm.ConfigurationError, match="'to' refers to 'Nowhere'"):
        table_of(lost)


def test_a_database_of_an_unsupported_dialect():
    databases = pytest.importorskip("databases")
    database = databases.Database.__new__(databases.Database)
    database.url = databases.DatabaseURL("mssql://host/name")
    database.options, database._force_rollback, database._backend = {}, False, None
    database._global_connection, database.is_connected = None, False
    models = orm.ModelRegistry(database=database)
    body = {"registry": models, "fields": {"id": orm.Integer(primary_key=True)}}
    M = type(orm.Model)("M", (orm.Model,), body)
    with pytest.raises(orm.ConfigurationError, match=r"no models on 'mssql'.*use one of"):
        M.objects.count()
    with pytest.raises(orm.ConfigurationError, match=r"no models on 'mssql'.*use one of"):
        models.create_all()


def test_an_unknown_database_is_an_error():
    registry = orm.ModelRegistry(database=object())
    with pytest.raises(orm.ConfigurationError, match=r"expected an orm\.Database"):
        registry.create_all()


def test_nothing_is_imported_for_it():
    code = (
        "import sys, orm\n"
        "models = orm.ModelRegistry(database='sqlite:///x.db')\n"
        "fields = {'id': orm.Integer(primary_key=True)}\n"
        "M = type(orm.Model)('M', (orm.Model,), {'registry': models, 'fields': fields})\n"
        "models.create_all()\n"
        "assert not {'sqlalchemy', 'databases', 'typesystem'} & set(sys.modules)\n"
        "assert M.table.name == 'm' and 'sqlalchemy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# ---- instances ---------------------------------------------------------------------------------


def test_text_of_an_instance(club):
    assert str(club.Team(id=1, name="a")) == "Team(id=1)"
    assert repr(club.Team(id=1)) == "<Team: Team(id=1)>"
    assert str(club.Team(name="a")) == "Team(id=None)"


def test_a_class_may_say_its_own_text(registry):
    models = registry

    class Tag(orm.Model):
        registry = models
        fields = {"name": orm.String(max_length=10, primary_key=True)}

        def __str__(self):
            return f"#{self.name}"

    assert str(Tag(name="a")) == "#a"
    assert repr(Tag(name="a")) == "<Tag: #a>"
    assert orm.Model.__str__(Tag(name="a")) == "Tag(name=a)"


def test_instances_are_equal_field_by_field(club):
    Team, Member = club.Team, club.Member
    assert Team(id=1) == Team(id=1)
    assert Team(id=1) != Team(id=2)
    assert Team(id=1) != Member(id=1)
    assert Team(id=1, name="a") != Team(id=1, name="b")
    assert Team(name="a") == Team(name="a", motto=None)
    assert Team(id=1) != 1
    assert Member(id=1, team=Team(id=1)) == Member(id=1, team=1)
    assert Member(id=1, team=Team(id=1, name="a")) == Member(id=1, team=1)  # it is not loaded
    assert Member(id=1, team=Team(id=1, name="a")) != Member(id=1, team=2)
    assert Team(id=1, name="a") != Team(id=1)
    assert Member(id=1, team=None) == Member(id=1, team=Team(id=None))
    assert hash(Team(id=1)) == hash(Team(id=1, name="a"))


def test_the_constructor(club):
    assert club.Team(pk=1).id == 1
    assert club.Team(id=2, pk=1).id == 1
    with pytest.raises(ValueError, match="nope"):
        club.Team(nope=1)
    with pytest.raises(TypeError, match="takes keyword arguments"):
        club.Team({"id": 1})
    assert not hasattr(club.Badge(id=1), "colour")  # a default is for a new row


def test_copies_and_pickles(club):
    globals()["Team"] = club.Team
    club.Team.__qualname__, club.Team.__module__ = "Team", __name__
    team = club.Team(id=1, name="a")
    assert copy.copy(team) == team
    assert pickle.loads(pickle.dumps(team)) == team


async def test_a_key_that_is_null_reads_as_an_instance(club):
    Member, Team = club.Member, club.Team
    await Member.objects.create(email="a@example.org")
    member = await Member.objects.get()
    assert member.team.pk is None
    assert isinstance(member.team, Team)
    assert str(member.team) == "Team(id=None)"
    assert not hasattr(member.team, "name")
    assert member.team == Team(id=None)
    with pytest.raises(AttributeError):
        await member.team.load()
    assert await Member.objects.filter(team=member.team).count() == 1
    assert await Member.objects.filter(team=None).count() == 1
    assert orm.asdict(member) == {"id": member.id, "team": None, "email": "a@example.org"}


async def test_an_absent_instance_goes_where_null_goes(club):
    Member, Team = club.Member, club.Team
    team = await Team.objects.create(name="red")
    one = await Member.objects.create(email="a@example.org", team=team)
    two = await Member.objects.create(email="b@example.org", team=Team(id=None))
    assert two.team.pk is None
    await one.update(team=two.team)
    assert one.team.pk is None
    assert await Member.objects.filter(team=None).count() == 2
    one.team = team
    await one.save()
    assert [member.email for member in await Member.objects.filter(team=team).all()] == [one.email]
    one.team = None
    assert one.team.pk is None
    with pytest.raises(orm.ValidationError, match="May not be null"):
        await club.Badge.objects.create(owner=Member(id=None))


async def test_an_unsaved_instance_is_no_null(club):
    with pytest.raises(ValueError, match="save it first"):
        await club.Member.objects.create(email="a", team=club.Team(id=None, name="new"))


# ---- a life ------------------------------------------------------------------------------------


async def test_rows(club):
    Team = club.Team
    assert await Team.objects.all() == []
    team = await Team.objects.create(name=" Red ")
    assert (team.name, team.motto) == ("Red", None)
    assert team.pk is not None
    assert await Team.objects.all() == [team]
    assert await Team.objects.get(pk=team.pk) == team
    await team.update(name="Blue")
    assert (await Team.objects.get()).name == "Blue"
    await team.delete()
    assert await Team.objects.all() == []
    with pytest.raises(orm.NoMatch):
        await Team.objects.get()


async def test_relations(club):
    Team, Member, Badge = club.Team, club.Member, club.Badge
    red = await Team.objects.create(name="Red")
    blue = await Team.objects.create(name="Blue")
    ann = await Member.objects.create(team=red, email="ann@example.org")
    ben = await Member.objects.create(team=blue, email="ben@example.org")
    await Badge.objects.create(owner=ann)
    found = await Badge.objects.get()
    assert found.colour == "blue"
    assert found.owner.pk == ann.pk
    assert not hasattr(found.owner, "email")
    await found.owner.load()
    assert found.owner == ann
    found = await Badge.objects.select_related("owner__team").get()
    assert found.owner.team.name == "Red"
    found = await Member.objects.filter(team__name__icontains="BLU").get()
    assert found.team.name == "Blue"  # a keyword across a relation loads it
    with pytest.raises(orm.UniqueViolation):
        await Badge.objects.create(owner=ann)
    await Badge.objects.filter(owner=ann).update(owner=ben)
    assert (await Badge.objects.get()).owner.pk == ben.pk
    await blue.delete()
    assert (await Member.objects.get(pk=ben.pk)).team.pk is None
    await ben.delete()
    assert await Badge.objects.count() == 0


class Status(enum.Enum):
    DRAFT = "Draft"
    DONE = "Done"


@pytest.fixture
def Everything(registry):
    models = registry

    class Everything(orm.Model):
        registry = models
        fields = {
            "id": orm.UUID(primary_key=True, default=uuid.uuid4),
            "made": orm.DateTime(auto_now_add=True),
            "changed": orm.DateTime(auto_now=True),
            "made_on": orm.Date(auto_now_add=True),
            "changed_on": orm.Date(auto_now=True),
            "at": orm.Time(default=datetime.time(12, 30, 1, 500)),
            "data": orm.JSON(default={}),
            "text": orm.Text(allow_blank=True),
            "huge": orm.BigInteger(default=2**40),
            "price": orm.Decimal(max_digits=5, decimal_places=2, allow_null=True),
            "status": orm.Enum(Status, default=Status.DRAFT),
            "value": orm.Float(allow_null=True),
            "email": orm.Email(allow_null=True, max_length=100),
            "address": orm.IPAddress(allow_null=True),
            "url": orm.URL(allow_null=True, max_length=200),
            "yes": orm.Boolean(default=True),
        }

    return Everything


async def test_every_type(Everything):
    made = await Everything.objects.create()
    row = await Everything.objects.get(pk=made.pk)
    assert isinstance(row.pk, uuid.UUID)
    assert row.made.date() == row.made_on == row.changed_on
    assert (row.at, row.data, row.text) == (datetime.time(12, 30, 1, 500), {}, "")
    assert (row.huge, row.status, row.yes) == (2**40, Status.DRAFT, True)
    assert row.price is row.value is row.email is row.address is row.url is None
    await row.update(
        data={"a": [1]},
        price=Decimal("99.99"),
        status=Status.DONE,
        email="a@example.org",
        address="192.168.1.1",
        url="https://example.org/",
    )
    again = await Everything.objects.get(status=Status.DONE, price=Decimal("99.99"))
    assert again.data == {"a": [1]}
    assert again.address == ipaddress.ip_address("192.168.1.1")
    assert again.url == "https://example.org/"
    assert again.made == made.made
    assert again.changed > made.changed


async def test_rows_at_once(Everything):
    made = await Everything.objects.bulk_create(
        [{"value": 1.5, "status": Status.DONE}, {"data": {"a": 1}}, {}]
    )
    rows = {row.pk: row for row in await Everything.objects.all()}
    assert len(rows) == 3
    assert [rows[row.pk].value for row in made] == [1.5, None, None]
    assert [rows[row.pk].status for row in made] == [Status.DONE, Status.DRAFT, Status.DRAFT]
    assert rows[made[1].pk].data == {"a": 1}


def test_auto_now_and_auto_now_add_exclude_each_other():
    with pytest.raises(ValueError, match="cannot be both True"):
        orm.DateTime(auto_now=True, auto_now_add=True)


async def test_arguments_by_name(club):
    Team, Member = club.Team, club.Member
    red = await Team.objects.create(name="Red")
    await Team.objects.create(name="Blue")
    await Member.objects.create(email="a@example.org", team=red)
    by_name = Team.objects.order_by("name")
    assert [team.name for team in await by_name.limit(limit_count=1).all()] == ["Blue"]
    assert [team.name for team in await by_name.limit(1).offset(offset=1).all()] == ["Red"]
    assert (await Team.objects.search(term="LU").get()).name == "Blue"
    assert await Team.objects.search(term="").count() == 2
    for related in ("team", ["team"], ("team",)):
        member = await Member.objects.select_related(related=related).get()
        assert member.team.name == "Red"
    for step in ("limit", "offset", "search", "select_related"):
        with pytest.raises(TypeError, match="takes one argument"):
            getattr(Team.objects, step)(nope=1)
    with pytest.raises(TypeError, match="takes one argument"):
        Team.objects.limit(1, limit_count=2)


async def test_get_or_create_and_update_or_create(club):
    Team = club.Team
    team, created = await Team.objects.get_or_create(name="Red", defaults={"motto": "go"})
    assert created is True
    assert team.motto == "go"
    same, created = await Team.objects.get_or_create({"motto": "stop"}, name="Red")
    assert created is False
    assert same == team
    team, created = await Team.objects.update_or_create(
        name="Blue", motto="up", defaults={"name": "Navy"}
    )
    assert created is True
    assert (team.name, team.motto) == ("Navy", "up")
    same, created = await Team.objects.update_or_create(name="Navy", defaults={"name": "Sky"})
    assert created is False
    assert (same.pk, same.name) == (team.pk, "Sky")


# ---- create_all, drop_all ----------------------------------------------------------------------


async def tables(world):
    sql = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
        "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
        "mariadb": "SELECT table_name FROM information_schema.tables "
        "WHERE table_schema = database()",
    }[world.kind]
    return {row[0] for row in await world.database.fetch_all(sql)}


ALL = {"member", "teams", "badge"}


async def test_they_are_awaited_where_a_loop_runs(world, registry, club):
    assert await tables(world) == ALL
    await registry.drop_all()
    assert await tables(world) == set()
    await registry.create_all()
    await registry.create_all()
    assert await tables(world) == ALL
    assert await club.Team.objects.count() == 0


def test_they_act_at_once_where_none_runs(world, registry, club):
    async def look():
        found = await tables(world)
        await world.database.disconnect()
        return found

    done = registry.create_all()
    assert asyncio.run(look()) == ALL
    del done  # nobody has to await it
    done = registry.drop_all()
    assert asyncio.run(look()) == set()

    async def late():
        return await done

    assert asyncio.run(late()) is None


def test_acting_at_once_fails_at_once(registry, folder):
    models = orm.ModelRegistry(database=f"sqlite:///{folder}/no/such/folder/x.db")
    body = {"registry": models, "fields": {"id": orm.Integer(primary_key=True)}}
    type(orm.Model)("M", (orm.Model,), body)
    with pytest.raises(orm.OperationalError):
        models.create_all()


def test_nothing_stays_open_that_was_not(world, registry, club):
    registry.create_all()
    assert world.database.stats()["engines"] == 0
    assert len(club.Team.objects.all and list(club.Team.objects)) == 0
    assert world.database.stats()["engines"] == 1  # of the blocking forms: it was open
    registry.create_all()
    assert world.database.stats()["engines"] == 1


@pytest.mark.parametrize("as_url", [False, True])
def test_tables_in_memory(folder, as_url):
    url = "sqlite:///:memory:"
    models = orm.ModelRegistry(database=url if as_url else orm.Database(url))
    body = {"registry": models, "fields": {"id": orm.Integer(primary_key=True)}}
    M = type(orm.Model)("M", (orm.Model,), body)
    models.create_all()

    async def main():
        await M.objects.create()
        return await M.objects.count()

    assert asyncio.run(main()) == 1


@pytest.mark.parametrize("force_rollback", [False, True])
def test_tables_of_a_databases_database(folder, force_rollback):
    """They are made on a connection of their own and stay; the database is left as it was."""
    databases = pytest.importorskip("databases")
    database = databases.Database(f"sqlite:///{folder}/x.db", force_rollback=force_rollback)
    models = orm.ModelRegistry(database=database)
    body = {"registry": models, "fields": {"id": orm.Integer(primary_key=True)}}
    M = type(orm.Model)("M", (orm.Model,), body)
    models.create_all()
    assert not database.is_connected

    async def main():
        async with database:
            await M.objects.create()
            assert await M.objects.count() == 1
        other = databases.Database(database.url)
        async with other, other.transaction(force_rollback=True):
            await models.create_all()
        async with other:
            kept = await other.fetch_val("SELECT count(*) FROM m")
            await models.drop_all()
            assert other.is_connected
            assert await other.fetch_val("SELECT count(*) FROM sqlite_master") == 0
        return kept

    assert asyncio.run(main()) == (0 if force_rollback else 1)


async def test_tables_within_a_transaction_of_theirs(folder):
    databases = pytest.importorskip("databases")
    database = databases.Database(f"sqlite:///{folder}/x.db")
    models = orm.ModelRegistry(database=database)
    body = {"registry": models, "fields": {"id": orm.Integer(primary_key=True)}}
    M = type(orm.Model)("M", (orm.Model,), body)
    async with database:
        async with database.transaction(force_rollback=True):
            await models.create_all()
        assert await M.objects.count() == 0


def test_an_operation_runs_at_once_only_once(registry, club):
    from orm import _core

    operation = registry.create_all()
    with pytest.raises(TypeError, match="not been started"):
        _core.run_now(operation)
    with pytest.raises(TypeError, match="not 1"):
        _core.run_now(1)


# ---- read_only ---------------------------------------------------------------------------------


@pytest.fixture
def sealed(registry):
    models = registry

    class Letter(orm.Model):
        registry = models
        fields = {
            "id": orm.Integer(primary_key=True),
            "text": orm.String(max_length=20),
            "seal": orm.String(max_length=20, read_only=True, default="red"),
            "stamp": orm.Integer(read_only=True, allow_null=True),
        }

    return SimpleNamespace(Letter=Letter)


async def test_create_and_update_take_no_value_for_a_read_only_field(sealed):
    Letter = sealed.Letter
    letter = await Letter.objects.create(text="a", seal="blue", stamp=3)
    assert (letter.seal, letter.stamp) == ("red", None)
    await letter.update(text="b", seal="blue")
    await letter.update(stamp=4)
    assert await Letter.objects.update(text="c", stamp=5) == 1
    assert await Letter.objects.update(stamp=6) == 0
    (row,) = await Letter.objects.bulk_create([{"text": "d", "seal": "green"}])
    assert row.seal == "red"
    found, created = await Letter.objects.get_or_create({"seal": "green"}, text="e")
    assert created and found.seal == "red"
    assert [(one.seal, one.stamp) for one in await Letter.objects.all()] == [("red", None)] * 3
    with pytest.raises(orm.ValidationError):
        await Letter.objects.create(text="a", sael="blue")


async def test_a_read_only_field_may_still_be_saved_and_read(sealed):
    Letter = sealed.Letter
    letter = await Letter.objects.create(text="a")
    letter.stamp = 7
    await letter.save()
    assert (await Letter.objects.get(stamp=7)).pk == letter.pk


async def test_a_read_only_field_need_not_be_given(registry):
    models = registry

    class Ticket(orm.Model):
        registry = models
        fields = {
            "id": orm.Integer(primary_key=True),
            "text": orm.String(max_length=20),
            "number": orm.Integer(read_only=True),
        }

    operation = Ticket.objects.create(text="a")  # the database is to make the number
    operation.close()
    assert "number" not in getattr(Ticket.objects.schema, "required", [])
    with pytest.raises(orm.ValidationError) as caught:
        Ticket.objects.create(number=3)
    assert dict(caught.value) == {"text": "This field is required."}


def test_an_unknown_keyword_in_the_words_of_the_registry_era(club):
    with pytest.raises(ValueError, match=r"^Invalid keyword colour for class Team$"):
        club.Team(colour="red")
