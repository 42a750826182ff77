"""The other end of foreign keys: album.tracks, album.track_set."""

import gc

import pytest

import orm


def tracks_of(world, **options):
    """Album and Track with a foreign key of these options."""
    base = world.base()

    class Album(base):
        id = orm.Integer(primary_key=True)
        name = orm.String(max_length=100, default="x")

    class Track(base):
        id = orm.Integer(primary_key=True)
        album = orm.ForeignKey(Album, **options)

    return Album, Track


async def test_the_default_name(music):
    await music.fill()
    tracks = music.malibu.track_set
    assert type(tracks) is orm.QuerySet
    assert tracks.model_cls is music.Track
    assert [track.title for track in await tracks.order_by("-position")] == [
        "The Waters",
        "Heart don't stand a chance",
        "The Bird",
    ]
    assert await music.loose.track_set.count() == 0
    assert await music.obe.album_set.get() == music.malibu


async def test_it_is_a_queryset_to_refine(music):
    await music.fill()
    assert (await music.malibu.track_set.exclude(position__gt=1).get()).title == "The Bird"
    assert await music.malibu.track_set.filter(album=music.fantasies).count() == 0
    assert await music.malibu.track_set.update(position=9) == 3
    assert await music.Track.objects.filter(position=9).count() == 3


@pytest.mark.parametrize("allow_null", [False, True])
async def test_rows_that_it_creates_refer_to_the_instance(world, allow_null):
    Album, Track = tracks_of(world, related_name="tracks", allow_null=allow_null)
    await world.create()
    album, other = await Album.objects.create(), await Album.objects.create()
    track = await album.tracks.create()
    assert track.album is album
    made = await album.tracks.limit(5).bulk_create([{}, {"id": 50}, Track(), Track(album=other)])
    assert [row.album for row in made] == [album, album, album, other]
    assert await album.tracks.count() == 4
    assert await album.tracks.get_or_create(id=50) == (made[1], False)
    row, created = await album.tracks.get_or_create(id=60)
    assert (row.album, created) == (album, True)
    assert await album.tracks.get_or_create(id=60) == (row, False)
    row, created = await other.tracks.update_or_create({}, id=61)
    assert (row.album, created) == (other, True)
    row = await album.tracks.filter(id__gt=1).create(album=other)
    assert row.album == other
    assert await other.tracks.count() == 3
    assert await Track.objects.filter(album=None).count() == 0


async def test_what_it_gives_is_not_the_callers(world):
    Album, Track = tracks_of(world, related_name="tracks", allow_null=True)
    await world.create()
    album = await Album.objects.create()
    row = {}
    (track,) = await album.tracks.bulk_create([row])
    assert (row, track.album) == ({}, album)
    assert (await Track.objects.create()).album is None


async def test_related_name(world):
    Album, Track = tracks_of(world, related_name="tracks")
    await world.create()
    album, other = await Album.objects.create(), await Album.objects.create()
    track = await Track.objects.create(album=album)
    assert await album.tracks == [track]
    assert await other.tracks == []
    assert not hasattr(Album, "track_set")


async def test_a_sparse_instance_is_enough(music, nothing_sent):
    await music.fill()
    track = await music.Track.objects.get(title="The Bird")
    with nothing_sent(music):
        tracks = track.album.track_set
    assert await tracks.count() == 3


def test_on_the_class_it_is_the_descriptor(music):
    assert isinstance(music.Album.track_set, orm.Reverse)
    assert repr(music.Album.track_set) == "<orm.Reverse of Track.album>"


def test_an_unsaved_instance_says_so(music):
    with pytest.raises(ValueError, match=r"Album\.track_set: the instance is not saved"):
        music.Album(name="x").track_set  # noqa: B018


def test_it_cannot_be_set(music):
    album = music.Album(id=1, name="x")
    with pytest.raises(AttributeError, match="cannot be set"):
        album.track_set = []


async def test_one_to_one_is_a_queryset_as_well(world):
    base = world.base()

    class Person(base):
        id = orm.Integer(primary_key=True)

    class Passport(base):
        id = orm.Integer(primary_key=True)
        person = orm.OneToOne(Person)

    await world.create()
    person = await Person.objects.create()
    passport = await Passport.objects.create(person=person)
    assert await person.passport_set.get() == passport


async def test_a_target_named_by_text_that_comes_later(world):
    base = world.base()

    class Track(base):
        id = orm.Integer(primary_key=True)
        album = orm.ForeignKey("Album", related_name="tracks")

    class Album(base):
        id = orm.Integer(primary_key=True)

    await world.create()
    album = await Album.objects.create()
    track = await Track.objects.create(album=album)
    assert await album.tracks.all() == [track]


async def test_a_target_named_by_text_that_is_there(world):
    base = world.base()

    class Album(base):
        id = orm.Integer(primary_key=True)

    class Track(base):
        id = orm.Integer(primary_key=True)
        album = orm.ForeignKey("Album")

    await world.create()
    album = await Album.objects.create()
    assert await album.track_set.all() == []


