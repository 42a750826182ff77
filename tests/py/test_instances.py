"""Instances: construction, sparse ones, how they look, equality, writing back, pickling."""

import copy
import gc
import pickle
import sys
import weakref

import pytest

import orm

# Models that pickle must be found by name.
METADATA = orm.MetaData()


class Label(orm.Model):
    __metadata__ = METADATA
    id = orm.Integer(primary_key=True)
    name = orm.String(max_length=10)


class Record(orm.Model):
    __metadata__ = METADATA
    id = orm.Integer(primary_key=True)
    label = orm.ForeignKey(Label, allow_null=True)
    title = orm.Text(allow_null=True)
    rank = orm.Integer(default=7)


# ---- construction


def test_the_constructor_takes_fields_by_name_and_validates():
    label = Label(id=1, name=" x ")
    assert (label.id, label.name) == (1, "x")


def test_defaults_are_filled_in():
    assert Record(title="a").rank == 7
    assert Record(rank=9).rank == 9


def test_a_missing_field_is_not_set():
    label = Label(id=1)
    assert not hasattr(label, "name")


def test_an_unknown_keyword_is_named():
    with pytest.raises(orm.ValidationError, match="nope") as caught:
        Label(nope=1)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith("'nope' is an invalid keyword argument for Label()")


def test_a_misspelt_keyword_names_the_nearest():
    with pytest.raises(orm.ValidationError, match="'name'"):
        Label(nam="x")


def test_a_bad_value_is_named():
    with pytest.raises(orm.ValidationError) as caught:
        Label(name="x" * 11)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)
    assert dict(caught.value) == {"name": "Must have no more than 10 characters."}
    assert str(caught.value).startswith("Invalid argument 'name' for Label(). Must have no more")


def test_pk_is_an_alias_of_the_key():
    label = Label(pk=5, name="x")
    assert (label.pk, label.id) == (5, 5)
    label.pk = 6
    assert (label.pk, label.id) == (6, 6)


def test_one_mapping_instead_of_keywords():
    assert Label({"id": 1, "name": "x"}).name == "x"


@pytest.mark.parametrize("arguments", [(5,), ({}, {}), ("ab",)])
def test_other_positional_arguments_are_refused(arguments):
    with pytest.raises(TypeError):
        Label(*arguments)


def test_a_foreign_key_takes_an_instance_or_a_key():
    label = Label(id=3, name="x")
    assert Record(label=label).label is label
    assert Record(label=3).label.pk == 3
    assert Record(label=None).label is None


def test_a_foreign_key_refuses_an_instance_of_another_model():
    with pytest.raises(orm.ValidationError, match="Label"):
        Record(label=Record(id=1))


# ---- sparse


def test_a_foreign_key_that_is_not_loaded_is_sparse():
    label = Record(label=3).label
    assert str(label) == repr(label) == "Label(id=3) [sparse]"
    assert label.pk == 3
    assert isinstance(label, Label)
    assert label.__class__ is Label
    assert type(label) is not Label


def test_a_field_of_a_sparse_instance_says_how_to_load_it():
    label = Record(label=3).label
    with pytest.raises(AttributeError, match=r"load\(\)") as caught:
        label.name  # noqa: B018
    assert "name" in str(caught.value)
    assert not hasattr(label, "name")


def test_a_name_that_is_no_field_is_an_ordinary_attribute_error():
    label = Record(label=3).label
    with pytest.raises(AttributeError, match="nope") as caught:
        label.nope  # noqa: B018
    assert "load()" not in str(caught.value)


def test_a_sparse_instance_is_the_same_each_time():
    record = Record(label=3)
    assert record.label is record.label


async def test_load_fills_it_in_place(music):
    await music.fill()
    track = await music.Track.objects.get(title="The Bird")
    album = track.album
    assert str(album) == "Album(id=1) [sparse]"
    await album.load()
    assert track.album is album
    assert album.name == "Malibu"
    assert type(album) is music.Album
    assert str(album) == "Album(id=1, name='Malibu', publisher=Publisher(id=1) [sparse])"


