"""create_all and drop_all: which database they mean."""

import pytest

import orm


def model(name, metadata, database):
    body = {"__metadata__": metadata, "__database__": database, "id": orm.Integer(primary_key=True)}
    return type(orm.Model)(name, (orm.Model,), body)


@pytest.fixture
def metadata():
    return orm.MetaData()


async def test_the_database_of_the_models(world, metadata):
    one = model("One", metadata, world.database)
    two = model("Two", metadata, None)
    await orm.create_all(metadata)
    assert await one.objects.count() == 0
    assert world.tables() == ["one", "two"]
    await orm.drop_all(metadata)
    assert world.tables() == []
    assert two is not None


async def test_the_methods_of_the_metadata(world, metadata):
    one = model("One", metadata, world.database)
    await metadata.create_all()
    assert await one.objects.count() == 0
    await metadata.drop_all()
    with pytest.raises(orm.ProgrammingError):
        await one.objects.count()


async def test_a_url_of_several_models_is_one_database(world, metadata):
    models = [model("One", metadata, world.url), model("Two", metadata, world.url)]
    await orm.create_all(metadata)
    for one in models:
        assert await one.objects.count() == 0


async def test_a_database_that_is_named_is_the_one(world, folder, metadata):
    one = model("One", metadata, f"sqlite:///{folder}/other.db")
    await orm.create_all(metadata, world.database)
    assert world.tables() == ["one"]
    with pytest.raises(orm.ProgrammingError):
        await one.objects.count()


@pytest.mark.parametrize("function", [orm.create_all, orm.drop_all])
def test_without_any_it_is_an_error(function, metadata):
    with pytest.raises(orm.ConfigurationError, match="there are none"):
        function(metadata)
    one = model("One", metadata, None)
    with pytest.raises(orm.ConfigurationError, match=r"__database__.*\('One'\)"):
        function(metadata)
    assert one is not None


def test_with_several_it_names_them(world, metadata):
    models = [
        model("One", metadata, world.database),
        model("Two", metadata, "sqlite:///other.db"),
        model("Three", metadata, world.database),
    ]
    with pytest.raises(orm.ConfigurationError) as caught:
        orm.create_all(metadata)
    assert f"'One', 'Three' use {world.url.partition(':')[0]}://" in str(caught.value)
    assert "'Two' use sqlite:///other.db" in str(caught.value)
    assert len(models) == 3
