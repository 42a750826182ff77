"""Class statements: what a model is made of, and which ones are refused."""

import gc
import weakref

import pytest

import orm


def model(name="Thing", bases=(orm.Model,), /, **body):
    body.setdefault("__metadata__", orm.MetaData())
    if bases[-1] is orm.Model and not body.get("__abstract__"):
        body.setdefault("id", orm.Integer(primary_key=True))
    return type(orm.Model)(name, bases, body)


def test_the_table_is_the_class_name_in_lower_case():
    assert model("BigThing").__tablename__ == "bigthing"
    assert model("BigThing", __tablename__="Big Thing").__tablename__ == "Big Thing"


def test_fields_are_listed_in_the_order_of_declaration():
    thing = model(b=orm.Integer(), a=orm.Integer())
    assert list(thing.fields) == ["b", "a", "id"]
    assert thing.fields["a"].name == "a"


def test_a_field_read_on_the_class_is_the_field():
    thing = model(title=orm.String(max_length=9))
    assert thing.title is thing.fields["title"]
    assert thing.title.max_length == 9


def test_the_key():
    assert model().__pkname__ == "id"
    assert model(id=orm.Integer(), code=orm.Text(primary_key=True)).__pkname__ == "code"


def test_an_abstract_base_has_no_table_and_passes_on_its_fields():
    metadata = orm.MetaData()

    class Base(orm.Model):
        __abstract__ = True
        __metadata__ = metadata
        id = orm.Integer(primary_key=True)
        made = orm.Date(auto_now_add=True)

    class Thing(Base):
        name = orm.Text()

    class Other(Base):
        made = orm.DateTime()

    assert list(Thing.fields) == ["id", "made", "name"]
    assert Thing.__abstract__ is False
    assert Thing.__metadata__ is metadata
    assert type(Other.fields["made"]) is orm.DateTime
    assert Thing.fields["id"] is not Other.fields["id"]
    with pytest.raises(TypeError):
        Base()


def test_a_mixin_that_is_no_model_passes_on_its_fields():
    class Named:
        name = orm.Text()

        def shout(self):
            return self.name.upper()

    thing = model("Thing", (Named, orm.Model))
    assert list(thing.fields) == ["name", "id"]
    assert thing(name="x").shout() == "X"


def test_a_model_that_inherits_from_a_model_has_its_own_table():
    album = model("Album", id=orm.Integer(primary_key=True), name=orm.Text())
    single = model("Single", (album,), length=orm.Integer(), __metadata__=album.__metadata__)
    assert list(single.fields) == ["id", "name", "length"]
    assert single.__tablename__ == "single"
    assert single(name="a", length=3).name == "a"
    assert album(name="a").name == "a"


def test_one_field_object_may_serve_two_models():
    name = orm.Text()
    first, second = model("First", name=name), model("Second", title=name)
    assert (first.fields["name"].name, second.fields["title"].name) == ("name", "title")


@pytest.mark.parametrize("name", ["pk", "objects", "fields", "update", "delete", "load", "__x__"])
def test_reserved_names_are_refused_as_fields(name):
    with pytest.raises(orm.ConfigurationError, match=repr(name)):
        model(**{name: orm.Integer()})


@pytest.mark.parametrize("name", ["save", "refresh", "asdict", "keys", "exact", "date", "query"])
def test_newer_names_may_be_fields(name):
    thing = model(**{name: orm.Integer()})
    assert getattr(thing(**{name: 5}), name) == 5


@pytest.mark.parametrize("name", ["a__b", 'a"b', "a b", "a\0b", "", "1a", "é", "a\nb"])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(orm.ConfigurationError):
        model(**{name: orm.Integer()})


@pytest.mark.parametrize("table", ["", "a\0b", 5, None, b"x"])
def test_a_table_name_that_is_none_is_refused(table):
    with pytest.raises((orm.ConfigurationError, TypeError)):
        model(__tablename__=table)


def test_a_model_needs_a_key():
    with pytest.raises(orm.ConfigurationError, match="key"):
        model(id=orm.Integer())


def test_two_models_of_one_name_in_one_metadata():
    metadata = orm.MetaData()
    kept = model(__metadata__=metadata)
    with pytest.raises(orm.ConfigurationError, match="Thing"):
        model(__metadata__=metadata)
    assert kept.__metadata__ is metadata


def test_two_fields_on_one_column():
    with pytest.raises(orm.ConfigurationError, match="'a'"):
        model(a=orm.Integer(), b=orm.Integer(column="a"))


def test_a_model_may_be_defined_again_once_the_first_is_gone():
    metadata = orm.MetaData()
    first = weakref.ref(model(__metadata__=metadata))
    gc.collect()
    assert first() is None
    assert model(__metadata__=metadata)


def test_metadata_is_one_of_two_kinds():
    with pytest.raises(orm.ConfigurationError, match="MetaData"):
        model(__metadata__=5)


