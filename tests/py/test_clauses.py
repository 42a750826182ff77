"""filter() and exclude() by SQLAlchemy's clauses: known ones, and those that it compiles."""

import datetime
import enum
import uuid
from decimal import Decimal
from types import SimpleNamespace

import pytest

import orm

sqlalchemy = pytest.importorskip("sqlalchemy")
func = sqlalchemy.func


class Mood(enum.Enum):
    GLAD = 1
    SAD = 2


@pytest.fixture
def shop(world):
    """Owners, shops that may have two of them, and what they sell."""
    models = world.metadata = orm.ModelRegistry(database=world.database)

    class Owner(orm.Model):
        registry = models
        tablename = "owners"
        fields = {
            "id": orm.Integer(primary_key=True),
            "name": orm.String(max_length=50),
            "boss": orm.ForeignKey("Owner", allow_null=True),
        }

    class Shop(orm.Model):
        registry = models
        fields = {
            "id": orm.Integer(primary_key=True),
            "name": orm.String(max_length=50, column="Title"),
            "owner": orm.ForeignKey(Owner),
            "heir": orm.ForeignKey(Owner, allow_null=True, related_name="inherits"),
        }

    class Product(orm.Model):
        registry = models
        tablename = "order"
        fields = {
            "id": orm.Integer(primary_key=True),
            "name": orm.String(max_length=50),
            "shop": orm.ForeignKey(Shop),
            "rating": orm.Integer(allow_null=True),
            "price": orm.Decimal(max_digits=20, decimal_places=2, default=Decimal("1.50")),
            "code": orm.UUID(default=uuid.uuid4),
            "made": orm.DateTime(default=datetime.datetime(2020, 1, 2, 3, 4, 5, 6)),
            "sold": orm.Boolean(default=False),
            "mood": orm.Enum(Mood, default=Mood.GLAD),
        }

    async def fill():
        ann = await Owner.objects.create(name="Ann")
        bea = await Owner.objects.create(name="Bea", boss=ann)
        one = await Shop.objects.create(name="One", owner=ann, heir=bea)
        two = await Shop.objects.create(name="Two", owner=bea)
        rows = [
            ("apple", one, 1),
            ("Pear", one, 5),
            ("100%", two, None),
            ("a_b", two, 3),
            ("plum", two, 3),
        ]
        for name, place, rating in rows:
            await Product.objects.create(name=name, shop=place, rating=rating)
        return SimpleNamespace(ann=ann, bea=bea, one=one, two=two)

    return SimpleNamespace(Owner=Owner, Shop=Shop, Product=Product, fill=fill)


async def names(queryset):
    return [row.name for row in await queryset.order_by("id").all()]


