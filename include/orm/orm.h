/* orm/orm.h - the C interface of liborm.
 *
 * One engine, two faces: this header is the ABI (opaque handles, plain structs, plain
 * functions; C99 and C++11), orm/models.h is typed sugar over it for C programs.
 *
 * THREADS   An orm_schema and an orm_db may be shared between threads.  An orm_engine, and
 *           every transaction, operation and query being built on it, belongs to the thread
 *           that first used it; elsewhere its functions answer ORM_EMISUSE.  A finished
 *           orm_result may move to another thread.
 * MEMORY    `new/open` makes, `free/close/unref` ends; every one of them accepts NULL.
 *           A call that "takes" an argument owns it from then on, also when it fails.
 *           Text and bytes are <pointer, length>; the library copies what it keeps unless the
 *           value carries a release function (see orm_value).
 * ERRORS    Functions that can fail return orm_status and fill the caller's orm_error (NULL is
 *           allowed).  Queries carry a sticky error and may be chained without looking; the
 *           finisher reports it.  An operation is never NULL.
 * ASYNC     The library owns no event loop.  It calls back only inside orm_process, orm_wait
 *           and orm_await, on the caller's thread.  orm_fd is readable when orm_process has
 *           something to do.
 * TX        A transaction is an orm_engine handle too: the same calls work on both.
 *           orm_close_engine on an open transaction rolls it back.
 * CANCEL    orm_cancel ends an operation's statement; dropping it (orm_op_free) detaches it.
 */
#ifndef ORM_ORM_H
#define ORM_ORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#  define ORM_API __attribute__((visibility("default")))
#  define ORM_NODISCARD __attribute__((warn_unused_result))
#  define ORM_CLEANUP(f) __attribute__((cleanup(f)))
#else
#  define ORM_API
#  define ORM_NODISCARD
#  define ORM_CLEANUP(f)
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define ORM_VERSION "0.1.0"

/* ------------------------------------------------------------------------------------------
 * Status
 *
 * 0 and above: success.  Below 0: the class of an error.  ORM_STATUS_MAP is the one list from
 * which the enum, orm_status_name() and the exceptions of the Python package are made:
 * X(constant, number, name of the exception in the tree).
 */
#define ORM_STATUS_MAP(X)                              \
    X(ORM_OK, 0, "")                                   \
    X(ORM_ROW, 1, "")                                  \
    X(ORM_DONE, 2, "")                                 \
    X(ORM_PENDING, 3, "")                              \
    X(ORM_WANT_READ, 4, "")  /* drivers only */        \
    X(ORM_WANT_WRITE, 5, "") /* drivers only */        \
    X(ORM_ENOMEM, -1, "MemoryError")                   \
    X(ORM_EMISUSE, -2, "InterfaceError")               \
    X(ORM_ECONFIG, -3, "ConfigurationError")           \
    X(ORM_EPOOLCLOSED, -4, "PoolClosed")               \
    X(ORM_ECONNCLOSED, -5, "ConnectionClosed")         \
    X(ORM_ETXCLOSED, -6, "TransactionClosed")          \
    X(ORM_ECONCURRENT, -7, "ConcurrentUse")            \
    X(ORM_EWRONGLOOP, -8, "WrongLoop")                 \
    X(ORM_EFORKED, -9, "ForkedError")                  \
    X(ORM_EDATABASE, -10, "DatabaseError")             \
    X(ORM_EDATA, -11, "DataError")                     \
    X(ORM_EINTEGRITY, -12, "IntegrityError")           \
    X(ORM_EUNIQUE, -13, "UniqueViolation")             \
    X(ORM_EFOREIGNKEY, -14, "ForeignKeyViolation")     \
    X(ORM_ENOTNULL, -15, "NotNullViolation")           \
    X(ORM_ECHECK, -16, "CheckViolation")               \
    X(ORM_EEXCLUSION, -17, "ExclusionViolation")       \
    X(ORM_EOPERATIONAL, -18, "OperationalError")       \
    X(ORM_ECONNECT, -19, "ConnectError")               \
    X(ORM_EAUTH, -20, "AuthError")                     \
    X(ORM_ETLS, -21, "TLSError")                       \
    X(ORM_ECONNLOST, -22, "ConnectionLost")            \
    X(ORM_EPOOLTIMEOUT, -23, "PoolTimeout")            \
    X(ORM_EQUERYTIMEOUT, -24, "QueryTimeout")          \
    X(ORM_ELOCKTIMEOUT, -25, "LockTimeout")            \
    X(ORM_EDEADLOCK, -26, "DeadlockDetected")          \
    X(ORM_ESERIALIZATION, -27, "SerializationFailure") \
    X(ORM_EDISKFULL, -28, "DiskFull")                  \
    X(ORM_ESERVERBUSY, -29, "ServerBusy")              \
    X(ORM_ECANCELLED, -30, "QueryCanceled")            \
    X(ORM_EROLLEDBACK, -31, "TransactionRolledBack")   \
    X(ORM_ECOMMITUNKNOWN, -32, "CommitUnknown")        \
    X(ORM_EPROGRAMMING, -33, "ProgrammingError")       \
    X(ORM_ENOTABLE, -34, "NoSuchTable")                \
    X(ORM_ENOCOLUMN, -35, "NoSuchColumn")              \
    X(ORM_ESYNTAX, -36, "SyntaxError_")                \
    X(ORM_ETOOCOMPLEX, -37, "QueryTooComplex")         \
    X(ORM_ECACHEDSTMT, -38, "CachedStatementInvalid")  \
    X(ORM_EINTERNAL, -39, "InternalError")             \
    X(ORM_ENOTSUPPORTED, -40, "NotSupportedError")     \
    X(ORM_EQUERY, -41, "QueryError")                   \
    X(ORM_ENOMATCH, -42, "NoMatch")                    \
    X(ORM_EMULTIPLE, -43, "MultipleMatches")           \
    X(ORM_EFIELD, -44, "FieldError")                   \
    X(ORM_EVALIDATION, -45, "ValidationError")

