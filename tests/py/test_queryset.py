"""Querysets: immutable steps, and what each of the results gives."""

import pytest

import orm


def titles(rows):
    return [row.title for row in rows]


# ---- immutability


STEPS = [
    lambda query: query.filter(title="The Bird"),
    lambda query: query.exclude(title="The Bird"),
    lambda query: query.order_by("-title"),
    lambda query: query.limit(1),
    lambda query: query.offset(1),
    lambda query: query.select_related("album"),
    lambda query: query.search("bird"),
    lambda query: query[1:2],
]


@pytest.mark.parametrize("step", range(len(STEPS)))
async def test_no_step_changes_its_parent(music, step):
    await music.fill()
    parent = music.Track.objects.filter(position__gt=0).order_by("id")
    before = await parent
    child = STEPS[step](parent)
    assert child is not parent
    assert type(child) is type(parent)
    await child
    assert await parent == before
    assert len(before) == 5


async def test_filter_does_not_change_its_parent(music):
    await music.fill()
    everything = music.Track.objects.all
    parent = music.Track.objects.filter(album__name="Fantasies")
    parent.filter(position=1)
    parent.exclude(position=1)
    assert await parent.count() == 2
    assert len(await everything()) == 5


async def test_objects_is_a_fresh_queryset_each_time(music):
    assert music.Track.objects is not music.Track.objects
    assert isinstance(music.Track.objects, orm.QuerySet)
    assert (await music.Track.objects.create(album=await album(music), title="x", position=1)).pk
    track = await music.Track.objects.get()
    assert await track.objects.count() == 1


async def album(music):
    return await music.Album.objects.create(name="a")


# ---- steps


async def test_filter_takes_several_conditions_and_all_must_hold(music):
    await music.fill()
    rows = await music.Track.objects.filter(album__name="Malibu", position__gte=2).order_by("id")
    assert titles(rows) == ["Heart don't stand a chance", "The Waters"]


async def test_filters_after_each_other_must_all_hold(music):
    await music.fill()
    rows = await music.Track.objects.filter(album__name="Malibu").filter(position__gte=2)
    assert len(rows) == 2


async def test_filter_without_conditions_is_everything(music):
    await music.fill()
    assert await music.Track.objects.filter().count() == 5


async def test_exclude_leaves_out_what_matches_all_conditions(music):
    await music.fill()
    rows = await music.Track.objects.exclude(album__name="Malibu", position=1).order_by("id")
    assert len(rows) == 4
    assert "The Bird" not in titles(rows)


async def test_exclude_without_conditions_is_nothing(music):
    """It is what filter() without conditions does not match."""
    await music.fill()
    assert await music.Track.objects.exclude().count() == 0


async def test_order_by(music):
    await music.fill()
    query = music.Track.objects
    assert titles(await query.order_by("title"))[0] == "Heart don't stand a chance"
    assert titles(await query.order_by("-title"))[0] == "The Waters"
    assert titles(await query.order_by("-position", "title"))[0] == "The Waters"
    rows = await query.order_by("album__name", "-position")
    assert titles(rows)[:2] == ["Sick Muse", "Help I'm Alive"]
    assert [row.pk for row in await query.order_by("-pk")] == [5, 4, 3, 2, 1]


async def test_order_by_replaces_the_order_before_and_without_names_ends_it(music):
    await music.fill()
    query = music.Track.objects.order_by("-id")
    assert [row.pk for row in await query.order_by("id")] == [1, 2, 3, 4, 5]
    await query.order_by()
    assert "ORDER BY" not in music.statements[-1]


