/* orm/models.h - plain C structs as models: typed sugar over orm/orm.h (C11, gcc and clang).
 *
 * The member's C type *is* the column's type, and every name and value is checked against the
 * struct: a misspelt field, relation or lookup, a value of the wrong type, a row of the wrong
 * struct or a foreign key to the wrong model do not compile.
 *
 *     typedef struct Album { int64_t id; const char *name; } Album;
 *     typedef struct Track {
 *         int64_t id;
 *         ORM_REF(Album) album;              // {int64_t id; bool has; Album *obj}
 *         const char *title;
 *         ORM_OPT(int32_t) position;         // {int32_t v; bool has}: NULL or a number
 *     } Track;
 *
 *     ORM_MODEL(Album, "album",
 *         ORM_FIELD(Album, id, .primary_key = 1),
 *         ORM_FIELD(Album, name, .max_length = 100));
 *     ORM_MODEL(Track, "track",
 *         ORM_FIELD(Track, id, .primary_key = 1),
 *         ORM_FK(Track, album, Album, .on_delete = ORM_CASCADE),
 *         ORM_FIELD(Track, title, .max_length = 100),
 *         ORM_FIELD(Track, position));
 *
 *     orm_query *q = ORM_FILTER(ORM_FROM(engine, Track),
 *         ORM_IS(Track, title, "The Bird"),
 *         ORM_CMP(Track, position, gte, 1),
 *         ORM_REL(Track, album, name, iexact, "malibu"));
 *
 * Everything here expands to orm/orm.h: what that header says of memory, threads, errors and
 * callbacks holds.  Models are registered with the engine by ORM_CONNECT; the text and related
 * objects of a result live until orm_result_free.
 *
 * MEMBERS    column     member                        NULL is
 *            boolean    bool                          ORM_OPT(bool)
 *            integers   int16_t int32_t int64_t       ORM_OPT(int32_t) …
 *            float      double                        ORM_OPT(double)
 *            text       const char *, char *          a NULL pointer (and .nullable = 1)
 *            text       char[N]: at most N-1 bytes    –
 *            text       orm_str: may hold NUL bytes   ptr NULL (and .nullable = 1)
 *            blob       orm_blob                      ptr NULL (and .nullable = 1)
 *            date …     orm_date orm_time             ORM_OPT(orm_date) …
 *                       orm_datetime orm_datetimetz orm_interval
 *            uuid       orm_uuid                      ORM_OPT(orm_uuid)
 *            decimal    orm_decimal: text, "1.50"     ptr NULL (and .nullable = 1)
 *            json       orm_json: text                ptr NULL (and .nullable = 1)
 *            reference  ORM_REF(M)                    has false (and .nullable = 1)
 *            A NULL or a number that does not fit its member is ORM_EDATA naming the column;
 *            nothing is ever cut.
 *
 * VALUES     text fields take char * and orm_str, integer fields any integer, floats any number,
 *            dates and times their own type, a uuid `const orm_uuid *`, a decimal text or an
 *            integer.  An orm_value made by hand (orm_null(), orm_list(…)) is always accepted.
 *            `in`, `not_in` and `range` take orm_list(values, n); `isnull` a bool; year, month,
 *            day, week_day, hour, minute, second an integer; regex a text.
 *
 * ROWS       ORM_INSERT leaves out an integer key that is 0 and writes the generated one into the
 *            row just before it completes; the row stays untouched until then.
 *
 * MISTAKES   They do not compile, in gcc and in clang.  What the compiler says points at one of
 *            these, in the line where the mistake is: "no member named titel",
 *            "orm_lookup_is_iexat undeclared", "_Generic selector of type Track * is not
 *            compatible" (a row of another struct, or a member that no column fits), or
 *            "orm_value_type_does_not_fit_this_field is not a function".
 */
#ifndef ORM_MODELS_H
#define ORM_MODELS_H

#include <orm/orm.h>

/* ------------------------------------------------------------------------------------------
 * Members
 */

/* A foreign key.  `id` counts when `has` is set; `obj` is NULL until the object was loaded by
 * select_related or orm_load. */
#define ORM_REF(M)       \
    struct {             \
        int64_t id;      \
        bool has;        \
        struct M *obj;   \
    }

/* A member that may be NULL: ORM_OPT(int32_t), ORM_OPT(bool), …  `v` counts when `has` is set.
 * Its column is nullable without saying so. */
#define ORM_OPT(T) orm_opt_##T
#define ORM_OPT_TYPE_(T) \
    typedef struct {     \
        T v;             \
        bool has;        \
    }