typedef enum orm_status {
#define ORM_STATUS_ENUM_(constant, number, exception) constant = number,
    ORM_STATUS_MAP(ORM_STATUS_ENUM_)
#undef ORM_STATUS_ENUM_
} orm_status;

/* "ORM_EUNIQUE" for -13; "ORM_?" for a number that is none.  Static text. */
ORM_API const char *orm_status_name(int status);

/* ------------------------------------------------------------------------------------------
 * Error: by value, 1,024 bytes for ever, filled without allocating.
 */
enum {                                /* orm_error.flags */
    ORM_ERROR_DISCONNECT = 1u << 0,   /* the connection is gone */
    ORM_ERROR_RETRYABLE = 1u << 1     /* running the whole transaction again may succeed */
};
enum {                                /* orm_error.outcome: what became of the statement */
    ORM_OUTCOME_NONE = 0,             /* not sent, or it had no effect */
    ORM_OUTCOME_ROLLED_BACK = 1,      /* its transaction is rolled back */
    ORM_OUTCOME_UNKNOWN = 2           /* it may or may not have taken effect */
};
#define ORM_NAME_BYTES 257            /* 64 characters of at most 4 bytes, and the NUL */

typedef struct orm_error {
    int32_t status;                   /* orm_status; 0 = no error */
    int32_t native;                   /* the backend's own code (SQLite: extended), 0 = none */
    uint16_t flags;                   /* ORM_ERROR_… */
    uint8_t outcome;                  /* ORM_OUTCOME_… */
    char sqlstate[6];                 /* "" unless the backend gave one */
    char backend[11];                 /* "sqlite", "postgresql", "mariadb", "" = this library */
    char table[ORM_NAME_BYTES], column[ORM_NAME_BYTES], constraint[ORM_NAME_BYTES];
    char message[225];                /* one line of UTF-8, no secrets, cut between characters */
} orm_error;

/* ------------------------------------------------------------------------------------------
 * Types, values, cells
 */

/* A column's type.  X(constant, number, name in messages). */
#define ORM_TYPE_MAP(X)                     \
    X(ORM_TYPE_NONE, 0, "none")             \
    X(ORM_TYPE_BOOL, 1, "boolean")          \
    X(ORM_TYPE_INT16, 2, "smallint")        \
    X(ORM_TYPE_INT32, 3, "integer")         \
    X(ORM_TYPE_INT64, 4, "bigint")          \
    X(ORM_TYPE_FLOAT, 5, "float")           \
    X(ORM_TYPE_DECIMAL, 6, "decimal")       \
    X(ORM_TYPE_TEXT, 7, "text")             \
    X(ORM_TYPE_BLOB, 8, "blob")             \
    X(ORM_TYPE_DATE, 9, "date")             \
    X(ORM_TYPE_TIME, 10, "time")            \
    X(ORM_TYPE_DATETIME, 11, "datetime")    \
    X(ORM_TYPE_DATETIMETZ, 12, "datetime with time zone") \
    X(ORM_TYPE_INTERVAL, 13, "interval")    \
    X(ORM_TYPE_UUID, 14, "uuid")            \
    X(ORM_TYPE_JSON, 15, "json")            \
    X(ORM_TYPE_ENUM, 16, "enum")            \
    X(ORM_TYPE_IP, 17, "ip address")        \
    X(ORM_TYPE_ARRAY, 18, "array")          \
    X(ORM_TYPE_REF, 19, "reference") /* a foreign key: stored as its target's key */
typedef enum orm_type {
#define ORM_TYPE_ENUM_(constant, number, name) constant = number,
    ORM_TYPE_MAP(ORM_TYPE_ENUM_)
#undef ORM_TYPE_ENUM_
} orm_type;

typedef struct orm_str {              /* UTF-8, not terminated; ptr NULL = no text */
    const char *ptr;
    size_t len;
} orm_str;

/* What kind of thing a value or cell holds. */
enum {
    ORM_V_NULL = 0,
    ORM_V_BOOL = 1,      /* as.i: 0 or 1 */
    ORM_V_INT = 2,       /* as.i */
    ORM_V_FLOAT = 3,     /* as.f, finite or infinite, never NaN */
    ORM_V_TEXT = 4,      /* as.ptr, len: UTF-8 (also decimals as "1.50", JSON, enum, ip) */
    ORM_V_BLOB = 5,      /* as.ptr, len */
    ORM_V_DATE = 6,      /* as.i: days since 1970-01-01, proleptic Gregorian, years 1..9999 */
    ORM_V_TIME = 7,      /* as.i: microseconds since midnight, 0 <= i < 86,400,000,000 */
    ORM_V_DATETIME = 8,  /* as.i: microseconds since 1970-01-01T00:00:00, no time zone */
    ORM_V_DATETIMETZ = 9,/* as.i: microseconds since the epoch, UTC */
    ORM_V_INTERVAL = 10, /* as.i: microseconds */
    ORM_V_UUID = 11,     /* as.ptr: 16 bytes, len 16 */
    ORM_V_LIST = 12,     /* values only: as.list, len: for `in`, `not_in`, `range` */
    ORM_V_QUERY = 13     /* values only: as.query (taken): a subquery */
};

typedef struct orm_query orm_query;
typedef void (*orm_release_fn)(void *owner);

/* A value on its way into the database.  When `release` is set, the bytes that `as` points at
 * (lists: all of it, their members included) stay valid until release(owner) is called, exactly
 * once, on the engine's thread; without it the bytes are copied during the call. */
typedef struct orm_value {
    uint8_t kind;                     /* ORM_V_… */
    uint8_t reserved[7];
    size_t len;                       /* bytes, or members of a list */
    union {
        int64_t i;
        double f;
        const void *ptr;
        const struct orm_value *list;
        orm_query *query;
    } as;
    orm_release_fn release;
    void *owner;
} orm_value;