async def test_limit_and_offset(music):
    await music.fill()
    query = music.Track.objects.order_by("id")

    async def keys(query):
        return [row.pk for row in await query]

    assert await keys(query.limit(2)) == [1, 2]
    assert await keys(query.limit(2).limit(3)) == [1, 2, 3]
    assert await keys(query.offset(3)) == [4, 5]
    assert await keys(query.limit(2).offset(1)) == [2, 3]
    assert await keys(query.offset(9)) == []
    assert await keys(query.limit(0)) == []
    assert await keys(query.limit(2).limit(None)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("order", "statements"), [((), 3), (("id",), 3), (("-pk", "n"), 3), (("n",), 1)]
)
async def test_a_stream_by_the_key_is_read_in_chunks(world, order, statements):
    thing = world.fields(n=orm.Integer())
    await world.create()
    made = await thing.objects.bulk_create({"n": -i} for i in range(2500))
    query = thing.objects.exclude(n=-7).order_by(*order)
    before = len(world.statements)
    found = [row.pk async for row in query]
    reads = [sql for sql in world.statements[before:] if sql.startswith("SELECT")]
    assert len(reads) == statements
    assert found == [row.pk for row in await query]
    assert sorted(found) == [row.pk for row in made if row.n != -7]
    before = len(world.statements)
    async for _ in query:
        break
    assert len([sql for sql in world.statements[before:] if sql.startswith("SELECT")]) == 1


async def test_bulk_create_takes_keys_of_some_rows(world):
    thing = world.fields(n=orm.Integer(), words=orm.Array(orm.Text(), default=list))
    await world.create()
    rows = [{"n": 1}, {"id": 50, "n": 2}, thing(n=3), {"n": 4, "id": 70, "words": ["x"]}, {"n": 5}]
    made = await thing.objects.bulk_create(rows)
    assert [row.n for row in made] == [1, 2, 3, 4, 5]
    assert (made[1].pk, made[3].pk) == (50, 70)
    stored = {row.pk: (row.n, row.words) for row in await thing.objects.all()}
    assert stored == {row.pk: (row.n, row.words) for row in made}
    assert len(stored) == 5
    async with world.database.transaction():
        await thing.objects.bulk_create([{"n": 6}, {"id": 90, "n": 7}])
    with pytest.raises(orm.UniqueViolation):
        await thing.objects.bulk_create([{"n": 8}, {"id": 50, "n": 9}])
    assert await thing.objects.filter(n__gte=6).count() == 2


@pytest.mark.parametrize("step", [2, -1, 0, True, 1.0, "x", 2**70])
def test_a_slice_has_no_step(music, step):
    with pytest.raises(ValueError, match="slice has no step: not"):
        music.Album.objects[0:9:step]


@pytest.mark.parametrize("value", ["1; DROP TABLE track", "1", True, -1, 2**70, 1.5, [1], object()])
@pytest.mark.parametrize("step", ["limit", "offset"])
def test_H21_a_limit_that_is_none(music, step, value):
    with pytest.raises(ValueError, match=step):
        getattr(music.Track.objects, step)(value)


async def test_slices_are_relative_to_each_other(music):
    await music.fill()
    query = music.Track.objects.order_by("id")

    async def keys(query):
        return [row.pk for row in await query]

    assert await keys(query[1:4]) == [2, 3, 4]
    assert await keys(query[1:4][1:]) == [3, 4]
    assert await keys(query[1:4][:2]) == [2, 3]
    assert await keys(query[2:]) == [3, 4, 5]
    assert await keys(query[:2]) == [1, 2]
    assert await keys(query[3:3]) == []
    assert await keys(query[1:2][5:]) == []
    assert await keys(query[:]) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("index", [slice(-1, None), slice(0, -1), slice(0, 4, 2), "a", 1.5])
def test_slices_that_cannot_be(music, index):
    with pytest.raises((ValueError, TypeError)):
        music.Track.objects[index]


async def test_search_looks_into_every_text_field_without_regard_to_case(music):
    await music.fill()
    assert titles(await music.Track.objects.search("BIRD")) == ["The Bird"]
    assert await music.Track.objects.search("don't").count() == 1
    assert await music.Track.objects.search("%").count() == 0
    assert await music.Track.objects.search("_").count() == 0


@pytest.mark.parametrize("term", ["", None])
async def test_search_for_nothing_is_no_condition(music, term):
    await music.fill()
    assert await music.Track.objects.search(term).count() == 5


# ---- results


async def test_all(music):
    await music.fill()
    rows = await music.Track.objects.all()
    assert isinstance(rows, list)
    assert all(type(row) is music.Track for row in rows)
    assert len(await music.Track.objects.all(album__name="Malibu")) == 3


