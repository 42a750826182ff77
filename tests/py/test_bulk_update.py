"""QuerySet.bulk_update: fields of many instances, all of them or none."""

import pytest

import orm


async def albums(music):
    return {album.name: album for album in await music.Album.objects.all()}


async def test_it_writes_the_named_fields(music):
    await music.fill()
    rows = list(await music.Track.objects.order_by("id").all())
    for row in rows:
        row.title, row.position = row.title.upper(), row.position + 10
    assert await music.Track.objects.bulk_update(rows, ["title"]) is None
    again = await music.Track.objects.order_by("id").all()
    assert [row.title for row in again] == [row.title for row in rows]
    assert [row.position for row in again] == [1, 2, 3, 1, 2]
    await music.Track.objects.bulk_update(objs=iter(rows), fields=("position", "title"))
    assert [r.position for r in await music.Track.objects.order_by("id")] == [11, 12, 13, 11, 12]
    assert await music.Track.objects.bulk_update([], ["title"]) is None


async def test_more_rows_than_go_at_once(people):
    Person = people.Person
    rows = await Person.objects.bulk_create([{"age": n} for n in range(250)])
    for row in rows:
        row.name = f"n{row.age}"
    await Person.objects.bulk_update(rows, "name")
    assert [row.name for row in await Person.objects.order_by("age")] == [
        f"n{n}" for n in range(250)
    ]


async def test_references(music):
    await music.fill()
    rows = list((await albums(music)).values())
    for row in rows:
        row.publisher = music.obe
    await music.Album.objects.bulk_update(rows, ["publisher"])
    assert await music.Album.objects.filter(publisher=music.obe).count() == 3
    for row in rows:
        row.publisher = None
    await music.Album.objects.bulk_update(rows, ["publisher"])
    assert await music.Album.objects.filter(publisher=None).count() == 3


async def test_all_or_none(world):
    class Tag(world.base()):
        id = orm.Integer(primary_key=True)
        name = orm.String(max_length=9, unique=True)
        size = orm.Integer(default=0)

    await world.create()
    one, two = await Tag.objects.bulk_create([{"name": "a"}, {"name": "b"}])
    one.name, one.size = "c", 5
    two.name = "c"
    with pytest.raises(orm.UniqueViolation):
        await Tag.objects.bulk_update([one, two], ["name", "size"])
    assert [(tag.name, tag.size) for tag in await Tag.objects.order_by("id")] == [
        ("a", 0),
        ("b", 0),
    ]
    await one.save()  # it is still to be written
    assert (await Tag.objects.get(pk=one.pk)).name == "c"


async def test_it_is_part_of_the_transaction_around_it(music):
    await music.fill()
    rows = list((await albums(music)).values())
    for row in rows:
        row.name = "x"
    with pytest.raises(KeyError):
        async with music.database.transaction():
            await music.Album.objects.bulk_update(rows, ["name"])
            assert await music.Album.objects.filter(name="x").count() == 3
            raise KeyError
    assert await music.Album.objects.filter(name="x").count() == 0


async def test_what_it_refuses_before_anything_is_sent(music, nothing_sent):
    await music.fill()
    album = await music.Album.objects.get(name="Malibu")
    track = await music.Track.objects.first()
    with nothing_sent(music):
        for fields in (["nope"], ["id"], ["pk"], ["publisher__name"]):
            with pytest.raises(orm.FieldError, match="has no field"):
                await music.Album.objects.bulk_update([album], fields)
        with pytest.raises(ValueError, match="name of a field"):
            await music.Album.objects.bulk_update([album], [])
        with pytest.raises(TypeError, match="instances of Album"):
            await music.Album.objects.bulk_update([album, {"name": "x"}], ["name"])
        with pytest.raises(ValueError, match="save it first"):
            await music.Album.objects.bulk_update([music.Album(name="new")], ["name"])
        with pytest.raises(AttributeError, match="not loaded"):
            await music.Album.objects.bulk_update([track.album], ["name"])