/* A value on its way out: it points into the driver's memory until the sink's `row` returns. */
typedef struct orm_cell {
    uint8_t kind;                     /* ORM_V_NULL … ORM_V_UUID */
    uint8_t reserved[3];
    uint32_t len;                     /* bytes */
    union {
        int64_t i;
        double f;
        const void *ptr;
    } as;
} orm_cell;

/* ------------------------------------------------------------------------------------------
 * Schema: models and fields
 *
 * A schema is a set of models that may refer to each other by name.  A model is sealed, with
 * every model it can reach, at its first use, and never changes from then on.  Adding further
 * models to the schema stays possible.
 */
typedef struct orm_schema orm_schema;
typedef struct orm_model orm_model;

enum {                                /* on_delete, on_update */
    ORM_NO_ACTION = 0, ORM_CASCADE = 1, ORM_RESTRICT = 2, ORM_SET_NULL = 3, ORM_SET_DEFAULT = 4
};

/* How a field lies in the caller's struct.  A nullable member is ORM_OPT(T) = {T v; bool has},
 * with the flag ORM_M_OPT added; text and blobs are NULL when their ptr is. */
enum {
    ORM_M_NONE = 0,                   /* no member: rows are made by the binding's own sink */
    ORM_M_BOOL = 1, ORM_M_INT16 = 2, ORM_M_INT32 = 3, ORM_M_INT64 = 4, ORM_M_DOUBLE = 5,
    ORM_M_CSTR = 6,                   /* const char *, terminated; NULL = NULL */
    ORM_M_STR = 7,                    /* orm_str: text, decimal, json, enum, ip */
    ORM_M_CHARS = 8,                  /* char[N] inside the struct, terminated */
    ORM_M_BLOB = 9,                   /* orm_blob */
    ORM_M_DATE = 10,                  /* orm_date */
    ORM_M_TIME = 11,                  /* orm_time */
    ORM_M_DATETIME = 12,              /* orm_datetime */
    ORM_M_DATETIMETZ = 13,            /* orm_datetimetz */
    ORM_M_INTERVAL = 14,              /* orm_interval */
    ORM_M_UUID = 15,                  /* orm_uuid */
    ORM_M_REF = 16,                   /* ORM_REF(M): {int64_t id; bool has; M *obj} */
    ORM_M_DECIMAL = 17,               /* orm_decimal: text */
    ORM_M_JSON = 18,                  /* orm_json: text */
    ORM_M_OPT = 64                    /* added: nullable member */
};
typedef struct orm_blob { const void *ptr; size_t len; } orm_blob;
typedef struct orm_date { int32_t days; } orm_date;
typedef struct orm_time { int64_t us; } orm_time;
typedef struct orm_datetime { int64_t us; } orm_datetime;
typedef struct orm_datetimetz { int64_t us; } orm_datetimetz;
typedef struct orm_interval { int64_t us; } orm_interval;
typedef struct orm_uuid { uint8_t bytes[16]; } orm_uuid;
typedef struct orm_decimal { const char *ptr; size_t len; } orm_decimal;
typedef struct orm_json { const char *ptr; size_t len; } orm_json;

struct orm_model_def;
typedef struct orm_field_def {
    const char *name;                 /* letter or _, then letters, digits, _; no "__" inside */
    const char *column;               /* NULL = name */
    uint32_t type;                    /* orm_type; ORM_TYPE_REF for a foreign key */
    uint32_t member;                  /* ORM_M_… */
    uint32_t offset, size;            /* of the member, bytes */
    uint32_t max_length;              /* text: characters; 0 = no limit */
    uint16_t digits, places;          /* decimal: digits in all, and behind the point */
    uint8_t primary_key, nullable, unique, index;
    uint8_t on_delete, on_update;     /* references */
    uint8_t autoincrement;            /* integer key: 0 = when it is the only key, 2 = never */
    uint8_t pad_[5];
    const char *target;               /* references: the model's name … */
    const struct orm_model_def *target_def; /* … or its definition (models.h) */
    const char *const *choices;       /* enum: its names, NULL-terminated, or NULL */
    const char *enum_name;            /* of the type, where one has a name (PostgreSQL); fields that
                                         share it share the type; NULL = table_column */
    const char *comment;              /* or NULL */
    const char *sql_type;             /* of the column in CREATE TABLE, as it is; NULL: the type's */
    int check_;                       /* models.h: compile-time checks live here */
} orm_field_def;

enum {                                /* orm_constraint_def.kind */
    ORM_CONSTRAINT_PRIMARY_KEY = 1, ORM_CONSTRAINT_UNIQUE = 2, ORM_CONSTRAINT_CHECK = 3,
    ORM_CONSTRAINT_INDEX = 4, ORM_CONSTRAINT_UNIQUE_INDEX = 5
};
typedef struct orm_constraint_def {
    uint32_t kind;
    uint32_t n_fields;                /* 0 for a check */
    const char *name;                 /* NULL = made from table and columns */
    const char *const *fields;        /* field names */
    const char *sql;                  /* check: its expression; index: WHERE of a partial index */
} orm_constraint_def;

typedef struct orm_model_def {
    uint32_t size, field_size;        /* sizeof(orm_model_def), sizeof(orm_field_def) */
    const char *name, *table;
    uint32_t struct_size, n_fields;
    const orm_field_def *fields;
    uint32_t n_constraints, constraint_size;
    const orm_constraint_def *constraints;
    const char *comment;
} orm_model_def;

ORM_API orm_schema *orm_schema_new(void);               /* NULL: out of memory */
ORM_API orm_schema *orm_schema_ref(orm_schema *schema);
ORM_API void orm_schema_unref(orm_schema *schema);
/* Copies def.  ORM_ECONFIG names what is wrong: a bad name, a second model or table of that
 * name, no key, two fields on one column, … */
ORM_API ORM_NODISCARD orm_status orm_schema_add(orm_schema *schema, const orm_model_def *def,
                                                orm_model **out, orm_error *err);