ALL = ["apple", "Pear", "100%", "a_b", "plum"]
CLAUSES = {
    "eq": (lambda c: c.name == "Pear", ["Pear"]),
    "ne": (lambda c: c.rating != 3, ["apple", "Pear", "100%"]),
    "gt": (lambda c: c.rating > 3, ["Pear"]),
    "ge": (lambda c: c.rating >= 3, ["Pear", "a_b", "plum"]),
    "lt": (lambda c: c.rating < 3, ["apple"]),
    "reflected": (lambda c: 3 <= c.rating, ["Pear", "a_b", "plum"]),
    "none": (lambda c: c.rating == None, ["100%"]),  # noqa: E711
    "is": (lambda c: c.rating.is_(None), ["100%"]),
    "is_not": (lambda c: c.rating.is_not(None), ["apple", "Pear", "a_b", "plum"]),
    "in": (lambda c: c.rating.in_([1, 5, 9]), ["apple", "Pear"]),
    "in nothing": (lambda c: c.rating.in_([]), []),
    "not_in": (lambda c: c.rating.not_in([3]), ["apple", "Pear", "100%"]),
    "not in": (lambda c: ~c.rating.in_([3]), ["apple", "Pear", "100%"]),
    "between": (lambda c: c.rating.between(2, 4), ["a_b", "plum"]),
    "not between": (lambda c: ~c.rating.between(2, 4), ["apple", "Pear", "100%"]),
    "startswith": (lambda c: c.name.startswith("P"), ["Pear"]),
    "endswith": (lambda c: c.name.endswith("m"), ["plum"]),
    "contains": (lambda c: c.name.contains("pl"), ["apple", "plum"]),
    "not contains": (lambda c: ~c.name.contains("pl"), ["Pear", "100%", "a_b"]),
    "autoescape": (lambda c: c.name.contains("0%", autoescape=True), ["100%"]),
    "own escape": (lambda c: c.name.startswith("a!_", escape="!"), ["a_b"]),
    "wildcard": (lambda c: c.name.startswith("%p_e"), ["apple"]),
    "like": (lambda c: c.name.like("%lu%"), ["plum"]),
    "ilike": (lambda c: c.name.ilike("PE%"), ["Pear"]),
    "and": (lambda c: (c.rating == 3) & (c.name == "plum"), ["plum"]),
    "or": (lambda c: (c.rating == 5) | (c.name == "plum"), ["Pear", "plum"]),
    "nested": (
        lambda c: (c.rating == 3) & ((c.name == "plum") | ~(c.name != "a_b")),
        ["a_b", "plum"],
    ),
    "not or": (lambda c: ~((c.rating > 3) | (c.name == "plum")), ["apple", "100%", "a_b"]),
    "true": (lambda c: sqlalchemy.true(), ALL),
    "false": (lambda c: sqlalchemy.false(), []),
    "boolean": (lambda c: c.sold, []),
    "not boolean": (lambda c: ~c.sold, ALL),
    "is true": (lambda c: c.sold.is_(True), []),
    "is not true": (lambda c: c.sold.is_not(True), ALL),
    "eq false": (lambda c: c.sold == False, ALL),  # noqa: E712
    "function": (lambda c: func.lower(c.name) == "pear", ["Pear"]),
    # SQLAlchemy itself makes `<=` of this one
    "not function": (lambda c: ~(func.abs(c.rating) > 3), ["apple", "a_b", "plum"]),
    "function in": (lambda c: func.lower(c.name).in_(["pear", "plum"]), ["Pear", "plum"]),
    "arithmetic": (lambda c: c.rating * 2 == 10, ["Pear"]),
    "columns": (lambda c: c.rating < c.id, ["a_b", "plum"]),
    "mixed": (lambda c: (c.rating == 3) & (func.length(c.name) > 3), ["plum"]),
    "mixed or": (lambda c: (c.rating == 1) | (func.length(c.name) == 3), ["apple", "a_b"]),
    "text": (lambda c: sqlalchemy.text("rating = :r").bindparams(r=5), ["Pear"]),
    "a colon in a text": (
        lambda c: sqlalchemy.text(r"'a''\:r' <> :r").bindparams(r="x") & (c.rating == 5),
        ["Pear"],
    ),
    "concatenated": (lambda c: (c.name + "!") == "plum!", ["plum"]),
    "case": (
        lambda c: sqlalchemy.case((c.rating > 2, "good"), else_="bad") == "good",
        ["Pear", "a_b", "plum"],
    ),
}


async def test_each_clause(shop):
    await shop.fill()
    wrong = {}
    for name, (make, wanted) in CLAUSES.items():
        clause = make(shop.Product.columns)
        found = await names(shop.Product.objects.filter(clause))
        if found != wanted:
            wrong[name] = found
        assert await shop.Product.objects.filter(clause).count() == len(found)
        assert await shop.Product.objects.filter(clause).exists() is bool(found)
    assert wrong == {}


async def test_not_is_the_exact_complement(shop):
    await shop.fill()
    for name, (make, wanted) in CLAUSES.items():
        if name in ("not or", "text"):
            continue  # SQLAlchemy has no `~` of a text
        negated = sqlalchemy.not_(sqlalchemy.or_(make(shop.Product.columns), func.abs(1) == 2))
        found = await names(shop.Product.objects.filter(negated))
        assert found == [row for row in ALL if row not in wanted], name


async def test_exclude_leaves_clauses_as_they_are(shop):
    """As in encode/orm: only keywords are negated there."""
    await shop.fill()
    c = shop.Product.columns
    assert await names(shop.Product.objects.exclude(c.rating != 3)) == ["apple", "Pear", "100%"]
    found = await names(shop.Product.objects.exclude(c.rating == 3, name="plum"))
    assert found == ["a_b"]


