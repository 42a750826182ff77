/* data.h - what the rooms of models, instances and values share beyond core.h.
 *
 *   names     interned strings, made with the module
 *   imports   objects of other modules, imported at first use: `import orm` stays quick
 *   rules     what a field asks of a value
 *   temporal  the one place that touches the C interface of datetime
 */
#ifndef ORM_PY_DATA_H
#define ORM_PY_DATA_H
#include "core.h"

/* ---- module.c ---- */
#define PY_NAMES(X)                                                                            \
    X(pk) X(objects) X(definition) X(__module__) X(__qualname__) X(__getstate__)  \
    X(fields) X(extra) X(saved) X(dirty) X(sparse) X(_name_) X(_member_map_) X(bytes)          \
    X(is_safe) X(schema) X(table) X(comment) X(constraints) X(registry_style)                   \
    X(loads_filtered) X(model_cls)
typedef struct py_names {
#define PY_NAME_MEMBER(name) PyObject *name;
    PY_NAMES(PY_NAME_MEMBER)
#undef PY_NAME_MEMBER
    PyObject *int_;                   /* "int": a word that C keeps for itself */
} py_names;

/* X(constant, module, attribute) */
#define PY_IMPORTS(X)                                     \
    X(DECIMAL, "decimal", "Decimal")                      \
    X(DECIMAL_CONTEXT, "decimal", "Context")              \
    X(UUID, "uuid", "UUID")                               \
    X(SAFE_UUID, "uuid", "SafeUUID")                      \
    X(JSON_DUMPS, "json", "dumps")                        \
    X(JSON_LOADS, "json", "loads")                        \
    X(ENUM, "enum", "Enum")                               \
    X(IPV4, "ipaddress", "IPv4Address")                   \
    X(IPV6, "ipaddress", "IPv6Address")                   \
    X(IP_ADDRESS, "ipaddress", "ip_address")              \
    X(NEW_OBJECT, "copyreg", "__newobj__")                \
    X(DEEPCOPY, "copy", "deepcopy")                       \
    X(NEAREST, "difflib", "get_close_matches")            \
    X(NO_DEFAULT, "orm.fields", "NO_DEFAULT")             \
    X(INVALID_KEYWORD, "orm.exceptions", "InvalidKeyword")    \
    X(TABLE_OF, "orm.alchemy", "table_of")                \
    X(BULK_UPDATE, "orm.bulk", "bulk_update")             \
    X(CLAUSE_TERMS, "orm.clauses", "terms")               \
    X(RESOLVE, "orm.database", "resolve")                 \
    X(UNBOUND, "orm.models", "Unbound")                   \
    X(SCHEMA_OF, "orm.validation", "schema_of")           \
    X(DRIVER_ERROR, "orm.driver_errors", "translate")         \
    X(ROW_TYPE, "orm.records", "row_type")
enum {
#define PY_IMPORT_ENUM(constant, module, attribute) PY_IMPORT_##constant,
    PY_IMPORTS(PY_IMPORT_ENUM)
#undef PY_IMPORT_ENUM
    PY_IMPORT_COUNT
};
typedef struct py_imports {
    PyObject *items[PY_IMPORT_COUNT];
} py_imports;
/* Whether an attribute's name is this interned one; names made at run time are not interned. */
static inline bool py_name_is(PyObject *name, PyObject *interned)
{
    if (name == interned) return true;
    return !PyUnicode_CHECK_INTERNED(name) && PyUnicode_Compare(name, interned) == 0;
}
/* Borrowed; NULL with the exception of the import. */
PyObject *py_import_get(py_state *state, int which);
/* Whether object is of an imported type (or a subclass); asks the object nothing.  -1: error. */
int py_import_check(py_state *state, int which, PyObject *object);

/* ---- errors.c ---- */
int py_errors_init(py_state *state);  /* fills state->exceptions; -1: exception */
/* DataError of one field: "track.title: …", with table and column set.  `model` may be NULL.
 * What exception was set before is forgotten.  Returns -1. */
int py_error_data(py_state *state, const py_model *model, const py_field *field,
                  const char *format, ...);