ORM_API const orm_model *orm_schema_find(const orm_schema *schema, const char *name, size_t len);
/* Takes the model out of name lookups (it is replaced by a later one of the same name); those
 * who hold it keep it. */
ORM_API void orm_schema_remove(orm_schema *schema, orm_model *model);
/* Resolves every reference that can be reached; ORM_ECONFIG when a target is missing.  Called
 * by the first query too. */
ORM_API ORM_NODISCARD orm_status orm_model_seal(const orm_model *model, orm_error *err);

ORM_API const orm_model *orm_model_ref(const orm_model *model);   /* keeps its schema alive */
ORM_API void orm_model_unref(const orm_model *model);
ORM_API const char *orm_model_name(const orm_model *model);
ORM_API const char *orm_model_table(const orm_model *model);
ORM_API size_t orm_model_field_count(const orm_model *model);
ORM_API int orm_model_find_field(const orm_model *model, const char *name, size_t len); /* -1 */
ORM_API const orm_field_def *orm_model_field(const orm_model *model, size_t index);
/* The type in which a field is stored: a reference's is its target's key's (sealed models). */
ORM_API orm_type orm_model_field_type(const orm_model *model, size_t index);
ORM_API const orm_model *orm_model_field_target(const orm_model *model, size_t index); /* NULL */
ORM_API size_t orm_model_key_count(const orm_model *model);       /* fields of the primary key */
ORM_API int orm_model_key_field(const orm_model *model, size_t k);
/* A word of the binding's own: the Python package keeps its class state here. */
ORM_API void orm_model_set_user(orm_model *model, void *user);
ORM_API void *orm_model_get_user(const orm_model *model);

/* ------------------------------------------------------------------------------------------
 * Paths and lookups: "album__name__iexact", resolved once against a model
 */
#define ORM_LOOKUP_MAP(X)                                                                     \
    X(EXACT, exact) X(IEXACT, iexact) X(CONTAINS, contains) X(ICONTAINS, icontains)           \
    X(STARTSWITH, startswith) X(ISTARTSWITH, istartswith) X(ENDSWITH, endswith)               \
    X(IENDSWITH, iendswith) X(IN, in) X(NOT_IN, not_in) X(GT, gt) X(GTE, gte) X(LT, lt)       \
    X(LTE, lte) X(RANGE, range) X(ISNULL, isnull) X(NE, ne) X(REGEX, regex) X(IREGEX, iregex) \
    X(YEAR, year) X(MONTH, month) X(DAY, day) X(WEEK_DAY, week_day) X(HOUR, hour)             \
    X(MINUTE, minute) X(SECOND, second) X(DATE, date) X(TIME, time)
typedef enum orm_lookup {
#define ORM_LOOKUP_ENUM_(constant, name) ORM_LOOKUP_##constant,
    ORM_LOOKUP_MAP(ORM_LOOKUP_ENUM_)
#undef ORM_LOOKUP_ENUM_
    ORM_LOOKUP_COUNT
} orm_lookup;
ORM_API const char *orm_lookup_name(int lookup);

#define ORM_PATH_DEPTH 12             /* relations that one path may cross */

/* A resolved name: a plain value, compared and hashed as bytes.  steps[0..depth) are the fields
 * of the relations to cross, `field` the field at the end, in the last relation's model.  A
 * path that ends at a relation has that relation's own field there.  week_day: Monday = 1 …
 * Sunday = 7 (ISO). */
typedef struct orm_path {
    const orm_model *root;
    uint64_t hash;
    uint16_t field;
    uint8_t depth;
    uint8_t lookup;                   /* orm_lookup */
    uint8_t descending;               /* order paths: "-position" */
    uint8_t pad_[3];
    uint16_t steps[ORM_PATH_DEPTH];
} orm_path;

enum {                                /* what orm_path_resolve accepts */
    ORM_PATH_LOOKUP = 1,              /* field and lookup: keywords of filter */
    ORM_PATH_ORDER = 2,               /* field, may start with "-": order_by */
    ORM_PATH_RELATION = 3,            /* relations only: select_related */
    ORM_PATH_FIELD = 4                /* a plain field of the model itself, or "pk" */
};
/* Nothing that a user types reaches SQL but through here.  ORM_EFIELD names the segment that is
 * no field, relation or lookup, and the nearest names. */
ORM_API ORM_NODISCARD orm_status orm_path_resolve(const orm_model *model, const char *text,
                                                  size_t len, int accept, orm_path *out,
                                                  orm_error *err);
/* The model that owns path->field, and the type in which that field is stored. */
ORM_API const orm_model *orm_path_model(const orm_path *path);
ORM_API orm_type orm_path_type(const orm_path *path);

/* ------------------------------------------------------------------------------------------
 * Queries: immutable values.  Every step takes `query` (a reference) and returns the next one;
 * orm_query_ref keeps the parent.  Steps and finishers accept NULL and failed queries and pass
 * the sticky error on.
 */
typedef struct orm_cond {
    orm_path path;
    orm_value value;                  /* taken by the step that gets it */
} orm_cond;

ORM_API orm_query *orm_query_new(const orm_model *model);
ORM_API orm_query *orm_query_ref(orm_query *query);
ORM_API void orm_query_unref(orm_query *query);
/* All conditions must hold (negate: NOT all of them: the exact complement, NULLs included).  None
 * at all hold for every row: with negate for no row. */
ORM_API orm_query *orm_query_filter(orm_query *query, orm_cond *conds, size_t n, bool negate);
/* The same from text, for callers without resolved paths: "album__name__iexact". */
ORM_API orm_query *orm_query_where(orm_query *query, const char *path, orm_value value);
ORM_API orm_query *orm_query_exclude(orm_query *query, const char *path, orm_value value);
/* An expression, in prefix order: each operator stands before its operands.  Unlike filters it
 * never loads the relations that it crosses.
 *   title = 'a' OR NOT (rating > 3 AND …):  { OR 2, COND, NOT, AND 2, COND, … } */