async def test_filter_with_clauses_and_keywords(shop):
    await shop.fill()
    Product = shop.Product
    c = Product.columns
    assert await names(Product.objects.filter(c.rating == 3, c.name != "plum")) == ["a_b"]
    found = Product.objects.filter(c.rating == 3, name="plum", shop__name="Two")
    (row,) = await found.all()
    assert row.shop.name == "Two"  # the keyword loads it, as ever
    assert await names(Product.objects.filter(None)) == ALL
    assert await names(Product.objects.filter(None, name="plum")) == ["plum"]
    parent = Product.objects.filter(c.rating == 3)
    child = parent.filter(func.length(c.name) == 3)
    assert await names(child) == ["a_b"]
    assert await names(parent) == ["a_b", "plum"]


async def test_class_attributes_negate_clauses(world):
    class Thing(world.base()):
        id = orm.Integer(primary_key=True)
        name = orm.String(max_length=9)
        size = orm.Integer(allow_null=True)

    await world.create()
    await Thing.objects.bulk_create([{"name": "a", "size": 1}, {"name": "b"}, {"name": "c"}])
    from orm.alchemy import table_of

    c = table_of(Thing).c
    assert await names(Thing.objects.exclude(c.size == 1)) == ["b", "c"]
    assert await names(Thing.objects.exclude(func.abs(c.size) == 1)) == ["b", "c"]
    assert await names(Thing.objects.exclude(c.size == None, name="b")) == ["a", "c"]  # noqa: E711


# ---- values ------------------------------------------------------------------------------------


async def test_values_are_those_of_the_fields(shop):
    made = await shop.fill()
    Product = shop.Product
    c = Product.columns
    row = await Product.objects.filter(c.name == "plum").get()
    assert await Product.objects.filter(c.code == row.code).get() == row
    assert await Product.objects.filter(c.code.in_([row.code])).get() == row
    assert await Product.objects.filter(c.price == Decimal("1.50")).count() == 5
    assert await Product.objects.filter(c.made == row.made).count() == 5
    assert await Product.objects.filter(c.mood == Mood.GLAD).count() == 5
    assert await Product.objects.filter(c.mood.in_([Mood.SAD])).count() == 0
    assert await Product.objects.filter(c.shop == made.two).count() == 3
    assert await Product.objects.filter(c.shop == made.two.pk).count() == 3


async def test_values_of_compiled_clauses(shop):
    """On their way through SQLAlchemy's types and into our drivers."""
    await shop.fill()
    Product = shop.Product
    c = Product.columns
    row = await Product.objects.filter(c.name == "plum").get()
    for clause in (
        func.coalesce(c.made, c.made) > datetime.datetime(2020, 1, 1),
        func.coalesce(c.made, c.made) == row.made,
        func.coalesce(c.code, c.code) == row.code,
        func.coalesce(c.rating, 3) == 3,
        func.coalesce(c.name, "x") == "plum",
        func.coalesce(c.sold, sqlalchemy.true()) == False,  # noqa: E712
    ):
        found = await names(Product.objects.filter(clause))
        assert "plum" in found, str(clause)


# ---- relations, subqueries, writes -------------------------------------------------------------


async def test_columns_of_related_models(shop):
    made = await shop.fill()
    Product, Shop, Owner = shop.Product, shop.Shop, shop.Owner
    assert await names(Product.objects.filter(Shop.columns.Title == "One")) == ["apple", "Pear"]
    (row,) = await Product.objects.filter(Shop.columns.Title == "One", name="Pear").all()
    assert not hasattr(row.shop, "name")  # a clause never loads
    found = Product.objects.filter(func.lower(Shop.columns.Title) == "one")
    assert await names(found) == ["apple", "Pear"]
    loaded = await found.select_related("shop__owner").get(name="Pear")
    assert loaded.shop.owner.name == "Ann"
    either = (Shop.columns.Title == "One") | (Product.columns.rating == 3)
    assert await names(Product.objects.filter(either)) == ["apple", "Pear", "a_b", "plum"]
    assert await found.count() == 2
    with pytest.raises(orm.FieldError, match="by 'owner' and 'heir': say which"):
        Shop.objects.filter(Owner.columns.name == "Ann")
    with pytest.raises(orm.FieldError, match="no foreign key leads from Owner to Shop"):
        Owner.objects.filter(Shop.columns.Title == "One")
    other = sqlalchemy.table("elsewhere", sqlalchemy.column("x"))
    with pytest.raises(orm.FieldError, match="belongs to no model"):
        Product.objects.filter(other.c.x == 1)
    assert made.one.pk