async def test_awaiting_a_queryset_is_all_and_asks_again_each_time(music):
    await music.fill()
    query = music.Track.objects.filter(position=1)
    assert len(await query) == 2
    await music.Track.objects.filter(title="The Bird").delete()
    assert len(await query) == 1


async def test_async_for_streams(music):
    await music.fill()
    seen = []
    async for track in music.Track.objects.order_by("id"):
        seen.append(track.pk)
    assert seen == [1, 2, 3, 4, 5]


async def test_get(music):
    await music.fill()
    assert (await music.Track.objects.get(title="The Bird")).pk == 1
    with pytest.raises(orm.NoMatch):
        await music.Track.objects.get(title="nope")
    with pytest.raises(orm.MultipleMatches):
        await music.Track.objects.get(position=1)
    with pytest.raises(music.Track.DoesNotExist):
        await music.Track.objects.get(pk=99)
    with pytest.raises(music.Track.MultipleObjectsReturned):
        await music.Track.objects.get()


async def test_get_fetches_at_most_two_rows(music):
    await music.fill()
    rows = []
    music.database.on_statement(lambda event: rows.append(event.rows))
    with pytest.raises(orm.MultipleMatches):
        await music.Track.objects.get()
    assert rows[-1] <= 2


async def test_get_respects_the_callers_own_slice(music):
    await music.fill()
    assert (await music.Track.objects.order_by("id").limit(1).get()).pk == 1
    assert (await music.Track.objects.order_by("id")[2:3].get()).pk == 3
    with pytest.raises(orm.NoMatch):
        await music.Track.objects.limit(0).get()


async def test_get_or_none(music):
    await music.fill()
    assert await music.Track.objects.get_or_none(title="nope") is None
    assert (await music.Track.objects.get_or_none(title="The Bird")).pk == 1
    with pytest.raises(orm.MultipleMatches):
        await music.Track.objects.get_or_none(position=1)


async def test_first_and_last(music):
    await music.fill()
    query = music.Track.objects
    assert (await query.first()).pk == 1
    assert (await query.last()).pk == 5
    assert (await query.order_by("title").first()).title == "Heart don't stand a chance"
    assert (await query.order_by("title").last()).title == "The Waters"
    assert (await query.first(album__name="Fantasies")).pk == 4
    assert await query.first(title="nope") is None
    assert await query.last(title="nope") is None
    assert (await query.order_by("id")[1:3].first()).pk == 2
    assert (await query.order_by("id")[1:3].last()).pk == 3


async def test_exists_is_a_real_bool(music):
    await music.fill()
    assert await music.Track.objects.exists() is True
    assert await music.Track.objects.filter(title="nope").exists() is False
    assert await music.Track.objects.limit(0).exists() is False


async def test_count_respects_slices(music):
    await music.fill()
    assert await music.Track.objects.count() == 5
    assert await music.Track.objects.filter(position=1).count() == 2
    assert await music.Track.objects.limit(3).count() == 3
    assert await music.Track.objects.offset(3).count() == 2
    assert await music.Track.objects.limit(0).count() == 0
    assert await music.Track.objects[1:100].count() == 4


# ---- writing


async def test_create_returns_the_instance_with_its_key(music):
    album = await music.Album.objects.create(name=" Malibu ")
    assert (album.pk, album.name, album.publisher) == (1, "Malibu", None)
    assert type(album) is music.Album


async def test_create_takes_an_explicit_key(music):
    assert (await music.Album.objects.create(id=50, name="a")).pk == 50
    assert (await music.Album.objects.create(pk=60, name="b")).pk == 60
    made = 1 if music.kind == "postgresql" else 61  # a sequence does not look at given keys
    assert (await music.Album.objects.create(id=None, name="c")).pk == made
    keys = [row.pk for row in await music.Album.objects.order_by("id")]
    assert keys == sorted([50, 60, made])


async def test_create_keeps_the_related_instance(music):
    album = await music.Album.objects.create(name="a")
    track = await music.Track.objects.create(album=album, title="t", position=1)
    assert track.album is album