enum { ORM_TERM_COND = 0, ORM_TERM_AND = 1, ORM_TERM_OR = 2, ORM_TERM_NOT = 3, ORM_TERM_SQL = 4 };
typedef struct orm_term {
    uint8_t op;                       /* ORM_TERM_… */
    uint8_t pad_[3];
    uint32_t n;                       /* AND, OR: operands; SQL: values */
    orm_cond cond;                    /* COND; its value is taken */
    /* SQL: a condition of the caller's own, in the backend's SQL, with a byte 1 in the place of
     * each value.  The query's table, and those of the relations named by `joins` (paths of
     * ORM_PATH_RELATION), go by their own names in it: music.title. */
    orm_str sql;
    orm_value *values;                /* n of them; taken, the array is not */
    const orm_path *joins;
    uint32_t n_joins, pad2_;
} orm_term;
ORM_API orm_query *orm_query_match(orm_query *query, orm_term *terms, size_t n);
ORM_API orm_query *orm_query_order(orm_query *query, const orm_path *paths, size_t n); /* replaces */
ORM_API orm_query *orm_query_order_by(orm_query *query, const char *path);    /* replaces; "-x" */
ORM_API orm_query *orm_query_limit(orm_query *query, int64_t limit);  /* replaces; -1 = none */
ORM_API orm_query *orm_query_offset(orm_query *query, int64_t offset);/* replaces */
/* Slice relative to what is already sliced: rows [start, stop) of the query; stop -1 = end. */
ORM_API orm_query *orm_query_slice(orm_query *query, int64_t start, int64_t stop);
ORM_API orm_query *orm_query_related(orm_query *query, const orm_path *paths, size_t n); /* adds */
ORM_API orm_query *orm_query_select_related(orm_query *query, const char *path);        /* adds */
/* search: any of the text fields contains the text, without regard to case. */
ORM_API orm_query *orm_query_search(orm_query *query, const uint16_t *fields, size_t n,
                                    orm_value text);
ORM_API const orm_model *orm_query_model(const orm_query *query);
ORM_API const orm_error *orm_query_error(const orm_query *query);     /* NULL = none */
ORM_API bool orm_query_is_ordered(const orm_query *query);
/* 1: its rows come by the model's only key, -1: by that backwards, 0: otherwise. */
ORM_API int orm_query_key_order(const orm_query *query);
ORM_API bool orm_query_is_sliced(const orm_query *query);
/* Sets a flag of the query that is part of its shape. */
enum { ORM_QUERY_LOAD_FILTERED = 1 }; /* keyword paths across forward relations load them too */
ORM_API orm_query *orm_query_set(orm_query *query, uint32_t flags);
/* The SQL of `query` as the given finisher would send it, NUL-terminated in malloc'ed memory
 * of the library's allocator: free it with orm_text_free.  kind: ORM_OP_ALL, … */
ORM_API ORM_NODISCARD orm_status orm_query_sql(orm_query *query /* borrowed */, const char *dialect,
                                               int kind, char **out, orm_error *err);
ORM_API void orm_text_free(char *text);

/* ------------------------------------------------------------------------------------------
 * Databases and engines
 */
typedef struct orm_db orm_db;
typedef struct orm_engine orm_engine;
typedef struct orm_op orm_op;
typedef struct orm_result orm_result;

typedef struct orm_options {
    uint32_t size;                    /* sizeof(orm_options): set by ORM_OPTIONS() */
    uint32_t query_timeout_ms;        /* 0 = 600,000 */
    uint32_t acquire_timeout_ms;      /* waiting for a connection or the writer; 0 = 30,000 */
    uint32_t busy_timeout_ms;         /* waiting for other processes' locks; 0 = 5,000 */
    uint32_t statement_cache_size;    /* plans and statements kept; 0 = 512 */
    uint32_t inline_budget_us;        /* time a read may take on the caller's thread; 0 = 500 */
    uint8_t no_inline;                /* everything on worker threads (network disks) */
    uint8_t no_shared_reads;          /* no read transaction shared by the reads of a turn */
    uint8_t read_only;
    uint8_t pad_[5];
    /* servers */
    uint32_t min_size, max_size;      /* connections: kept though idle, at most; 0 = 1, 10 */
    uint32_t connect_timeout_ms;      /* 0 = 10,000 */
    uint32_t max_lifetime_ms;         /* connections older are replaced; 0 = 3,600,000 */
    uint32_t max_idle_ms;             /* those beyond min_size are closed after; 0 = 600,000 */
    uint32_t max_waiting;             /* for a connection or the writer: who comes then gets
                                         ORM_EPOOLTIMEOUT at once; 0 = any number waits */
    /* A driver of the caller's own (driver.h) for this database alone, of the dialect that the URL
     * names; NULL = the one that is known by that name.  Its open gets `driver_user`. */
    const struct orm_driver *driver;
    void *driver_user;
} orm_options;
#ifdef __cplusplus
#  define ORM_OPTIONS(...) orm_options{ (uint32_t)sizeof(orm_options), __VA_ARGS__ }
#else
#  define ORM_OPTIONS(...) ((orm_options){ .size = sizeof(orm_options), __VA_ARGS__ })
#endif

/* Parses and checks the URL (ORM_ECONFIG); opens nothing.  sqlite:///rel.db, sqlite:////abs.db,
 * sqlite:///:memory:; ?journal_mode= &synchronous= &busy_timeout= (ms) &shared_reads= &inline=
 * &query_timeout= &acquire_timeout= (s) &max_waiting= &statement_cache_size= &foreign_keys=
 * &mode=ro.
 * postgresql://user:password@host:port/name and mariadb://… (mysql://…): also ?min_size= &max_size=
 * &connect_timeout= &max_lifetime= &max_idle= (s).
 * Unknown options are ORM_ECONFIG naming the nearest. */
ORM_API ORM_NODISCARD orm_status orm_open(const char *url, const orm_options *options,
                                          orm_db **out, orm_error *err);
