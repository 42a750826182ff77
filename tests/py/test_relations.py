"""Loading across foreign keys: joins, NULL keys, aliases, and no N+1."""

import pytest

import orm


def joins(sql):
    return sql.count(" JOIN ")


async def test_select_related_loads_the_relation_in_the_same_query(music):
    await music.fill()
    del music.statements[:]
    tracks = await music.Track.objects.select_related("album").order_by("id")
    assert [track.album.name for track in tracks][:4] == ["Malibu"] * 3 + ["Fantasies"]
    assert type(tracks[0].album) is music.Album
    assert len(music.statements) == 1


async def test_select_related_over_several_levels(music, nothing_sent):
    await music.fill()
    track = await music.Track.objects.select_related("album__publisher").get(title="The Bird")
    with nothing_sent(music):
        assert track.album.name == "Malibu"
        assert track.album.publisher.name == "OBE"


@pytest.mark.parametrize(
    "names",
    [
        ("album", "album__publisher"),
        (["album", "album__publisher"],),
        ("album__publisher", "album"),
    ],
)
async def test_select_related_takes_names_or_a_list_in_any_order(music, names):
    await music.fill()
    track = await music.Track.objects.select_related(*names).get(title="The Bird")
    assert track.album.publisher.name == "OBE"
    assert joins(music.statements[-1]) == 2


async def test_select_related_adds_up(music):
    await music.fill()
    query = music.Track.objects.select_related("album").select_related("album__publisher")
    assert (await query.get(title="The Bird")).album.publisher.name == "OBE"


async def test_a_nullable_relation_is_joined_left_and_loses_no_row(music):
    await music.fill()
    albums = await music.Album.objects.select_related("publisher").order_by("id")
    assert [album.publisher and album.publisher.name for album in albums] == [
        "OBE",
        "Last Gang",
        None,
    ]
    assert "LEFT JOIN" in music.statements[-1].upper().replace("LEFT OUTER", "LEFT")


async def test_a_relation_that_is_never_null_is_joined_inner(music):
    await music.fill()
    await music.Track.objects.select_related("album")
    assert "LEFT" not in music.statements[-1].upper()


@pytest.mark.parametrize("name", ["title", "nope", "album__name", "album__nope", "", "album__"])
async def test_select_related_takes_relations_only(music, name, nothing_sent):
    with nothing_sent(music), pytest.raises(orm.FieldError):
        await music.Track.objects.select_related(name)


@pytest.mark.parametrize("value", [5, None, [5], object()])
def test_select_related_takes_names(music, value):
    with pytest.raises((TypeError, orm.FieldError)):
        music.Track.objects.select_related(value)


async def test_the_same_row_is_one_object_within_a_result(music):
    await music.fill()
    tracks = await music.Track.objects.select_related("album").order_by("id")
    assert tracks[0].album is tracks[1].album
    assert tracks[0].album is not tracks[3].album


# ---- filters across relations


async def test_a_keyword_filter_across_a_relation_loads_it_too(music, nothing_sent):
    await music.fill()
    tracks = await music.Track.objects.filter(album__name="Malibu")
    with nothing_sent(music):
        assert {track.album.name for track in tracks} == {"Malibu"}


async def test_but_not_for_counts(music):
    await music.fill()
    assert await music.Track.objects.filter(album__name="Malibu").count() == 3
    assert '"title"' not in music.statements[-1]


async def test_two_filters_across_one_relation_join_it_once(music):
    await music.fill()
    query = music.Track.objects.filter(album__name="Malibu").filter(album__publisher=1)
    assert await query.count() == 3
    await query
    assert joins(music.statements[-1]) <= 2


async def test_a_filter_on_the_key_needs_no_join(music):
    await music.fill()
    await music.Track.objects.filter(album=1)
    await music.Track.objects.filter(album__pk=1).count()
    await music.Track.objects.filter(album__in=[1, 2]).order_by("album")
    assert [joins(sql) for sql in music.statements[-3:]] == [0, 0, 0]


# ---- shapes of relations


@pytest.fixture
def game(world):
    """Two keys to one model, and a tree."""
    base = world.base()

    class Team(base):
        id = orm.Integer(primary_key=True)
        name = orm.Text()
        rival = orm.ForeignKey("self", allow_null=True)

    class Match(base):
        id = orm.Integer(primary_key=True)
        home = orm.ForeignKey(Team)
        guest = orm.ForeignKey(Team, allow_null=True)

    world.Team, world.Match = Team, Match
    return world


async def test_two_keys_to_one_model(game):
    red = await game.Team.objects.create(name="red")
    blue = await game.Team.objects.create(name="blue")
    await game.Match.objects.create(home=red, guest=blue)
    await game.Match.objects.create(home=blue, guest=red)
    await game.Match.objects.create(home=red)
    matches = await game.Match.objects.select_related("home", "guest").order_by("id")
    assert [(m.home.name, m.guest and m.guest.name) for m in matches] == [
        ("red", "blue"),
        ("blue", "red"),
        ("red", None),
    ]
    found = await game.Match.objects.filter(home__name="red", guest__name="blue")
    assert [match.pk for match in found] == [1]
    found = await game.Match.objects.filter(home__name="red").exclude(guest__name="blue")
    assert [match.pk for match in found] == [3]


