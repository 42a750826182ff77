"""typesystem where it is installed: fields, schemas, errors; and ours where it is not."""

import copy
import datetime
import pickle
import subprocess
import sys

import pytest

import orm

typesystem = pytest.importorskip("typesystem")


class Product(orm.Model):
    __metadata__ = orm.MetaData()

    id = orm.Integer(primary_key=True)
    name = orm.String(max_length=10, min_length=2, title="Name")
    text = orm.Text(allow_blank=True)
    rating = orm.Integer(minimum=1, maximum=5)
    in_stock = orm.Boolean(default=False)
    made = orm.DateTime(allow_null=True)
    price = orm.Decimal(10, 2, default=1)
    mail = orm.Email(max_length=50, allow_null=True)
    data = orm.JSON(allow_null=True)
    uid = orm.UUID(allow_null=True)
    changed = orm.DateTime(auto_now=True)


@pytest.fixture
def without(monkeypatch):
    """As if typesystem were not installed."""
    monkeypatch.setitem(sys.modules, "typesystem", None)


VALID = {"name": "shirt", "rating": 3}


# ---- validators


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("id", "Integer"),
        ("name", "String"),
        ("text", "Text"),
        ("in_stock", "Boolean"),
        ("made", "DateTime"),
        ("price", "Decimal"),
        ("mail", "Email" if hasattr(typesystem, "Email") else "String"),
        ("data", "Any"),
        ("uid", "UUID"),
    ],
)
def test_a_validator_is_typesystems_field(name, kind):
    validator = Product.fields[name].validator
    assert isinstance(validator, typesystem.Field)
    assert type(validator) is getattr(typesystem, kind)
    assert Product.fields[name].validator is validator


def test_a_validator_has_the_fields_rules():
    fields = Product.fields
    name, rating = fields["name"].validator, fields["rating"].validator
    assert (name.max_length, name.min_length, name.title) == (10, 2, "Name")
    assert (rating.minimum, rating.maximum, rating.allow_null) == (1, 5, False)
    assert fields["text"].validator.allow_blank
    assert fields["made"].validator.allow_null
    assert fields["mail"].validator.format == "email"
    assert fields["in_stock"].validator.get_default_value() is False
    assert not name.has_default()
    value, error = name.validate_or_error("x" * 11)
    assert value is None
    assert error.messages()[0].text == "Must have no more than 10 characters."


def test_a_validator_of_ours(without):
    field = orm.String(max_length=10)
    assert field.validator is field
    assert field.validator.max_length == 10
    value, error = field.validator.validate_or_error("x" * 11)
    assert (value, str(error)) == (None, "Must have no more than 10 characters.")
    value, error = field.validate_or_error(" x ")
    assert (value, error) == ("x", None)
    assert field.validate_or_error("x")
    assert not field.validate_or_error(5)
    assert "Must be a string." in repr(field.validate_or_error(5))


# ---- fields validate by themselves


@pytest.mark.parametrize(
    ("field", "value", "result"),
    [
        (orm.String(max_length=5), " ab ", "ab"),
        (orm.Integer(), "12", 12),
        (orm.Date(), "2020-01-02", datetime.date(2020, 1, 2)),
        (orm.Boolean(), "on", True),
        (orm.Array(orm.Integer()), ["1"], [1]),
        (orm.String(max_length=5, allow_null=True), None, None),
    ],
)
def test_a_field_validates(field, value, result):
    assert field.validate(value) == result


@pytest.mark.parametrize(
    ("field", "value", "text", "code"),
    [
        (orm.String(max_length=3), "abcd", "Must have no more than 3 characters.", "max_length"),
        (orm.String(max_length=3), None, "May not be null.", "null"),
        (orm.String(max_length=3), "", "Must not be blank.", "blank"),
        (orm.Integer(), "x", "Must be a number.", "type"),
        (orm.Date(), "x", "Must be a valid date format.", "format"),
    ],
)
def test_a_field_refuses(field, value, text, code):
    with pytest.raises(orm.ValidationError) as caught:
        field.validate(value)
    (message,) = caught.value.messages()
    assert (str(caught.value), message.text, message.code) == (text, text, code)
    assert message.index == []