ORM_API orm_db *orm_db_ref(orm_db *db);
ORM_API void orm_close(orm_db *db);                       /* drops this reference */
ORM_API const char *orm_db_dialect(const orm_db *db);     /* "sqlite" */
/* The URL without its password. */
ORM_API const char *orm_db_url(const orm_db *db);

ORM_API ORM_NODISCARD orm_status orm_engine_new(orm_db *db, orm_engine **out, orm_error *err);
/* Opens a database and its engine, and registers models, in one call: for C programs.  The
 * engine owns the database and the schema. */
ORM_API ORM_NODISCARD orm_status orm_connect(const char *url, const orm_model_def *const *models,
                                             size_t n, orm_engine **out, orm_error *err);
/* Ends an engine, or a transaction (which is rolled back when it is still open).  Waits for
 * statements that run on workers, at most until they notice that they are cancelled.  Operations
 * that are still pending complete with ORM_EPOOLCLOSED and are called back before it returns;
 * handles of operations and transactions stay valid and are freed as usual. */
ORM_API void orm_close_engine(orm_engine *engine);
/* The model that was registered from this definition with orm_connect; NULL if none was. */
ORM_API const orm_model *orm_engine_model(orm_engine *engine, const orm_model_def *def);

/* ---- the caller's event loop ------------------------------------------------------------ */
ORM_API int orm_fd(const orm_engine *engine);             /* readable: call orm_process */
ORM_API int orm_timeout_ms(const orm_engine *engine);     /* information only; -1 = none */
/* Ends the turn, completes what is complete and calls back; never blocks.  budget_us 0 = 2,000.
 * Returns the number of operations completed. */
ORM_API int orm_process(orm_engine *engine, int64_t budget_us);
/* poll(orm_fd) for at most timeout_ms (-1 = for ever), then orm_process. */
ORM_API int orm_wait(orm_engine *engine, int timeout_ms);
/* `fn` is called at most once per turn, when there is work for the end of this turn: arrange
 * for orm_process to be called soon.  Without it, orm_fd becomes readable instead. */
typedef void (*orm_defer_fn)(orm_engine *engine, void *user);
ORM_API void orm_set_defer(orm_engine *engine, orm_defer_fn fn, void *user);
/* Who is calling: any word that tells the program's concurrent activities apart (a task).  The
 * engine groups the writes of one turn that come from different callers.  Default NULL. */
ORM_API void orm_engine_set_caller(orm_engine *engine, const void *caller);

/* Sees every statement when it has ended, on the engine's thread, inside the call that ended
 * it.  Values are never part of it. */
typedef struct orm_event {
    orm_str sql;
    uint64_t duration_ns;             /* from first step to last */
    int64_t rows;                     /* delivered or changed */
    uint32_t params;
    int32_t status;                   /* orm_status */
    bool inline_;                     /* ran on the caller's thread */
} orm_event;
typedef void (*orm_observer_fn)(const orm_event *event, void *user);
ORM_API void orm_engine_set_observer(orm_engine *engine, orm_observer_fn fn, void *user);

typedef struct orm_engine_stats {
    uint64_t statements, inline_statements, worker_statements, plans_compiled, plan_hits;
    uint64_t groups, grouped, shared_read_transactions, overflows;
    uint32_t connections, operations, threads, plans;    /* now */
} orm_engine_stats;
ORM_API void orm_engine_get_stats(const orm_engine *engine, orm_engine_stats *out);

/* Who holds the connections now: what waits for one in vain (ORM_EPOOLTIMEOUT) waits for these.
 * The oldest first, at most n of them; the result is how many there are, also beyond n.
 *
 *     orm_holder holders[4];
 *     size_t n = orm_engine_holders(engine, holders, 4);
 *     if (n) printf("%llu ms\n", (unsigned long long)(holders[0].held_ns / 1000000));
 */
enum { ORM_HOLDER_OPERATION = 1, ORM_HOLDER_TRANSACTION,
       ORM_HOLDER_UPKEEP };               /* it is being made ready, or closed */
typedef struct orm_holder {
    const void *caller;               /* orm_engine_set_caller's word when it began; or NULL */
    const orm_engine *transaction;    /* orm_begin's handle (it may be closed since); or NULL */
    uint64_t held_ns;                 /* for how long */
    uint32_t kind;                    /* ORM_HOLDER_… */
    uint32_t pad_;
} orm_holder;
ORM_API size_t orm_engine_holders(const orm_engine *engine, orm_holder *out, size_t n);

/* ---- transactions ------------------------------------------------------------------------ */
enum { ORM_ISOLATION_DEFAULT = 0, ORM_ISOLATION_READ_UNCOMMITTED, ORM_ISOLATION_READ_COMMITTED,
       ORM_ISOLATION_REPEATABLE_READ, ORM_ISOLATION_SERIALIZABLE };
/* A transaction on an engine, a savepoint on a transaction.  Sends nothing: BEGIN travels with
 * the first statement.  NULL when out of memory, or when this thread may not use the engine. */
ORM_API orm_engine *orm_begin(orm_engine *engine, int isolation, bool readonly);
/* The operation that ends it; the handle stays and must be closed with orm_close_engine.
 * Commit of a transaction that never sent a statement completes at once. */
ORM_API orm_op *orm_commit(orm_engine *transaction);
ORM_API orm_op *orm_rollback(orm_engine *transaction);
enum { ORM_TX_NONE = 0, ORM_TX_NEW, ORM_TX_OPEN, ORM_TX_LOST, ORM_TX_CLOSED };
ORM_API int orm_transaction_state(const orm_engine *engine); /* ORM_TX_NONE: not a transaction */

/* ------------------------------------------------------------------------------------------
 * Sinks: where rows go.  A sink allocates and copies, nothing else; it never runs the caller's
 * code while a statement is open.
 */