def test_without_metadata_there_is_a_default_one():
    class Unnamed(orm.Model):
        id = orm.Integer(primary_key=True)

    assert isinstance(Unnamed.__metadata__, orm.MetaData)


def test_table_arguments():
    thing = model(
        a=orm.Integer(),
        b=orm.Integer(),
        __table_args__=(
            orm.Index("a", "b", name="both", where="a > 0"),
            orm.UniqueConstraint("a", "b"),
            orm.CheckConstraint("a < b", name="order"),
        ),
    )
    assert thing.__pkname__ == "id"


def test_a_single_table_argument_needs_no_tuple():
    assert model(a=orm.Integer(), __table_args__=orm.Index("a"))


def test_a_key_of_several_fields():
    thing = model(
        id=orm.Integer(), a=orm.Integer(), b=orm.Text(), __table_args__=(orm.PrimaryKey("a", "b"),)
    )
    assert thing.__pkname__ is None
    assert thing(a=1, b="x").pk == (1, "x")


@pytest.mark.parametrize(
    "arguments", [5, ("a",), ({"mysql_engine": "x"},), (orm.Index("nope"),), (orm.Integer(),)]
)
def test_table_arguments_that_are_none(arguments):
    with pytest.raises((orm.ConfigurationError, TypeError)):
        model(a=orm.Integer(), __table_args__=arguments)


@pytest.mark.parametrize(
    "make",
    [
        lambda: orm.Index(),
        lambda: orm.Index(5),
        lambda: orm.Index("a", "a"),
        lambda: orm.UniqueConstraint(),
        lambda: orm.PrimaryKey(),
        lambda: orm.CheckConstraint(""),
        lambda: orm.CheckConstraint(5),
        lambda: orm.CheckConstraint("a > 0", name=5),
    ],
)
def test_constraints_that_are_none(make):
    with pytest.raises(orm.ConfigurationError):
        make()


def test_a_foreign_key_to_itself():
    node = model("Node", parent=orm.ForeignKey("self", allow_null=True))
    assert node(parent=None).parent is None
    assert type(node(id=1, parent=node(id=2)).parent) is node


def test_a_foreign_key_by_name_to_a_later_model():
    metadata = orm.MetaData()
    track = model("Track", album=orm.ForeignKey("Album"), __metadata__=metadata)
    album = model("Album", __metadata__=metadata)
    assert isinstance(track(album=5).album, album)


async def test_a_foreign_key_to_a_model_that_is_missing(world):
    thing = world.fields(album=orm.ForeignKey("Nowhere"))
    with pytest.raises(orm.ConfigurationError, match="Nowhere"):
        await thing.objects.all()
    del thing


async def test_a_model_without_database_says_so_at_its_first_use():
    thing = model()
    assert thing(id=1).pk == 1
    with pytest.raises(orm.ConfigurationError, match="'Thing' has no database"):
        await thing.objects.all()


async def test_a_database_that_is_none():
    with pytest.raises(orm.ConfigurationError, match=r"'Thing'.*builtins\.int"):
        await model(__database__=5).objects.all()


async def test_a_url_as_database():
    thing = model(__database__="sqlite:///url.sqlite")
    await orm.create_all(thing.__metadata__, "sqlite:///url.sqlite")
    assert (await thing.objects.create()).pk == 1
    assert await thing.objects.count() == 1


async def test_a_databases_database(folder):
    import databases

    thing = model(__database__=databases.Database("sqlite:///theirs.sqlite"))
    await orm.create_all(thing.__metadata__, thing.__database__)
    assert (await thing.objects.create()).pk == 1
    assert (folder / "theirs.sqlite").exists()


async def test_one_engine_for_one_databases_database():
    import databases

    from orm.database import database_of

    theirs = databases.Database("sqlite:///theirs.sqlite")
    assert database_of(theirs) is database_of(theirs)
    other = databases.Database("sqlite:///theirs.sqlite")
    assert database_of(other) is not database_of(theirs)


def test_the_class_of_a_model_is_documented():
    assert "__tablename__" in orm.Model.__doc__


def test_fields_cannot_be_replaced_on_the_class():
    thing = model(a=orm.Integer())
    with pytest.raises(AttributeError, match="'a'"):
        thing.a = 5
    thing.extra = 5
    assert thing.extra == 5


def test_options_of_a_class_statement_reach_init_subclass():
    seen = []

    class Base(orm.Model):
        __abstract__ = True
        __metadata__ = orm.MetaData()
        id = orm.Integer(primary_key=True)

        def __init_subclass__(cls, flavour=None):
            seen.append((cls.__name__, flavour))

    class Thing(Base, flavour="sweet"):
        pass

    assert seen == [("Thing", "sweet")]
    assert Thing(id=1).pk == 1


def test_a_class_goes_when_nobody_holds_it():
    thing = weakref.ref(model(a=orm.Integer(), parent=orm.ForeignKey("self", allow_null=True)))
    gc.collect()
    assert thing() is None