/* ValidationError {name: text}.  Steals text.  Returns -1. */
int py_error_field(py_state *state, PyObject *name, PyObject *text);
/* What a constructor raises: ValidationError {name: text} that is a TypeError too and shows
 * `sentence`.  Steals text and sentence (NULL: an exception is set already).  Returns -1. */
int py_error_argument(py_state *state, PyObject *name, PyObject *text, PyObject *sentence);

/* ---- model.c ---- */
typedef struct py_model_class {       /* a class made by ModelType */
    PyHeapTypeObject heap;
    py_model *model;                  /* NULL: abstract */
    bool owns;                        /* false in hidden subclasses, which borrow the model */
} py_model_class;
/* The model of an instance.  Only classes with a model have instances. */
static inline py_model *py_model_get(const py_instance *self)
{
    return ((py_model_class *)Py_TYPE((PyObject *)self))->model;
}
PyObject *py_model_type_make(PyTypeObject *metatype, PyObject *args, PyObject *kwargs); /* tp_new */
/* The hidden subclass, made at its first use.  Borrowed; NULL: exception. */
PyTypeObject *py_model_sparse(py_model *model);
PyObject *py_model_name(const py_model *model); /* borrowed str: the class's name */
/* The model behind a core model; NULL without exception when its class is gone. */
py_model *py_model_of_core(const orm_model *model);
/* Whether rows of it, with whatever is joined, run Python code while they are decoded.
 * -1: exception. */
int py_model_reaches_python(py_model *model);
/* The key field of a reference's target, and its model.  NULL: exception. */
py_field *py_model_target(py_model *model, py_field *field, py_model **target);

typedef struct py_schema {
    PyObject_HEAD
    orm_schema *schema;
} py_schema;

typedef struct py_reference {         /* the descriptor of a foreign key */
    PyObject_HEAD
    PyTypeObject *type;               /* strong: whose field it is */
    Py_ssize_t index;
} py_reference;
PyObject *py_reference_new(py_model *model, Py_ssize_t index); /* reference.c */

/* ---- instance.c ---- */
extern PyType_Spec py_sparse_spec;    /* what hidden subclasses mix in */
/* Slots of classes that hold instances; set on every class directly, since a class statement
 * fills in the generic ones. */
void py_instance_set_slots(PyTypeObject *type);
PyObject *py_instance_make(PyTypeObject *type, PyObject *args, PyObject *kwargs); /* tp_new */
int py_instance_init(PyObject *self, PyObject *args, PyObject *kwargs);
int py_instance_set_attribute(PyObject *self, PyObject *name, PyObject *value);
/* Stores a valid value (stolen) and marks the field dirty. */
void py_instance_put(py_instance *self, py_model *model, Py_ssize_t field, PyObject *value);
/* Makes it of the class that fits: hidden while a field is not set, else the model's own. */
int py_instance_settle(py_instance *self, py_model *model);
bool py_instance_check(py_state *state, PyObject *object);
/* The key, or NULL without exception while it is not set (or None); new reference. */
PyObject *py_instance_find_key(py_instance *self, py_model *model);
/* Whether it stands for no row, as a reference that is NULL reads in the registry's style. */
bool py_instance_is_absent(const py_instance *self, const py_model *model);
/* The field's value as Python code would read it; new reference; NULL: not set, or exception. */
PyObject *py_instance_read(py_instance *self, py_model *model, Py_ssize_t field);

/* ---- write.c ---- */
/* with_given(queryset, values): the same queryset; rows that it creates have these values. */
PyObject *py_queryset_with_given(PyObject *module, PyObject *args);
/* new_row(model, values): an instance as create() makes it, not yet written. */
PyObject *py_write_new_row(PyObject *module, PyObject *args);

/* ---- face.c: how an instance looks ---- */
extern PyMethodDef py_instance_methods[];
PyObject *py_instance_repr(PyObject *self);
PyObject *py_instance_str(PyObject *self);
PyObject *py_instance_compare(PyObject *self, PyObject *other, int op);
Py_hash_t py_instance_hash(PyObject *self);
Py_ssize_t py_instance_length(PyObject *self);
int py_instance_truth(PyObject *self);
PyObject *py_instance_item(PyObject *self, PyObject *name);
int py_instance_contains(PyObject *self, PyObject *name);
PyObject *py_instance_iterate(PyObject *self);
PyObject *py_instance_asdict(PyObject *module, PyObject *instance);