async def test_create_takes_the_key_of_a_related_instance(music):
    album = await music.Album.objects.create(name="a")
    track = await music.Track.objects.create(album=album.pk, title="t", position=1)
    assert track.album == album


async def test_create_with_keys_that_are_no_numbers(world):
    thing = world.fields(id=orm.Text(primary_key=True), name=orm.Text())
    await world.create()
    row = await thing.objects.create(id="abc", name="x")
    assert row.pk == "abc"
    assert (await thing.objects.get(pk="abc")).name == "x"


async def test_create_with_a_default_key(world):
    import uuid

    thing = world.fields(id=orm.UUID(primary_key=True, default=uuid.uuid4))
    await world.create()
    row = await thing.objects.create()
    assert (await thing.objects.get(pk=row.pk)) == row


async def test_create_needs_what_has_no_default(music, nothing_sent):
    with nothing_sent(music), pytest.raises(orm.ValidationError) as caught:
        await music.Album.objects.create()
    assert dict(caught.value) == {"name": "This field is required."}


async def test_create_refuses_names_that_are_no_fields(music, nothing_sent):
    with nothing_sent(music), pytest.raises(orm.Error, match="titel"):
        await music.Track.objects.create(titel="x")


async def test_bulk_create_takes_dicts_and_instances(music):
    first = music.Album(name="b")
    rows = await music.Album.objects.bulk_create([{"name": "a"}, first, {"name": "c"}])
    assert [(row.pk, row.name) for row in rows] == [(1, "a"), (2, "b"), (3, "c")]
    assert rows[1] is first
    assert await music.Album.objects.count() == 3


async def test_bulk_create_of_nothing(music):
    assert await music.Album.objects.bulk_create([]) == []


async def test_bulk_create_takes_any_iterable(music):
    rows = await music.Album.objects.bulk_create({"name": str(n)} for n in range(5))
    assert [row.pk for row in rows] == [1, 2, 3, 4, 5]


async def test_bulk_create_is_all_or_nothing(music):
    with pytest.raises(orm.UniqueViolation):
        await music.Album.objects.bulk_create([{"id": n % 700, "name": "a"} for n in range(1, 702)])
    assert await music.Album.objects.count() == 0


async def test_bulk_create_validates_every_row_first(music, nothing_sent):
    with nothing_sent(music), pytest.raises(orm.ValidationError):
        await music.Album.objects.bulk_create([{"name": "a"}, {"name": "x" * 101}])


async def test_update_returns_the_number_of_rows(music):
    await music.fill()
    assert await music.Track.objects.filter(position=1).update(position=10) == 2
    assert await music.Track.objects.filter(position=10).count() == 2
    assert await music.Track.objects.filter(position=99).update(position=1) == 0


async def test_update_across_a_relation_touches_what_the_filter_selects(music):
    await music.fill()
    assert await music.Track.objects.filter(album__name="Malibu").update(position=0) == 3
    rows = await music.Track.objects.order_by("id")
    assert [row.position for row in rows] == [0, 0, 0, 1, 2]


async def test_delete_across_a_relation_touches_what_the_filter_selects(music):
    await music.fill()
    assert await music.Track.objects.filter(album__publisher__name="OBE").delete() == 3
    assert await music.Track.objects.count() == 2


async def test_H16_sliced_update_and_delete_touch_exactly_the_slice(music):
    await music.fill()
    assert await music.Track.objects.order_by("-id")[1:3].update(position=0) == 2
    rows = await music.Track.objects.order_by("id")
    assert [row.position for row in rows] == [1, 2, 0, 0, 2]
    assert await music.Track.objects.order_by("id").limit(1).delete() == 1
    assert [row.pk for row in await music.Track.objects.order_by("id")] == [2, 3, 4, 5]
    assert await music.Track.objects.limit(0).delete() == 0
    assert await music.Track.objects.limit(0).update(position=7) == 0