ORM_OPT_TYPE_(bool) orm_opt_bool;
ORM_OPT_TYPE_(int16_t) orm_opt_int16_t;
ORM_OPT_TYPE_(int32_t) orm_opt_int32_t;
ORM_OPT_TYPE_(int64_t) orm_opt_int64_t;
ORM_OPT_TYPE_(double) orm_opt_double;
ORM_OPT_TYPE_(orm_date) orm_opt_orm_date;
ORM_OPT_TYPE_(orm_time) orm_opt_orm_time;
ORM_OPT_TYPE_(orm_datetime) orm_opt_orm_datetime;
ORM_OPT_TYPE_(orm_datetimetz) orm_opt_orm_datetimetz;
ORM_OPT_TYPE_(orm_interval) orm_opt_orm_interval;
ORM_OPT_TYPE_(orm_uuid) orm_opt_orm_uuid;

/* Sets a foreign key to the object with that key: ORM_SET_REF(track.album, album.id).  An id that
 * is not 0 counts also without `has`, so that {.album.id = 3} works in an initialiser. */
#define ORM_SET_REF(ref, key) ((ref).id = (key), (ref).has = true)

/* ------------------------------------------------------------------------------------------
 * Models
 */
#define ORM_MEMBER_(T, f) (((T *)0)->f)
#define ORM_COUNT_(a) (sizeof(a) / sizeof((a)[0]))

/* The one table: a member's C type -> its column's type, and the way it lies in the struct (64 is
 * ORM_M_OPT).  A type that is not listed has no column: the compiler names it.  X picks one of
 * the two numbers, so that both come from the same line. */
#define ORM_TYPES_(member, X)                                                         \
    _Generic(&(member),                                                               \
        bool *: X(BOOL, BOOL, 0), int16_t *: X(INT16, INT16, 0),                      \
        int32_t *: X(INT32, INT32, 0), int64_t *: X(INT64, INT64, 0),                 \
        double *: X(FLOAT, DOUBLE, 0), const char **: X(TEXT, CSTR, 0),               \
        char **: X(TEXT, CSTR, 0), orm_str *: X(TEXT, STR, 0),                        \
        char(*)[sizeof(member)]: X(TEXT, CHARS, 0), orm_blob *: X(BLOB, BLOB, 0),     \
        orm_date *: X(DATE, DATE, 0), orm_time *: X(TIME, TIME, 0),                   \
        orm_datetime *: X(DATETIME, DATETIME, 0),                                     \
        orm_datetimetz *: X(DATETIMETZ, DATETIMETZ, 0),                               \
        orm_interval *: X(INTERVAL, INTERVAL, 0), orm_uuid *: X(UUID, UUID, 0),       \
        orm_decimal *: X(DECIMAL, DECIMAL, 0), orm_json *: X(JSON, JSON, 0),          \
        orm_opt_bool *: X(BOOL, BOOL, 64), orm_opt_int16_t *: X(INT16, INT16, 64),    \
        orm_opt_int32_t *: X(INT32, INT32, 64), orm_opt_int64_t *: X(INT64, INT64, 64), \
        orm_opt_double *: X(FLOAT, DOUBLE, 64), orm_opt_orm_date *: X(DATE, DATE, 64), \
        orm_opt_orm_time *: X(TIME, TIME, 64),                                        \
        orm_opt_orm_datetime *: X(DATETIME, DATETIME, 64),                            \
        orm_opt_orm_datetimetz *: X(DATETIMETZ, DATETIMETZ, 64),                      \
        orm_opt_orm_interval *: X(INTERVAL, INTERVAL, 64),                            \
        orm_opt_orm_uuid *: X(UUID, UUID, 64))
#define ORM_COLUMN_TYPE_(type, member, opt) ORM_TYPE_##type
#define ORM_MEMBER_KIND_(type, member, opt) (ORM_M_##member + (opt))

/* One column: the member's name is the field's name, and the column's unless .column says
 * otherwise.  Any further members of orm_field_def may follow:
 *     ORM_FIELD(Track, id, .primary_key = 1)
 *     ORM_FIELD(Track, title, .max_length = 100, .index = 1)
 *     ORM_FIELD(Track, price, .digits = 10, .places = 2)
 * Do not give .name, .type, .member, .offset, .size: they come from the struct. */