async def test_a_null_foreign_key_reads_as_none(music):
    await music.fill()
    assert (await music.Album.objects.get(name="Loose")).publisher is None


# ---- how they look


def test_str_and_repr_show_the_fields():
    record = Record(id=1, label=2, title="The 'Bird'")
    expected = "Record(id=1, label=Label(id=2) [sparse], title=\"The 'Bird'\", rank=7)"
    assert str(record) == repr(record) == expected


def test_an_unsaved_instance_shows_what_it_has():
    assert "title='a'" in repr(Record(title="a"))


def test_repr_of_a_circle_ends():
    metadata = orm.MetaData()
    body = {"__metadata__": metadata, "id": orm.Integer(primary_key=True)}
    node = type(orm.Model)(
        "Node", (orm.Model,), {**body, "next": orm.ForeignKey("self", allow_null=True)}
    )
    first = node(id=1)
    first.next = node(id=2, next=first)
    assert "Node(id=2" in repr(first)


# ---- equality and hash


def test_equal_keys_of_one_class_are_equal():
    assert Label(id=1, name="a") == Label(id=1, name="b")
    assert Label(id=1) != Label(id=2)
    assert Label(id=1) != Record(id=1)
    assert Label(id=1) != 1


def test_a_sparse_instance_equals_the_loaded_one():
    assert Record(label=3).label == Label(id=3, name="x")
    assert hash(Record(label=3).label) == hash(Label(id=3, name="x"))
    assert len({Record(label=3).label, Label(id=3, name="x")}) == 1


def test_unsaved_instances_are_equal_by_identity_only():
    label = Label(name="a")
    assert label == label
    assert label != Label(name="a")


def test_an_instance_without_key_is_unhashable_and_says_why():
    with pytest.raises(TypeError, match=r"key"):
        hash(Label(name="a"))
    assert hash(Label(id=1)) == hash(Label(id=1))


def test_instances_are_true():
    assert Label()
    assert Record(label=3).label


# ---- mapping


def test_dict_and_asdict():
    record = Record(id=1, label=Label(id=2, name="x"), title="a")
    values = {"id": 1, "label": {"id": 2, "name": "x"}, "title": "a", "rank": 7}
    assert orm.asdict(record) == values
    record.label = 3
    assert orm.asdict(record) == {**values, "label": 3}
    plain = dict(Label(id=1, name="x"))
    assert plain == {"id": 1, "name": "x"}


def test_asdict_has_what_is_set():
    assert orm.asdict(Label(name="x")) == {"name": "x"}
    assert orm.asdict(Record(label=3).label) == {"id": 3}


# ---- attributes


def test_extra_attributes_may_be_set():
    label = Label(id=1)
    label.extra = [1]
    assert label.extra == [1]
    del label.extra
    assert not hasattr(label, "extra")
    assert "extra" not in repr(label)


def test_assignment_validates():
    label = Label(id=1, name="x")
    with pytest.raises(orm.ValidationError):
        label.name = 5
    assert label.name == "x"
    label.name = " y "
    assert label.name == "y"


def test_assigning_a_key_makes_a_sparse_instance():
    record = Record(label=Label(id=1, name="x"))
    record.label = 2
    assert str(record.label) == "Label(id=2) [sparse]"
    record.label = None
    assert record.label is None


def test_the_class_of_an_instance_stays():
    label = Label(id=1)
    with pytest.raises(TypeError):
        label.__class__ = Record
    with pytest.raises(TypeError):
        Record(label=3).label.__class__ = Label