async def test_subqueries(shop):
    await shop.fill()
    Product, Shop = shop.Product, shop.Shop
    p, s = Product.columns, Shop.columns
    inner = sqlalchemy.select(s.id).where(s.Title == "One")
    assert await names(Product.objects.filter(p.shop.in_(inner))) == ["apple", "Pear"]
    best = sqlalchemy.select(func.max(p.rating)).scalar_subquery()
    assert await names(Product.objects.filter(p.rating == best)) == ["Pear"]
    sells = sqlalchemy.exists().where(p.shop == s.id).where(p.rating == 5)
    assert await names(Shop.objects.filter(sells)) == ["One"]
    assert await names(Shop.objects.filter(~sells)) == ["Two"]
    of_ours = Product.objects.filter(shop__in=Shop.objects.filter(func.lower(s.Title) == "two"))
    assert await names(of_ours) == ["100%", "a_b", "plum"]


async def test_writes(shop):
    await shop.fill()
    Product, Shop = shop.Product, shop.Shop
    c = Product.columns
    assert await Product.objects.filter(func.length(c.name) == 3).update(rating=9) == 1
    assert await names(Product.objects.filter(c.rating == 9)) == ["a_b"]
    assert await Product.objects.filter((c.rating == 9) | (c.name == "plum")).delete() == 2
    assert await Product.objects.filter(func.lower(Shop.columns.Title) == "one").delete() == 2
    assert await names(Product.objects) == ["100%"]
    row, created = await Product.objects.filter(func.abs(c.id) > 0).get_or_create(
        name="100%", defaults={"shop": 1}
    )
    assert (row.name, created) == ("100%", False)


async def test_slices_and_order(shop):
    await shop.fill()
    Product = shop.Product
    query = Product.objects.filter(func.abs(Product.columns.rating) < 9).order_by("-name")
    assert len(await query[1:3].all()) == 2
    assert (await query[1:3].last()).name == (await query[1:3].all())[-1].name
    assert await query[1:3].count() == 2


# ---- what is no clause, and what a clause costs ------------------------------------------------


@pytest.mark.parametrize("thing", ["name", 1, {"name": "x"}, [1], object()])
def test_anything_else_is_a_type_error(shop, thing):
    with pytest.raises(TypeError, match=r"keyword arguments, or SQLAlchemy clauses"):
        shop.Product.objects.filter(thing)
    with pytest.raises(TypeError, match=r"keyword arguments, or SQLAlchemy clauses"):
        shop.Product.objects.exclude(thing)


def test_a_value_of_another_type_is_an_error(shop):
    with pytest.raises(orm.DataError):
        shop.Product.objects.filter(shop.Product.columns.rating == "many")
    control = sqlalchemy.text("rating = '\1'")
    with pytest.raises(orm.FieldError, match="control character"):
        shop.Product.objects.filter(control)


async def test_clauses_share_plans(world, shop):
    """A known clause is the plan of the keyword; a compiled one is planned once."""
    await shop.fill()
    Product = shop.Product
    c = Product.columns
    await Product.objects.filter(rating=1).all()
    before = world.database.stats()["plans_compiled"]
    await Product.objects.filter(c.rating == 5).all()
    await Product.objects.filter(sqlalchemy.and_(c.rating == 3)).all()
    assert world.database.stats()["plans_compiled"] == before
    for n in range(3):
        await Product.objects.filter(func.abs(c.rating) == n).all()
    assert world.database.stats()["plans_compiled"] == before + 1


def test_many_conditions(shop):
    c = shop.Product.columns
    clause = sqlalchemy.or_(*[c.rating == n for n in range(200)])
    assert shop.Product.objects.filter(clause) is not None
    deep = c.rating == 1
    for n in range(80):
        deep = (deep | (c.rating == n)) & (c.id > n)
    with pytest.raises(orm.QueryTooComplex):
        shop.Product.objects.filter(deep)