#define ORM_FIELD(T, ...) ORM_FIELD_(T, __VA_ARGS__, .check_ = 0)
#define ORM_FIELD_(T, f, ...)                                       \
    {                                                               \
        .name = #f,                                                 \
        .type = ORM_TYPES_(ORM_MEMBER_(T, f), ORM_COLUMN_TYPE_),    \
        .member = ORM_TYPES_(ORM_MEMBER_(T, f), ORM_MEMBER_KIND_),  \
        .offset = (uint32_t)offsetof(T, f),                         \
        .size = (uint32_t)sizeof ORM_MEMBER_(T, f),                 \
        __VA_ARGS__                                                 \
    }

/* A foreign key: a member declared by ORM_REF(Album), and the model that it refers to, which must
 * have been made by ORM_MODEL or declared by ORM_MODEL_DECLARE before:
 *     ORM_FK(Track, album, Album, .on_delete = ORM_CASCADE)
 * The models must be the same: ORM_REF(Album) with ORM_FK(…, Genre) does not compile. */
#define ORM_FK(T, f, ...) ORM_FK_(T, f, __VA_ARGS__, .pad_ = {0})
#define ORM_FK_(T, f, M, ...)                                       \
    {                                                               \
        .name = #f,                                                 \
        .type = ORM_TYPE_REF,                                       \
        .member = ORM_M_REF,                                        \
        .offset = (uint32_t)offsetof(T, f),                         \
        .size = (uint32_t)sizeof ORM_MEMBER_(T, f),                 \
        .target = #M,                                               \
        .target_def = &M##_model,                                   \
        .check_ = _Generic(ORM_MEMBER_(T, f).obj, M * : 0),         \
        __VA_ARGS__                                                 \
    }

/* A model: makes the constant T_model of a struct T with the given table name and columns, at file scope.
 * ORM_MODEL_DECLARE(T) says in another file, or before it, that there is one. */
#define ORM_MODEL_DECLARE(T) extern const orm_model_def T##_model
#define ORM_MODEL(T, table_, ...)                                   \
    ORM_MODEL_DECLARE(T);                                           \
    static const orm_field_def T##_fields_[] = {__VA_ARGS__};       \
    const orm_model_def T##_model = {                               \
        .size = sizeof(orm_model_def),                              \
        .field_size = sizeof(orm_field_def),                        \
        .name = #T,                                                 \
        .table = table_,                                            \
        .struct_size = sizeof(T),                                   \
        .n_fields = ORM_COUNT_(T##_fields_),                        \
        .fields = T##_fields_,                                      \
    }

/* Opens a database and its engine and registers the models:
 *     orm_engine *db; orm_error err;
 *     if (ORM_CONNECT("sqlite:///a.db", &db, &err, &Album_model, &Track_model) < 0) …
 * Every model that a foreign key refers to must be among them. */
#define ORM_CONNECT(url, out, err, ...)                                           \
    orm_connect((url), (const orm_model_def *const[]){__VA_ARGS__},               \
                ORM_COUNT_(((const orm_model_def *const[]){__VA_ARGS__})), (out), (err))

/* ------------------------------------------------------------------------------------------
 * Values, checked against a member's type
 */
static inline orm_value orm_v_int_(int64_t i)
{
    return orm_int(i);
}
static inline orm_value orm_v_kind_(int kind, int64_t i)
{
    orm_value v = orm_int(i);
    v.kind = (uint8_t)kind;
    return v;
}
static inline orm_value orm_v_date_(orm_date d)
{
    return orm_v_kind_(ORM_V_DATE, d.days);
}
static inline orm_value orm_v_time_(orm_time t)
{
    return orm_v_kind_(ORM_V_TIME, t.us);
}
static inline orm_value orm_v_datetime_(orm_datetime t)
{
    return orm_v_kind_(ORM_V_DATETIME, t.us);
}
static inline orm_value orm_v_datetimetz_(orm_datetimetz t)
{
    return orm_v_kind_(ORM_V_DATETIMETZ, t.us);
}
static inline orm_value orm_v_interval_(orm_interval t)
{
    return orm_v_kind_(ORM_V_INTERVAL, t.us);
}
static inline orm_value orm_v_decimal_(orm_decimal d)
{
    return orm_textn(d.ptr, d.len);
}
static inline orm_value orm_v_json_(orm_json j)
{
    return orm_textn(j.ptr, j.len);
}
static inline orm_value orm_v_blob_(orm_blob b)
{
    return orm_bytes(b.ptr, b.len);
}
/* A uuid is copied before the full expression ends: the compound literal lives that long. */
static inline orm_value orm_v_uuid_(const orm_uuid *u)
{
    orm_value v = orm_bytes(u->bytes, sizeof u->bytes);
    v.kind = ORM_V_UUID;
    return v;
}
static inline orm_value orm_v_any_(orm_value v)
{
    return v;
}