async def test_update_of_nothing_or_of_unknown_names(music, nothing_sent):
    with nothing_sent(music):
        with pytest.raises((orm.Error, ValueError, TypeError)):
            await music.Track.objects.update()
        with pytest.raises(orm.Error, match="titel"):
            await music.Track.objects.update(titel="x")
        with pytest.raises(orm.ValidationError):
            await music.Track.objects.update(position="x")
        with pytest.raises(orm.ValidationError):
            await music.Track.objects.update(title=None)


async def test_update_sets_a_foreign_key(music):
    await music.fill()
    await music.Album.objects.filter(name="Loose").update(publisher=music.obe)
    assert (await music.Album.objects.get(name="Loose")).publisher == music.obe
    await music.Album.objects.filter(name="Loose").update(publisher=None)
    assert (await music.Album.objects.get(name="Loose")).publisher is None


async def test_delete_everything(music):
    await music.fill()
    assert await music.Track.objects.delete() == 5
    assert await music.Track.objects.count() == 0


async def test_get_or_create(music):
    album, created = await music.Album.objects.get_or_create(name="a")
    assert (created, album.pk) == (True, 1)
    again, created = await music.Album.objects.get_or_create(name="a")
    assert (created, again) == (False, album)
    assert await music.Album.objects.count() == 1


async def test_get_or_create_with_defaults(music):
    await music.fill()
    album, created = await music.Album.objects.get_or_create({"publisher": music.obe}, name="New")
    assert created is True
    assert (await music.Album.objects.get(name="New")).publisher == music.obe
    album, created = await music.Album.objects.get_or_create(defaults={"name": "x"}, name="New")
    assert (created, album.name) == (False, "New")


async def test_get_or_create_of_several(music):
    await music.Album.objects.bulk_create([{"name": "a"}, {"name": "a"}])
    with pytest.raises(orm.MultipleMatches):
        await music.Album.objects.get_or_create(name="a")


async def test_get_or_create_at_once(music):
    import asyncio

    results = await asyncio.gather(
        *(music.Album.objects.get_or_create(name="a") for _ in range(20))
    )
    assert sum(created for _, created in results) == 1
    assert {album.pk for album, _ in results} == {1}
    assert await music.Album.objects.count() == 1


async def test_update_or_create(music):
    await music.fill()
    album, created = await music.Album.objects.update_or_create({"publisher": None}, name="Malibu")
    assert (created, album.publisher) == (False, None)
    assert (await music.Album.objects.get(name="Malibu")).publisher is None
    album, created = await music.Album.objects.update_or_create(
        defaults={"publisher": music.obe}, name="New"
    )
    assert (created, album.publisher) == (True, music.obe)
    assert await music.Album.objects.filter(name="New", publisher=music.obe).count() == 1


async def test_update_or_create_validates_first(music, nothing_sent):
    with nothing_sent(music), pytest.raises(orm.ValidationError):
        await music.Album.objects.update_or_create({"name": "x" * 101}, name="a")


# ---- without await


async def test_a_queryset_answers_without_await(music):
    await music.fill()
    query = music.Track.objects.filter(album__name="Malibu").order_by("id")
    assert len(query) == 3
    assert [track.pk for track in query] == [1, 2, 3]
    assert list(query) == [query[0], query[1], query[2]]
    assert query[2].title == "The Waters"
    with pytest.raises(IndexError):
        query[3]


async def test_it_asks_once_and_keeps_the_result(music):
    await music.fill()
    query = music.Track.objects.order_by("id")
    before = len(music.statements)
    assert len(query) == 5
    assert next(iter(query)) is query[0]
    assert len(music.statements) <= before + 1
    await music.Track.objects.filter(pk=1).delete()
    assert len(query) == 5
    assert len(await query) == 4
    assert len(query.filter()) == 4


async def test_bool_and_repr_ask_nothing(music, nothing_sent):
    with nothing_sent(music):
        assert bool(music.Track.objects.filter(title="nope")) is True
        assert "Track" in repr(music.Track.objects.filter(title="nope"))