typedef struct orm_column {           /* one column of a result */
    const orm_model *model;           /* NULL: a bare value (count, raw column) */
    uint16_t field;                   /* its field in model */
    uint16_t type;                    /* orm_type in which it is stored */
    uint16_t digits, places;          /* decimals */
    uint8_t expect;                   /* ORM_V_… that needs no decoding; see orm_cell_decode */
    uint8_t utc;                      /* the backend has no time zones: a DATETIME cell is UTC */
    uint8_t pad_[6];
} orm_column;
typedef struct orm_node {             /* one model in the rows of a result */
    const orm_model *model;
    int32_t parent;                   /* index of the node that refers to it; -1 = the root */
    uint32_t via;                     /* the parent's field (a reference) */
    uint32_t first, count;            /* its columns */
} orm_node;
typedef struct orm_layout {           /* immutable; lives as long as the plan (refcounted) */
    uint32_t n_nodes, n_columns;
    const orm_node *nodes;            /* nodes[0] is the query's model; parents come first */
    const orm_column *columns;
    const char *const *names;         /* raw SQL: the columns' names; otherwise NULL */
} orm_layout;

typedef struct orm_sink orm_sink;
typedef struct orm_sink_vtable {
    uint32_t size;                    /* sizeof(orm_sink_vtable) */
    uint32_t flags;                   /* ORM_SINK_… */
    /* MUST. Before the first row, and again after rewind(0) when a plan was made anew. */
    orm_status (*begin)(orm_sink *self, const orm_layout *layout, orm_error *err);
    /* MUST. cells[0..n_columns), valid until it returns.  On the engine's thread. */
    orm_status (*row)(orm_sink *self, const orm_cell *cells, orm_error *err);
    /* MUST. How many rows there are, and back to that number (a read that is run again). */
    size_t (*mark)(const orm_sink *self);
    void (*rewind)(orm_sink *self, size_t mark);
} orm_sink_vtable;
enum { ORM_SINK_AFTER_RESET = 1 };    /* rows only after the statement is reset: decoders of
                                         this sink run the caller's code (the engine batches) */
struct orm_sink {
    const orm_sink_vtable *vtable;
    uint32_t flags;                   /* or'ed to the vtable's */
};

/* The one decoder: makes `cell` hold the logical kind of `column`'s type (a DATETIME that the
 * backend keeps as text becomes ORM_V_DATETIME, a UUID 16 bytes in `scratch`, …).  Call it when
 * cell->kind is neither column->expect nor ORM_V_NULL.  What cannot be decoded is ORM_EDATA
 * naming table.column.  Logical kinds: decimals, json, enum, ip and arrays are ORM_V_TEXT. */
ORM_API ORM_NODISCARD orm_status orm_cell_decode(const orm_column *column, orm_cell *cell,
                                                 char scratch[48], orm_error *err);

/* ------------------------------------------------------------------------------------------
 * Operations
 *
 * Made by a finisher, started by orm_start, orm_then or orm_await.  Finishers never return NULL
 * (out of memory is a static operation that reports it) and take their query.
 * `sink` NULL: rows go into an orm_result of the caller's structs (orm_op_take), for models
 * whose fields have members.
 */
enum { ORM_OP_ALL = 1, ORM_OP_GET, ORM_OP_FIRST, ORM_OP_LAST, ORM_OP_COUNT, ORM_OP_EXISTS,
       ORM_OP_INSERT, ORM_OP_UPDATE, ORM_OP_DELETE, ORM_OP_RAW, ORM_OP_COMMIT, ORM_OP_ROLLBACK,
       ORM_OP_CREATE_ALL, ORM_OP_DROP_ALL, ORM_OP_LOAD, ORM_OP_GET_OR_CREATE,
       ORM_OP_UPDATE_OR_CREATE, ORM_OP_CONNECT, ORM_OP_BULK };

ORM_API orm_op *orm_all(orm_engine *engine, orm_query *query, orm_sink *sink);
/* Exactly one row: ORM_ENOMATCH, ORM_EMULTIPLE.  Reads at most two rows, within the caller's
 * own slice. */
ORM_API orm_op *orm_get(orm_engine *engine, orm_query *query, orm_sink *sink);
ORM_API orm_op *orm_first(orm_engine *engine, orm_query *query, orm_sink *sink); /* 0 or 1 row */
ORM_API orm_op *orm_last(orm_engine *engine, orm_query *query, orm_sink *sink);
ORM_API orm_op *orm_count(orm_engine *engine, orm_query *query);   /* orm_op_number */
ORM_API orm_op *orm_exists(orm_engine *engine, orm_query *query);  /* orm_op_number: 0, 1 */

/* One row.  fields[k] gets values[k] (taken); fields not named get the database's default or
 * NULL.  orm_op_number: the generated integer key, where there is one. */
ORM_API orm_op *orm_insert(orm_engine *engine, const orm_model *model, const uint16_t *fields,
                           size_t n, orm_value *values);
/* n_rows rows, all or nothing; values[row * n + k].  With `keys` (n_rows long, kept by the
 * caller until the operation ends or is freed) the generated integer keys are written there in
 * order. */
ORM_API orm_op *orm_insert_many(orm_engine *engine, const orm_model *model, const uint16_t *fields,
                                size_t n, orm_value *values, size_t n_rows, int64_t *keys);
/* Sets fields on exactly the rows that `query` selects (across relations and slices too);
 * orm_op_number: rows. */
ORM_API orm_op *orm_update(orm_engine *engine, orm_query *query, const uint16_t *fields, size_t n,
                           orm_value *values);
ORM_API orm_op *orm_delete(orm_engine *engine, orm_query *query);
/* Atomic.  The row that `query` selects, into `sink`; when there is none the row with the given
 * values is inserted and then read.  orm_op_number: 1 = created.  ORM_EMULTIPLE. */
ORM_API orm_op *orm_get_or_create(orm_engine *engine, orm_query *query, const uint16_t *fields,
                                  size_t n, orm_value *values, orm_sink *sink);
/* Atomic.  The row that `query` selects is updated with the n_set values; when there is none
 * the row with the n values is inserted.  The row is then read into `sink`. */