def test_methods_and_properties_of_the_class_work_on_sparse_instances():
    metadata = orm.MetaData()

    class Item(orm.Model):
        __metadata__ = metadata
        id = orm.Integer(primary_key=True)
        name = orm.Text()

        @property
        def slug(self):
            return f"item-{self.pk}"

        def shout(self):
            return self.name.upper()

    class Holder(orm.Model):
        __metadata__ = metadata
        id = orm.Integer(primary_key=True)
        item = orm.ForeignKey(Item)

    item = Holder(item=3).item
    assert item.slug == "item-3"
    with pytest.raises(AttributeError, match="name"):
        item.shout()


def test_a_model_may_have_its_own_init_and_setattr():
    metadata = orm.MetaData()
    seen = []

    class Item(orm.Model):
        __metadata__ = metadata
        id = orm.Integer(primary_key=True)
        name = orm.Text()

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.extra = "made"

        def __setattr__(self, name, value):
            seen.append(name)
            super().__setattr__(name, value)

    item = Item(id=1, name="x")
    assert item.extra == "made"
    item.name = "y"
    assert item.name == "y"
    assert "name" in seen


# ---- pickle, copy, weak references


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    record = Record(id=1, label=Label(id=2, name="x"), title="a")
    record.extra = 5
    twin = pickle.loads(pickle.dumps(record, protocol))
    assert twin == record
    assert type(twin) is Record
    assert orm.asdict(twin) == orm.asdict(record)
    assert twin.extra == 5


def test_pickle_of_a_sparse_instance():
    twin = pickle.loads(pickle.dumps(Record(label=3).label))
    assert str(twin) == "Label(id=3) [sparse]"
    with pytest.raises(AttributeError, match=r"load\(\)"):
        twin.name  # noqa: B018


def test_copies():
    record = Record(id=1, label=Label(id=2, name="x"), title="a")
    shallow, deep = copy.copy(record), copy.deepcopy(record)
    assert orm.asdict(shallow) == orm.asdict(deep) == orm.asdict(record)
    assert shallow.label is record.label
    assert deep.label is not record.label
    shallow.title = "b"
    assert record.title == "a"


def test_weak_references():
    label = Label(id=1)
    watcher = weakref.ref(label)
    assert watcher() is label
    del label
    gc.collect()
    assert watcher() is None


def test_circles_are_collected():
    label = Label(id=1)
    label.me = label
    watcher = weakref.ref(label)
    del label
    gc.collect()
    assert watcher() is None


def test_plain_instances_are_no_work_for_the_collector():
    label = Label(id=1, name="x")
    assert not gc.is_tracked(label)
    label.extra = []
    assert gc.is_tracked(label)


def test_instances_are_small():
    assert sys.getsizeof(Label(id=1, name="x")) <= 96


# ---- writing back


async def test_save_inserts_a_new_instance(music):
    album = music.Album(name="New")
    await album.save()
    assert album.pk == 1
    assert (await music.Album.objects.get()).name == "New"


async def test_save_writes_the_changed_fields_only(music):
    await music.fill()
    track = await music.Track.objects.get(title="The Bird")
    track.position = 9
    await track.save()
    (sql,) = music.statements[-1:]
    assert sql.startswith("UPDATE")
    assert "position" in sql
    assert "title" not in sql
    assert (await music.Track.objects.get(pk=track.pk)).position == 9


async def test_save_without_changes_sends_nothing(music):
    await music.fill()
    track = await music.Track.objects.get(title="The Bird")
    del music.statements[:]
    await track.save()
    assert not any(sql.startswith(("UPDATE", "INSERT")) for sql in music.statements)


async def test_save_of_a_row_that_is_gone(music):
    album = await music.Album.objects.create(name="x")
    await music.Album.objects.delete()
    album.name = "y"
    with pytest.raises(orm.NoMatch):
        await album.save()
    assert await music.Album.objects.count() == 0


async def test_save_with_a_key_of_your_own(music):
    album = music.Album(id=50, name="x")
    await album.save()
    assert (await music.Album.objects.get(pk=50)).name == "x"
    assert album.pk == 50