/* What the compiler shows when a value does not fit the field: a name that says so, of a type that
 * is never completed, declared and never defined. */
struct orm_value_type_does_not_fit_this_field;
extern const struct orm_value_type_does_not_fit_this_field *orm_value_type_does_not_fit_this_field;
#define ORM_NO_ orm_value_type_does_not_fit_this_field

/* How it works: _Generic over the member's type picks a family, _Generic over the value's type
 * picks the function in that family that boxes it, or ORM_NO_, which cannot be called.  Each
 * family says which values it accepts; an orm_value made by hand is always accepted. */
#define ORM_V_TEXT_(v)                                                                      \
    _Generic((v), char *: orm_text, const char *: orm_text, orm_str: orm_strv,              \
             orm_value: orm_v_any_, default: ORM_NO_)
#define ORM_V_DECIMAL_(v)                                                                   \
    _Generic((v), char *: orm_text, const char *: orm_text, orm_str: orm_strv,              \
             orm_decimal: orm_v_decimal_, int: orm_v_int_, int64_t: orm_v_int_,             \
             orm_value: orm_v_any_, default: ORM_NO_)
#define ORM_V_INT_(v)                                                                       \
    _Generic((v), int16_t: orm_v_int_, int32_t: orm_v_int_, int64_t: orm_v_int_,            \
             uint16_t: orm_v_int_, uint32_t: orm_v_int_, long long: orm_v_int_,             \
             orm_value: orm_v_any_, default: ORM_NO_)
#define ORM_V_FLOAT_(v)                                                                     \
    _Generic((v), int: orm_float, int64_t: orm_float, float: orm_float, double: orm_float,  \
             orm_value: orm_v_any_, default: ORM_NO_)
#define ORM_V_BOOL_(v)                                                                      \
    _Generic((v), bool: orm_bool, int: orm_bool, orm_value: orm_v_any_, default: ORM_NO_)
#define ORM_V_ONE_(v, T, fn) _Generic((v), T: fn, orm_value: orm_v_any_, default: ORM_NO_)

#define ORM_V_FIT_(member, v)                                                               \
    _Generic((member), char *: ORM_V_TEXT_(v), const char *: ORM_V_TEXT_(v),                \
        orm_str: ORM_V_TEXT_(v), orm_decimal: ORM_V_DECIMAL_(v),                            \
        orm_json: ORM_V_ONE_(v, orm_json, orm_v_json_),                                     \
        orm_blob: ORM_V_ONE_(v, orm_blob, orm_v_blob_),                                     \
        bool: ORM_V_BOOL_(v), orm_opt_bool: ORM_V_BOOL_(v),                                 \
        double: ORM_V_FLOAT_(v), orm_opt_double: ORM_V_FLOAT_(v),                           \
        int16_t: ORM_V_INT_(v), orm_opt_int16_t: ORM_V_INT_(v),                             \
        int32_t: ORM_V_INT_(v), orm_opt_int32_t: ORM_V_INT_(v),                             \
        int64_t: ORM_V_INT_(v), orm_opt_int64_t: ORM_V_INT_(v),                             \
        orm_date: ORM_V_ONE_(v, orm_date, orm_v_date_),                                     \
        orm_opt_orm_date: ORM_V_ONE_(v, orm_date, orm_v_date_),                             \
        orm_time: ORM_V_ONE_(v, orm_time, orm_v_time_),                                     \
        orm_opt_orm_time: ORM_V_ONE_(v, orm_time, orm_v_time_),                             \
        orm_datetime: ORM_V_ONE_(v, orm_datetime, orm_v_datetime_),                         \
        orm_opt_orm_datetime: ORM_V_ONE_(v, orm_datetime, orm_v_datetime_),                 \
        orm_datetimetz: ORM_V_ONE_(v, orm_datetimetz, orm_v_datetimetz_),                   \
        orm_opt_orm_datetimetz: ORM_V_ONE_(v, orm_datetimetz, orm_v_datetimetz_),           \
        orm_interval: ORM_V_ONE_(v, orm_interval, orm_v_interval_),                         \
        orm_opt_orm_interval: ORM_V_ONE_(v, orm_interval, orm_v_interval_),                 \
        orm_uuid: ORM_V_ONE_(v, const orm_uuid *, orm_v_uuid_),                             \
        orm_opt_orm_uuid: ORM_V_ONE_(v, const orm_uuid *, orm_v_uuid_))(v)