async def test_a_relation_to_itself(game):
    first = await game.Team.objects.create(name="first")
    second = await game.Team.objects.create(name="second", rival=first)
    await game.Team.objects.create(name="third", rival=second)
    team = await game.Team.objects.select_related("rival__rival").get(name="third")
    assert team.rival.rival.name == "first"
    assert team.rival.rival.rival is None
    found = await game.Team.objects.filter(rival__rival__name="first")
    assert [team.name for team in found] == ["third"]
    assert await game.Team.objects.filter(rival__name="first").update(name="x") == 1
    assert await game.Team.objects.filter(rival__rival__name="first").delete() == 1


async def test_sibling_relations_give_no_cartesian_product(game):
    teams = await game.Team.objects.bulk_create([{"name": str(n)} for n in range(5)])
    await game.Match.objects.bulk_create([{"home": a, "guest": b} for a in teams for b in teams])
    assert len(await game.Match.objects.select_related("home", "guest")) == 25
    assert await game.Match.objects.filter(home__name="1", guest__name="2").count() == 1


async def test_a_chain_of_keys_that_are_foreign_keys(world):
    base = world.base()

    class User(base):
        id = orm.UUID(primary_key=True)
        name = orm.Text()

    class Profile(base):
        user = orm.OneToOne(User, primary_key=True)
        bio = orm.Text()

    class Visit(base):
        id = orm.Integer(primary_key=True)
        profile = orm.ForeignKey(Profile)

    import uuid

    await world.create()
    user = await User.objects.create(id=uuid.uuid4(), name="u")
    profile = await Profile.objects.create(user=user, bio="b")
    await Visit.objects.create(profile=profile)
    visit = await Visit.objects.select_related("profile__user").get()
    assert (visit.profile.bio, visit.profile.user.name) == ("b", "u")
    assert await Visit.objects.filter(profile__user__name="u").count() == 1
    assert (await Visit.objects.get(profile=profile)).pk == visit.pk


async def test_a_one_to_one_is_unique(world):
    base = world.base()

    class User(base):
        id = orm.Integer(primary_key=True)

    class Profile(base):
        id = orm.Integer(primary_key=True)
        user = orm.OneToOne(User)

    await world.create()
    user = await User.objects.create()
    await Profile.objects.create(user=user)
    with pytest.raises(orm.UniqueViolation):
        await Profile.objects.create(user=user)


# ---- enforced keys and actions


async def test_foreign_keys_are_enforced(music):
    with pytest.raises(orm.ForeignKeyViolation):
        await music.Track.objects.create(album=999, title="x", position=1)
    assert await music.Track.objects.count() == 0


async def test_cascade(music):
    await music.fill()
    await music.malibu.delete()
    assert await music.Track.objects.count() == 2


async def test_no_action_refuses(music):
    await music.fill()
    with pytest.raises(orm.ForeignKeyViolation):
        await music.obe.delete()
    assert await music.Publisher.objects.count() == 2


@pytest.mark.parametrize("action", [orm.SET_NULL, orm.SET_DEFAULT, orm.RESTRICT])
async def test_other_actions(world, action):
    base = world.base()

    class Parent(base):
        id = orm.Integer(primary_key=True)

    class Child(base):
        id = orm.Integer(primary_key=True)
        parent = orm.ForeignKey(Parent, allow_null=True, on_delete=action)

    await world.create()
    parent = await Parent.objects.create()
    await Child.objects.create(parent=parent)
    if action == orm.RESTRICT:
        with pytest.raises(orm.ForeignKeyViolation):
            await parent.delete()
        assert (await Child.objects.get()).parent == parent
    else:
        await parent.delete()
        assert (await Child.objects.get()).parent is None


# ---- no N+1


async def test_the_second_load_from_a_result_loads_the_rest_in_one_query(music):
    await music.fill()
    tracks = await music.Track.objects.order_by("-id")
    del music.statements[:]
    for track in tracks:
        if not hasattr(track.album, "name"):
            await track.album.load()
    assert {track.album.name for track in tracks} == {"Malibu", "Fantasies"}
    assert len(music.statements) <= 2


async def test_many_loads_from_one_result_are_two_queries(music):
    albums = await music.Album.objects.bulk_create([{"name": str(n)} for n in range(50)])
    await music.Track.objects.bulk_create(
        [{"album": album, "title": album.name, "position": 1} for album in albums]
    )
    tracks = await music.Track.objects.order_by("id")
    del music.statements[:]
    for track in tracks:
        await track.album.load()
        assert track.album.name == track.title
    assert len(music.statements) == 2