ORM_API orm_op *orm_update_or_create(orm_engine *engine, orm_query *query,
                                     const uint16_t *set_fields, size_t n_set, orm_value *set_values,
                                     const uint16_t *fields, size_t n, orm_value *values,
                                     orm_sink *sink);
/* One statement of the caller's own SQL, with `?` (SQLite) or the backend's placeholders.  Rows
 * are matched to `model`'s fields by column name when model is given (its key must be among
 * them; fields that are missing stay unset: layout columns name those that came), else they are
 * bare values.  A second statement in the text is ORM_EPROGRAMMING and nothing is run. */
ORM_API orm_op *orm_raw(orm_engine *engine, const char *sql, size_t len, orm_value *values, size_t n,
                        const orm_model *model, orm_sink *sink);
ORM_API orm_op *orm_create_all(orm_engine *engine, orm_schema *schema);  /* IF NOT EXISTS */
ORM_API orm_op *orm_drop_all(orm_engine *engine, orm_schema *schema);
ORM_API orm_op *orm_open_connection(orm_engine *engine);  /* connects now rather than lazily */

/* C structs (models.h).  Inserts *row; the generated key is written into it just before the
 * operation completes; row must stay untouched until then. */
ORM_API orm_op *orm_insert_row(orm_engine *engine, const orm_model_def *def, void *row);
/* Updates the row with row's key from the struct: the named fields, or all when n is 0. */
ORM_API orm_op *orm_update_row(orm_engine *engine, const orm_model_def *def, const void *row,
                               const char *const *fields, size_t n);
ORM_API orm_op *orm_delete_row(orm_engine *engine, const orm_model_def *def, const void *row);
/* Loads the relation for every row of the result with one query; obj is set in each. */
ORM_API orm_op *orm_load(orm_engine *engine, orm_result *result, const char *relation);

typedef void (*orm_done_fn)(orm_op *op, void *user);
/* Starts the operation.  ORM_DONE: it is complete, look at orm_op_status.  ORM_PENDING: `fn`
 * will be called from orm_process when it is. */
ORM_API orm_status orm_start(orm_op *op, orm_done_fn fn, void *user);
/* orm_start, but `fn` is called in every case, from orm_process. */
ORM_API void orm_then(orm_op *op, orm_done_fn fn, void *user);
/* Starts if need be, drives the engine until the operation is complete, frees it.  Moves its
 * result into *out when out is not NULL.  Inside a callback: ORM_EMISUSE. */
ORM_API orm_status orm_await(orm_op *op, orm_result **out, orm_error *err);
ORM_API orm_status orm_op_status(const orm_op *op);       /* ORM_PENDING, ORM_OK, or < 0 */
ORM_API const orm_error *orm_op_error(const orm_op *op);  /* its own; zero when none */
ORM_API int orm_op_kind(const orm_op *op);
ORM_API int64_t orm_op_number(const orm_op *op);          /* key, rows, count, created */
ORM_API int64_t orm_op_key(const orm_op *op);             /* orm_raw: the key generated, 0 = none */
ORM_API const char *orm_op_sql(const orm_op *op, size_t *len); /* "" before it was compiled */
ORM_API orm_result *orm_op_take(orm_op *op);              /* moves the result out; or NULL */
ORM_API void orm_op_set_deadline(orm_op *op, uint32_t ms);/* before it starts */
/* Ends it: not started, it never runs; running, its statement is interrupted and it completes
 * with ORM_ECANCELLED (or with what it had reached).  A started write in a group is detached. */
ORM_API void orm_cancel(orm_op *op);
/* Drops the operation; while it runs it is detached and its outcome is thrown away.  Its sink
 * is never called again. */
ORM_API void orm_op_free(orm_op *op);

/* ---- results of C structs ---------------------------------------------------------------- */
ORM_API size_t orm_result_count(const orm_result *result);
ORM_API void *orm_result_rows(orm_result *result);        /* T[count], contiguous */
ORM_API size_t orm_result_bytes(const orm_result *result);
ORM_API void orm_result_free(orm_result *result);         /* rows, related objects and text */

/* ------------------------------------------------------------------------------------------
 * Values by hand
 */
static inline orm_value orm_null(void)
{ orm_value v = { ORM_V_NULL, { 0 }, 0, { 0 }, NULL, NULL }; return v; }
static inline orm_value orm_bool(bool b)
{ orm_value v = orm_null(); v.kind = ORM_V_BOOL; v.as.i = b; return v; }
static inline orm_value orm_int(int64_t i)
{ orm_value v = orm_null(); v.kind = ORM_V_INT; v.as.i = i; return v; }
static inline orm_value orm_float(double f)
{ orm_value v = orm_null(); v.kind = ORM_V_FLOAT; v.as.f = f; return v; }
static inline orm_value orm_bytes(const void *ptr, size_t len)
{ orm_value v = orm_null(); if (ptr) { v.kind = ORM_V_BLOB; v.as.ptr = ptr; v.len = len; } return v; }
static inline orm_value orm_textn(const char *ptr, size_t len)
{ orm_value v = orm_bytes(ptr, len); if (ptr) v.kind = ORM_V_TEXT; return v; }
static inline orm_value orm_strv(orm_str s) { return orm_textn(s.ptr, s.len); }
ORM_API orm_value orm_text(const char *terminated);       /* NULL = null */
static inline orm_value orm_list(const orm_value *members, size_t n)
{ orm_value v = orm_null(); v.kind = ORM_V_LIST; v.as.list = members; v.len = n; return v; }

/* ------------------------------------------------------------------------------------------
 * The library
 */
ORM_API const char *orm_version(void);
/* Replaces the allocator, before any other call: p NULL = new, size 0 = free. */
typedef void *(*orm_alloc_fn)(void *p, size_t size, void *user);
ORM_API void orm_set_allocator(orm_alloc_fn fn, void *user);
/* Replaces passwords of URLs and "password=…" in text by ***; in place. */
ORM_API void orm_error_scrub(char *text);

#ifdef __cplusplus
}
#endif
#endif