def test_a_foreign_key_validates_to_a_key():
    class Review(orm.Model):
        __metadata__ = orm.MetaData()
        id = orm.Integer(primary_key=True)
        product = orm.ForeignKey(Product)

    field = Review.fields["product"]
    assert field.validate(Product(id=5, **VALID)) == field.validate(5) == 5
    assert field.to is Product
    assert field.expand_relationship(5) == Product(id=5, **VALID)
    assert field.validator.validate(5) == 5


# ---- schemas


def test_a_schema_is_typesystems():
    schema = Product.objects.schema
    if isinstance(schema, type):  # before typesystem 0.3
        assert issubclass(schema, typesystem.Schema)
    else:
        assert isinstance(schema, typesystem.Schema)
    assert list(schema.fields) == list(Product.fields)
    assert schema.fields["name"] is Product.fields["name"].validator
    assert schema is Product.objects.filter(id=1).schema
    assert schema.validate(VALID)["rating"] == 3
    assert isinstance(schema.validate_or_error({}).error, typesystem.ValidationError)
    with pytest.raises(typesystem.ValidationError) as caught:
        schema.validate({"name": "x" * 11})
    assert dict(caught.value) == {
        "name": "Must have no more than 10 characters.",
        "rating": "This field is required.",
    }


def test_a_schema_of_ours(without):
    class Thing(orm.Model):
        __metadata__ = orm.MetaData()
        id = orm.Integer(primary_key=True)
        name = orm.String(max_length=3)
        on = orm.Boolean(default=True)

    schema = Thing.objects.schema
    assert list(schema.fields) == ["id", "name", "on"]
    assert schema.fields["name"].max_length == 3
    assert schema.required == ["name"]
    assert schema.validate({"name": " x ", "more": 1}) == {"name": "x", "on": True}
    value, error = schema.validate_or_error({"name": "abcd"})
    assert (value, dict(error)) == (None, {"name": "Must have no more than 3 characters."})
    assert type(error) is orm.ValidationError


# ---- models validate


def test_a_model_validates_a_mapping():
    product = Product.validate({**VALID, "more": 1})
    assert isinstance(product, Product)
    assert (product.name, product.in_stock, product.price) == ("shirt", False, 1)
    product, error = Product.validate_or_error({"name": "x"})
    assert product is None
    assert error == orm.ValidationError(
        {"name": "Must have at least 2 characters.", "rating": "This field is required."}
    )
    values = Product.make_validator().validate(VALID)
    assert values["rating"] == 3
    assert Product.make_validator().validate_or_error({}).error is not None


@pytest.mark.parametrize("options", [{"strict": True}, {}])
def test_strict_refuses_names_that_are_no_fields(options):
    _, error = Product.validate_or_error({**VALID, "more": 1}, **options)
    assert dict(error or {}) == ({"more": "Invalid property name."} if options else {})
    _, error = Product.make_validator(**options).validate_or_error({**VALID, "more": 1})
    assert bool(error) == bool(options)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "May not be null."), (5, "Must be an object."), ({1: 2}, "All object keys must be ")],
)
def test_what_is_no_mapping_is_refused(value, text):
    with pytest.raises(orm.ValidationError, match=text):
        Product.validate(value)


# ---- errors


def catch(call, *arguments, **options):
    with pytest.raises(typesystem.ValidationError) as caught:
        call(*arguments, **options)
    return caught.value