async def test_self(world):
    Thing = world.fields(parent=orm.ForeignKey("self", allow_null=True, related_name="children"))
    await world.create()
    root = await Thing.objects.create()
    leaf = await Thing.objects.create(parent=root)
    assert await root.children == [leaf]
    assert await leaf.children == []


async def test_a_key_inherited_from_an_abstract_base(world):
    base = world.base()

    class Album(base):
        id = orm.Integer(primary_key=True)

    class OnAlbum(base):
        __abstract__ = True
        id = orm.Integer(primary_key=True)
        album = orm.ForeignKey(Album)

    class Track(OnAlbum):
        pass

    class Cover(OnAlbum):
        pass

    await world.create()
    album = await Album.objects.create()
    track, cover = await Track.objects.create(album=album), await Cover.objects.create(album=album)
    assert await album.track_set == [track]
    assert await album.cover_set == [cover]
    assert not hasattr(album, "onalbum_set")


def test_a_model_derived_from_the_target_is_another_one(world):
    Album, _ = tracks_of(world)

    class Live(Album):
        pass

    assert not hasattr(Live(id=1), "track_set")

    class Concert(world.base()):
        id = orm.Integer(primary_key=True)
        live = orm.ForeignKey(Live, related_name="track_set")

    assert Live(id=1).track_set.model_cls is Concert
    assert Album(id=1).track_set.model_cls.__name__ == "Track"


@pytest.mark.parametrize("name", ["name", "save", "load", "pk", "objects", "album_set"])
def test_a_related_name_that_is_taken(world, name):
    base = world.base()

    class Album(base):
        id = orm.Integer(primary_key=True)
        name = orm.Text()
        album_set = 5

    with pytest.raises(orm.ConfigurationError) as caught:

        class Track(base):
            id = orm.Integer(primary_key=True)
            album = orm.ForeignKey(Album, related_name=name)

    assert "Track.album" in str(caught.value)
    assert "'Album' has an attribute of that name" in str(caught.value)
    assert repr(name) in str(caught.value)


def test_a_related_name_that_another_key_has(world):
    Album, _ = tracks_of(world, related_name="tracks")
    with pytest.raises(orm.ConfigurationError, match=r"Song.album: related_name 'tracks' is taken"):

        class Song(world.base()):
            id = orm.Integer(primary_key=True)
            album = orm.ForeignKey(Album, related_name="tracks")


def test_one_related_name_for_two_keys(world):
    Album, _ = tracks_of(world)
    with pytest.raises(orm.ConfigurationError, match=r"Song.single: related_name 'songs' is taken"):

        class Song(world.base()):
            id = orm.Integer(primary_key=True)
            album = orm.ForeignKey(Album, related_name="songs")
            single = orm.ForeignKey(Album, related_name="songs")


@pytest.mark.parametrize("name", ["parent", "id", "delete", "own"])
def test_a_related_name_that_the_model_itself_has(world, name):
    with pytest.raises(orm.ConfigurationError, match=name):

        class Thing(world.base()):
            id = orm.Integer(primary_key=True)
            own = 5
            parent = orm.ForeignKey("self", allow_null=True, related_name=name)


def test_a_later_target_that_has_the_related_name(world):
    class Track(world.base()):
        id = orm.Integer(primary_key=True)
        album = orm.ForeignKey("Album", related_name="name")

    with pytest.raises(orm.ConfigurationError, match=r"Track.album: related_name 'name'.*'Album'"):

        class Album(world.base()):
            id = orm.Integer(primary_key=True)
            name = orm.Text()

    assert Track.album is not None


def test_a_default_name_that_is_taken_stays_what_it_is(world):
    base = world.base()

    class Album(base):
        id = orm.Integer(primary_key=True)
        track_set = orm.Text()

    class Track(base):
        id = orm.Integer(primary_key=True)
        album = orm.ForeignKey(Album)
        other = orm.ForeignKey(Album)

    assert Album.track_set is Album.fields["track_set"]
    assert Album(track_set="x").track_set == "x"


async def test_the_first_of_two_keys_has_the_default_name(world):
    base = world.base()

    class Album(base):
        id = orm.Integer(primary_key=True)

    class Track(base):
        id = orm.Integer(primary_key=True)
        album = orm.ForeignKey(Album)
        other = orm.ForeignKey(Album, related_name="others")

    await world.create()
    one, two = await Album.objects.create(), await Album.objects.create()
    track = await Track.objects.create(album=one, other=two)
    assert (await one.track_set, await two.track_set) == ([track], [])
    assert (await one.others, await two.others) == ([], [track])


def test_a_model_that_is_gone_leaves_nothing_behind(world):
    Album, Track = tracks_of(world, related_name="tracks")
    del Track
    gc.collect()
    with pytest.raises(AttributeError):
        Album(id=1).tracks  # noqa: B018

    class Song(world.base()):
        id = orm.Integer(primary_key=True)
        album = orm.ForeignKey(Album, related_name="tracks")

    assert Album(id=1).tracks.model_cls is Song