/* Which value a lookup takes: one of the field's own type (SAME), or always an integer, a text, a
 * bool or a list.  A lookup is added here and in ORM_LOOKUP_MAP. */
#define ORM_LOOKUP_FIT_(lookup, member, v) ORM_FIT_##lookup(member, v)
#define ORM_FIT_SAME_(member, v) ORM_V_FIT_(member, v)
#define ORM_FIT_INT_(member, v) (ORM_V_INT_(v)(v))
#define ORM_FIT_TEXT_(member, v) (ORM_V_TEXT_(v)(v))
#define ORM_FIT_BOOL_(member, v) (ORM_V_BOOL_(v)(v))
#define ORM_FIT_LIST_(member, v) (_Generic((v), orm_value: orm_v_any_, default: ORM_NO_)(v))
/* clang-format off */
#define ORM_FIT_exact ORM_FIT_SAME_
#define ORM_FIT_ne ORM_FIT_SAME_
#define ORM_FIT_gt ORM_FIT_SAME_
#define ORM_FIT_gte ORM_FIT_SAME_
#define ORM_FIT_lt ORM_FIT_SAME_
#define ORM_FIT_lte ORM_FIT_SAME_
#define ORM_FIT_iexact ORM_FIT_SAME_
#define ORM_FIT_contains ORM_FIT_SAME_
#define ORM_FIT_icontains ORM_FIT_SAME_
#define ORM_FIT_startswith ORM_FIT_SAME_
#define ORM_FIT_istartswith ORM_FIT_SAME_
#define ORM_FIT_endswith ORM_FIT_SAME_
#define ORM_FIT_iendswith ORM_FIT_SAME_
#define ORM_FIT_regex ORM_FIT_TEXT_
#define ORM_FIT_iregex ORM_FIT_TEXT_
#define ORM_FIT_in ORM_FIT_LIST_
#define ORM_FIT_not_in ORM_FIT_LIST_
#define ORM_FIT_range ORM_FIT_LIST_
#define ORM_FIT_isnull ORM_FIT_BOOL_
#define ORM_FIT_year ORM_FIT_INT_
#define ORM_FIT_month ORM_FIT_INT_
#define ORM_FIT_day ORM_FIT_INT_
#define ORM_FIT_week_day ORM_FIT_INT_
#define ORM_FIT_hour ORM_FIT_INT_
#define ORM_FIT_minute ORM_FIT_INT_
#define ORM_FIT_second ORM_FIT_INT_
#define ORM_FIT_date(member, v) (ORM_V_ONE_(v, orm_date, orm_v_date_)(v))
#define ORM_FIT_time(member, v) (ORM_V_ONE_(v, orm_time, orm_v_time_)(v))
/* clang-format on */

/* One name for every lookup: a misspelt one is an undeclared `orm_lookup_is_<name>`. */
enum {
#define ORM_LOOKUP_IS_(constant, name) orm_lookup_is_##name = ORM_LOOKUP_##constant,
    ORM_LOOKUP_MAP(ORM_LOOKUP_IS_)
#undef ORM_LOOKUP_IS_
};

/* ------------------------------------------------------------------------------------------
 * Queries
 */
typedef struct orm_keyword {
    const char *path;
    orm_value value;
} orm_keyword;

static inline orm_query *orm_query_keywords_(orm_query *query, const orm_keyword *keywords,
                                             size_t n)
{
    for (size_t i = 0; i < n; i++)
        query = orm_query_where(query, keywords[i].path, keywords[i].value);
    return query;
}

/* field == value, for ORM_FILTER: ORM_IS(Track, title, "The Bird") */
#define ORM_IS(T, f, value_) ORM_CMP(T, f, exact, value_)
/* Any other lookup of orm.h's ORM_LOOKUP_MAP: ORM_CMP(Track, position, gte, 1) */
#define ORM_CMP(T, f, lookup, value_)                                                   \
    {                                                                                   \
        #f "__" #lookup,                                                                \
            ((void)orm_lookup_is_##lookup,                                              \
             ORM_LOOKUP_FIT_(lookup, ORM_MEMBER_(T, f), (value_)))                      \
    }