async def test_errors_are_typesystems_too(music):
    error = catch(Product, name="x" * 11)
    assert isinstance(error, orm.ValidationError)
    assert isinstance(error, TypeError)
    with pytest.raises(typesystem.ValidationError) as caught:
        await music.Album.objects.create()
    assert dict(caught.value) == {"name": "This field is required."}
    (message,) = caught.value.messages()
    assert message == typesystem.Message(
        text="This field is required.", code="required", index=["name"]
    )
    assert caught.value.messages(add_prefix="album")[0].index == ["album", "name"]
    assert str(caught.value) == "{'name': 'This field is required.'}"
    with pytest.raises(typesystem.ValidationError):
        music.Album(name="x").name = "y" * 101


def test_their_classes_are_made_once():
    first, second = catch(Product, rating=9), catch(Product, rating=9)
    assert type(first) is type(second)
    assert type(first).__name__ == "InvalidKeyword"
    assert first == second
    assert hash(first) == hash(second)


@pytest.mark.parametrize(
    "make", [lambda: orm.ValidationError({"a": "b"}), lambda: catch(Product, nope=1)]
)
def test_they_pickle(make):
    error = make()
    again = pickle.loads(pickle.dumps(error))
    assert again == error
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_without_typesystem_they_are_ours(without):
    error = orm.ValidationError({"a": "b"})
    assert type(error) is orm.ValidationError
    assert not isinstance(error, typesystem.ValidationError)


def test_import_orm_does_not_import_typesystem():
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import orm\n"
        "class A(orm.Model):\n"
        "    id = orm.Integer(primary_key=True)\n"
        "    name = orm.String(max_length=2)\n"
        "try:\n    A(name='abc')\nexcept orm.ValidationError as error:\n    print(error['name'])\n"
        "assert 'typesystem' not in sys.modules\n"
        "A.fields['name'].validator\n"
        "assert 'typesystem' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "Must have no more than 2 characters."


# ---- fields are typesystem's too: in encode/orm 0.1 they were


def test_fields_are_instances_of_typesystems_classes():
    for name, kind in [
        ("id", "Integer"),
        ("name", "String"),
        ("text", "Text"),
        ("in_stock", "Boolean"),
        ("made", "DateTime"),
        ("price", "Decimal"),
        ("mail", "String"),
        ("data", "Any"),
        ("uid", "UUID"),
    ]:
        field = Product.fields[name]
        assert isinstance(field, typesystem.Field)
        assert isinstance(field, getattr(typesystem, kind)), name
        assert isinstance(field, orm.fields.ModelField)
        assert field.__class__.__name__ == type(field).__name__
    assert isinstance(Product.fields["mail"], (orm.Email, orm.String))
    assert not isinstance(Product.fields["name"], (typesystem.Integer, orm.Integer, int))
    assert isinstance(orm.ForeignKey(Product), typesystem.Field)


def test_fields_are_copied_and_pickled_beside_typesystem():
    for field in (orm.String(max_length=5, default="x"), orm.Integer(minimum=3), orm.JSON()):
        for again in (copy.copy(field), copy.deepcopy(field), pickle.loads(pickle.dumps(field))):
            assert type(again) is type(field)
            assert vars(again) == vars(field)


def test_a_field_does_not_import_typesystem():
    code = (
        "import sys, orm\n"
        "assert not isinstance(orm.Integer(), orm.String)\n"
        "assert orm.Integer().__class__ is orm.Integer\n"
        "assert 'typesystem' not in sys.modules\n"
        "import typesystem\n"
        "assert isinstance(orm.Integer(), typesystem.Integer)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_validators_default_is_the_fields():
    data = {"a": []}
    field = orm.JSON(default=data)
    assert orm.String(max_length=5, default="x").validator.default == "x"
    assert orm.Text(allow_null=True).validator.default is None
    assert field.validator.default == data
    field.validator.default["a"].append(1)
    assert field.get_default_value() == {"a": []}


def test_a_read_only_field_has_a_read_only_validator():
    field = orm.Integer(read_only=True)
    assert field.read_only is True
    assert orm.Integer().read_only is False
    if hasattr(typesystem.Field(), "read_only"):
        assert field.validator.read_only is True
        assert orm.Integer().validator.read_only is False