def test_without_a_loop_too(music):
    async def prepare():
        await orm.create_all(music.metadata, music.database)
        await music.fill()
        await music.database.disconnect()

    import asyncio

    asyncio.run(prepare())
    assert len(music.Track.objects.filter(album__name__iexact="fantasies")) == 2
    assert [track.position for track in music.Track.objects.filter(album=1).order_by("id")] == [
        1,
        2,
        3,
    ]


def test_the_blocking_forms_raise_what_the_query_raises(music):
    with pytest.raises(orm.NoSuchTable):
        len(music.Track.objects)
    with pytest.raises(orm.NoSuchTable):
        list(music.Track.objects)


async def test_no_blocking_query_warning_on_sqlite(music, recwarn):
    await music.fill()
    assert len(music.Track.objects) == 5
    assert not recwarn.list


# ---- raw SQL and hooks


async def test_raw(music):
    await music.fill()
    sql = music.sql("SELECT * FROM track WHERE position = ? ORDER BY id")
    rows = await music.Track.objects.raw(sql, 1)
    assert [row.pk for row in rows] == [1, 4]
    assert type(rows[0]) is music.Track
    assert rows[0].album.pk == 1


async def test_raw_with_some_columns_leaves_the_others_unset(music):
    await music.fill()
    sql = music.sql("SELECT id, title FROM track WHERE id = ?")
    (row,) = await music.Track.objects.raw(sql, 1)
    assert row.title == "The Bird"
    with pytest.raises(AttributeError, match=r"load\(\)"):
        row.position  # noqa: B018
    await row.load()
    assert row.position == 1


async def test_raw_without_the_key(music):
    await music.fill()
    with pytest.raises(orm.Error, match="id"):
        await music.Track.objects.raw("SELECT title FROM track")


async def test_H14_raw_with_two_statements_runs_none(music):
    await music.fill()
    with pytest.raises(orm.ProgrammingError):
        await music.Track.objects.raw("DELETE FROM track; SELECT * FROM track")
    assert await music.Track.objects.count() == 5


async def test_raw_with_broken_sql(music):
    with pytest.raises(orm.SyntaxError_) as caught:
        await music.Track.objects.raw("SELEKT 1")
    assert caught.value.backend == music.kind
    assert caught.value.sql == "SELEKT 1"


async def test_a_hook_sees_every_statement_with_its_duration(music):
    seen = []
    music.database.on_statement(seen.append)
    await music.fill()
    await music.Track.objects.filter(title="The Bird").all()
    assert len(seen) >= 11
    last = seen[-1]
    assert last.sql.startswith("SELECT")
    assert "The Bird" not in last.sql
    assert 0 < last.seconds < 5
    assert (last.rows, last.params, last.error) == (1, 1, None)


async def test_a_hook_sees_statements_that_fail(music):
    seen = []
    music.database.on_statement(seen.append)
    with pytest.raises(orm.UniqueViolation):
        for _ in range(2):
            await music.Album.objects.create(id=1, name="a")
    assert [event.error for event in seen if event.error] != []


async def test_a_queryset_class_of_your_own(music):
    class Mine(orm.QuerySet):
        def malibu(self):
            return self.filter(album__name="Malibu")

    assert issubclass(Mine, orm.QuerySet)


# ---- tables


async def test_create_all_twice_and_drop_all(world):
    thing = world.fields(name=orm.Text(index=True))
    await orm.create_all(world.metadata, world.database)
    await thing.objects.create(name="a")
    await world.metadata.create_all(world.database)
    assert await thing.objects.count() == 1
    await world.metadata.drop_all(world.database)
    with pytest.raises(orm.NoSuchTable):
        await thing.objects.count()
    await orm.drop_all(world.metadata, world.database)
    await orm.create_all(world.metadata, world.database)
    assert await thing.objects.count() == 0


async def test_in_memory(folder):
    database = orm.Database("sqlite:///:memory:")
    metadata = orm.MetaData()

    class Thing(orm.Model):
        __metadata__ = metadata
        __database__ = database
        id = orm.Integer(primary_key=True)

    await orm.create_all(metadata, database)
    await Thing.objects.create()
    assert await Thing.objects.count() == 1
    await database.disconnect()
    assert list(folder.iterdir()) == []