async def test_update(music):
    await music.fill()
    track = await music.Track.objects.get(title="The Bird")
    track.position = 5
    assert await track.update(title=" New ") is None
    assert track.title == "New"
    stored = await music.Track.objects.get(pk=track.pk)
    assert (stored.title, stored.position) == ("New", 1)


async def test_update_of_a_row_that_is_gone_is_silent(music):
    album = await music.Album.objects.create(name="x")
    await music.Album.objects.delete()
    await album.update(name="y")
    await album.delete()
    assert await music.Album.objects.count() == 0


async def test_update_validates_first_and_changes_nothing(music, nothing_sent):
    album = await music.Album.objects.create(name="x")
    with nothing_sent(music), pytest.raises(orm.ValidationError):
        await album.update(name="x" * 101)
    assert album.name == "x"


async def test_update_of_a_name_that_is_no_field(music, nothing_sent):
    album = await music.Album.objects.create(name="x")
    with nothing_sent(music), pytest.raises((orm.FieldError, orm.ValidationError), match="nam"):
        await album.update(nam="y")


async def test_update_that_fails_leaves_the_instance_as_it_was(music):
    await music.fill()
    track = await music.Track.objects.get(title="The Bird")
    with pytest.raises(orm.ForeignKeyViolation):
        await track.update(album=999, title="New")
    assert track.title == "The Bird"
    assert track.album.pk == music.malibu.pk


async def test_delete(music):
    album = await music.Album.objects.create(name="x")
    assert await album.delete() is None
    assert album.name == "x"
    assert await music.Album.objects.count() == 0


@pytest.mark.parametrize("method", ["load", "refresh"])
async def test_load_and_refresh_read_the_row_again(music, method):
    album = await music.Album.objects.create(name="x")
    await music.Album.objects.update(name="y")
    assert album.name == "x"
    await getattr(album, method)()
    assert album.name == "y"


@pytest.mark.parametrize("method", ["load", "refresh"])
async def test_load_of_a_row_that_is_gone(music, method):
    album = await music.Album.objects.create(name="x")
    await music.Album.objects.delete()
    with pytest.raises(orm.NoMatch):
        await getattr(album, method)()
    assert album.name == "x"


async def test_methods_without_a_key_say_so(music):
    album = music.Album(name="x")
    for operation in ("load", "refresh", "delete"):
        with pytest.raises((orm.Error, AttributeError)):
            await getattr(album, operation)()


async def test_save_and_refresh_where_a_field_has_that_name(world):
    thing = world.fields(save=orm.Integer(), refresh=orm.Integer())
    await world.create()
    instance = thing(save=1, refresh=2)
    await orm.save(instance)
    assert (await thing.objects.get()).save == 1
    instance.save = 5
    await orm.refresh(instance)
    assert instance.save == 1


async def test_auto_now_and_auto_now_add(world):
    import datetime

    thing = world.fields(
        made=orm.DateTime(auto_now_add=True),
        changed=orm.DateTime(auto_now=True),
        day=orm.Date(auto_now=True),
        aware=orm.DateTime(auto_now=True, timezone=True),
        name=orm.Text(default="x"),
    )
    await world.create()
    before = datetime.datetime.now()
    row = await thing.objects.create()
    after = datetime.datetime.now()
    assert before <= row.made <= after
    assert row.day == datetime.date.today() or before.date() != after.date()
    assert row.aware.tzinfo is not None
    made, changed = row.made, row.changed
    await row.update(name="y")
    assert row.made == made
    assert row.changed > changed
    changed = row.changed
    row.name = "z"
    await row.save()
    assert row.changed > changed
    stored = await thing.objects.get()
    assert (stored.made, stored.changed) == (row.made, row.changed)


async def test_an_explicit_value_for_an_auto_now_field_counts(world):
    import datetime

    thing = world.fields(made=orm.DateTime(auto_now=True))
    await world.create()
    moment = datetime.datetime(2000, 1, 1)
    assert (await thing.objects.create(made=moment)).made == moment
    assert (await thing.objects.get()).made == moment