/* Across a relation: ORM_REL(Track, album, name, iexact, "fantasies") */
#define ORM_REL(T, r, f, lookup, value_)                                                \
    {                                                                                   \
        #r "__" #f "__" #lookup,                                                        \
            ((void)orm_lookup_is_##lookup,                                              \
             ORM_LOOKUP_FIT_(lookup, ORM_MEMBER_(T, r).obj->f, (value_)))               \
    }
/* The key of a relation, without crossing it: ORM_REF_IS(Track, album, 3) compares the column of
 * the foreign key itself, so that no table is joined. */
#define ORM_REF_IS(T, r, key)                                                           \
    {                                                                                   \
        #r, ((void)sizeof ORM_MEMBER_(T, r).obj, ORM_V_INT_(key)(key))                  \
    }
/* The name of a field or relation as text, checked against the struct; for the functions that
 * take names: orm_query_order_by, orm_query_select_related, orm_load, ORM_UPDATE. */
#define ORM_NAME(T, f) ((void)sizeof ORM_MEMBER_(T, f), #f)

/* A query for rows of T; ORM_FILTER narrows it by one or more conditions, all of which must hold.
 * Both are plain orm_query values: the functions of orm.h go on from there. */
#define ORM_FROM(engine, T) orm_query_new(orm_engine_model((engine), &T##_model))
#define ORM_FILTER(query, ...)                                                          \
    orm_query_keywords_((query), (const orm_keyword[]){__VA_ARGS__},                    \
                        ORM_COUNT_(((const orm_keyword[]){__VA_ARGS__})))
/* Both in one: ORM_WHERE(engine, Track, ORM_IS(Track, title, "The Bird")) */
#define ORM_WHERE(engine, T, ...) ORM_FILTER(ORM_FROM(engine, T), __VA_ARGS__)

/* ------------------------------------------------------------------------------------------
 * Rows
 */
/* Operations on one row, by its struct: `row` is a T * (for updates and deletes const T * too). */
#define ORM_INSERT(engine, T, row) \
    orm_insert_row((engine), &T##_model, _Generic((row), T *: (row)))
#define ORM_DELETE(engine, T, row) \
    orm_delete_row((engine), &T##_model, _Generic((row), T *: (row), const T *: (row)))
/* Writes the row with the row's key: ORM_SAVE all fields but the key, ORM_UPDATE those named:
 *     ORM_UPDATE(engine, Track, &t, ORM_NAME(Track, title), ORM_NAME(Track, position))
 * orm_op_number says whether there was such a row: 1 or 0. */
#define ORM_SAVE(engine, T, row)                                                        \
    orm_update_row((engine), &T##_model, _Generic((row), T *: (row), const T *: (row)), \
                   NULL, 0)
#define ORM_UPDATE(engine, T, row, ...)                                                 \
    orm_update_row((engine), &T##_model, _Generic((row), T *: (row), const T *: (row)), \
                   (const char *const[]){__VA_ARGS__},                                  \
                   ORM_COUNT_(((const char *const[]){__VA_ARGS__})))

/* A loop over the rows of a result, in their order; NULL has none: ORM_EACH(Track, t, result) puts(t->title); */
#define ORM_EACH(T, it, result)                                                         \
    for (T *it = orm_result_rows(result), *it##_end_ = it + orm_result_count(result);   \
         it != it##_end_; it++)
/* The only row of a result, or the first of them; NULL when there is none.  It lives as long as the result. */
#define ORM_ONE(T, result) ((T *)(orm_result_count(result) ? orm_result_rows(result) : NULL))

/* ------------------------------------------------------------------------------------------
 * Scopes: what is declared with these ends with its block, so that an early return frees a
 * result, closes an engine, and rolls a transaction back that was not committed:
 *     orm_auto_engine *tx = orm_begin(db, ORM_ISOLATION_DEFAULT, false);
 *     orm_auto_result *rows = NULL;
 */
static inline void orm_result_cleanup_(orm_result **result)
{
    orm_result_free(*result);
}
static inline void orm_engine_cleanup_(orm_engine **engine)
{
    orm_close_engine(*engine);
}
static inline void orm_db_cleanup_(orm_db **db)
{
    orm_close(*db);
}
static inline void orm_query_cleanup_(orm_query **query)
{
    orm_query_unref(*query);
}
#define orm_auto_result ORM_CLEANUP(orm_result_cleanup_) orm_result
#define orm_auto_engine ORM_CLEANUP(orm_engine_cleanup_) orm_engine
#define orm_auto_db ORM_CLEANUP(orm_db_cleanup_) orm_db
#define orm_auto_query ORM_CLEANUP(orm_query_cleanup_) orm_query

#endif