/* ---- field.c ---- */
typedef struct py_rules {
    PyObject *search;                 /* the pattern's search method */
    PyObject *pattern_text;
    PyObject *choices;                /* tuple */
    PyObject *minimum, *maximum, *exclusive_minimum, *exclusive_maximum;
    PyObject *multiple_of, *precision;
    PyObject *enum_class;
    PyObject *enum_members;           /* dict: name -> member */
    PyObject *converter;
    PyObject *checker;                /* stands in for all rules; or NULL */
    py_field *item;                   /* arrays */
    Py_ssize_t max_length, min_length;/* -1: none */
    long max_digits, decimal_places;  /* -1: none */
    bool allow_blank, trim;
    bool plain;                       /* nothing beyond the type is asked */
} py_rules;
int py_field_init(py_state *state, py_field *self, PyObject *object, uint16_t index);
void py_field_dispose(py_field *self);
int py_field_traverse(py_field *self, visitproc visit, void *arg);
/* validate(field, value): the value by the rules of a Field that needs no model. */
PyObject *py_field_check(PyObject *module, PyObject *args);
/* Adds the model to its schema: self->model.  -1: ConfigurationError. */
int py_field_define(py_model *model, PyObject *definition);

/* ---- coerce.c ---- */
/* The value as the field's Python type, no rules asked.  NULL with *message (new str), or with
 * an exception. */
PyObject *py_field_coerce(py_state *state, py_field *field, PyObject *value, PyObject **message);
PyObject *py_text_exact(PyObject *text);    /* str subclasses: their real value; new reference */
PyObject *py_integer_exact(PyObject *number);
/* Sets *message to a new str; returns NULL. */
PyObject *py_refuse(PyObject **message, const char *text);

/* ---- temporal.c ---- */
int py_temporal_init(void);           /* -1: exception */
/* ORM_V_DATE, TIME, DATETIME (naive or aware) or INTERVAL; 0: none of them. */
int py_temporal_kind(PyObject *object);
int64_t py_date_days(PyObject *date);                 /* of datetimes too */
/* Microseconds since midnight; -1: it has a time zone (no exception). */
int64_t py_time_us(PyObject *time);
/* Naive: *us as on its clock, returns 0.  Aware: *us in UTC, returns 1.  -1: exception. */
int py_datetime_us(PyObject *datetime, int64_t *us);
bool py_interval_us(PyObject *delta, int64_t *us);    /* false: beyond 64 bits */
PyObject *py_date_new(int64_t days);
PyObject *py_time_new(int64_t us);
PyObject *py_datetime_new(int64_t us, bool utc);
PyObject *py_interval_new(int64_t us);
PyObject *py_date_of_datetime(PyObject *datetime);
/* The present: a date, or a datetime, naive local or aware in UTC. */
PyObject *py_temporal_now(int type /* orm_type */);
/* Text -> object of type ORM_TYPE_DATE, TIME, DATETIME; NULL with *message or an exception. */
PyObject *py_temporal_parse(int type, PyObject *text, PyObject **message);
#define PY_US_PER_DAY 86400000000ll

/* ---- cells.c ---- */
PyObject *py_text_new(const void *bytes, size_t len); /* UnicodeDecodeError */

/* ---- convert.c ---- */
/* DataError "expected …, not <type>".  Returns -1. */
int py_value_refuse(py_state *state, const py_model *model, const py_field *field,
                    const char *expected, PyObject *object);
/* The key of an instance that stands for it; its model must be `expected`.  New reference. */
PyObject *py_value_key(py_state *state, const py_model *owner, const py_field *field,
                       py_model *expected, PyObject *object);
static inline void py_value_release_object(void *owner)
{
    Py_DECREF((PyObject *)owner);
}
/* The value keeps `owner` (stolen) until it is released. */
static inline void py_value_own(orm_value *value, PyObject *owner)
{
    value->release = py_value_release_object;
    value->owner = owner;
}
#endif
