/* plan.h - what the compiler makes of a query: SQL text, parameter plan, result layout.
 *
 * A plan is immutable and reference-counted.  Compiling is the slow path; the engine keeps plans
 * by shape (src/engine/plans.c).
 */
#ifndef ORM_PLAN_H
#define ORM_PLAN_H
#include "../query/query.h"

/* What is done to a value before it is bound. */
enum {
    ORM_BIND_PLAIN = 0,               /* converted to the column's stored form */
    ORM_BIND_FOLD = 1,                /* text, case folded */
    ORM_BIND_LIKE_CONTAINS = 2, ORM_BIND_LIKE_PREFIX = 3, ORM_BIND_LIKE_SUFFIX = 4, /* escaped */
    ORM_BIND_LIST_MEMBER = 5,         /* member `index` of a list, the last one repeated as padding */
    ORM_BIND_LIST_JSON = 6,           /* the whole list as a JSON array */
    ORM_BIND_INT = 7,                 /* an integer as it is (date parts) */
    ORM_BIND_LIMIT = 8, ORM_BIND_OFFSET = 9, /* of the query, not a value */
    ORM_BIND_RAW = 10,                /* as it is: raw SQL */
    ORM_BIND_DATE = 11, ORM_BIND_TIME = 12, /* __date, __time lookups: bound as date or time */
    ORM_BIND_STORE = 13,              /* PLAIN, and the rules of a column that is written */
    ORM_BIND_LIST_ARRAY = 14          /* the whole list as one value of kind LIST */
};
typedef struct orm_param {
    uint16_t value;                   /* index into the operation's values */
    uint8_t how;                      /* ORM_BIND_… */
    uint8_t type;                     /* orm_type of the column it meets */
    uint32_t index;                   /* LIST_MEMBER: which; LIMIT: at most this many, 0 = any */
    const orm_field *field;           /* for messages and digits; NULL = none */
} orm_param;

enum {                                /* orm_plan.flags */
    ORM_PLAN_WRITE = 1,
    ORM_PLAN_ROWS = 2,                /* it returns rows */
    ORM_PLAN_BOUNDED = 4,             /* by unique key, or LIMIT on an index, no function over
                                         text: may run inline the first time */
    ORM_PLAN_GENERATED_KEY = 8,       /* the integer key comes from the driver's last_key */
    ORM_PLAN_TRACES = 16,             /* the caller's SQL: may leave something in the session */
    ORM_PLAN_COMMITS = 32             /* … and commits where DDL does */
};
typedef struct orm_plan {
    volatile int refs;
    uint8_t kind;                     /* ORM_OP_… */
    uint8_t flags;
    uint32_t n_params;
    const orm_param *params;
    const char *sql;
    size_t sql_len;
    orm_layout layout;
    const orm_model *model;           /* a reference is held */
    uint64_t key;                     /* shape key with the kind mixed in */
    size_t n_words;
    const uint64_t *words;            /* the shape, compared on a hit */
    uint32_t slot;                    /* the engine's: index of its prepared statements … */
    uint64_t serial;                  /* … and which plan those at that index belong to */
    bool arrays_refused;              /* the engine's: the server did not take its arrays */
    uint32_t history;                 /* the engine's: overflows and quick runs */
    orm_arena arena;                  /* owns all of the above */
} orm_plan;

orm_plan *orm_plan_ref(orm_plan *plan);
void orm_plan_unref(orm_plan *plan);

struct orm_dialect;
/* The statement of a write beside its query: which fields are set. */
typedef struct orm_write {
    const orm_model *model;
    const uint16_t *fields;
    size_t n;
    size_t rows;                      /* multi-row insert: rows per statement */
    const uint16_t *conflict;         /* ON CONFLICT (these) DO NOTHING; NULL = none */
    size_t n_conflict;
    bool returning_key;               /* multi-row inserts that want their keys */
    bool arrays;                      /* of any number of rows: each parameter is the list of a
                                         column's values, bound member by member */
} orm_write;

/* Compiles.  kind: ORM_OP_ALL/GET/FIRST/LAST/COUNT/EXISTS/UPDATE/DELETE with query; INSERT with
 * write only.  Values are numbered: the write's values (rows * n) first, then the query's in
 * the order of orm_query_values.  GET compiles with LIMIT 2 inside the caller's slice, FIRST
 * with LIMIT 1 (by key when there is no order), LAST with every order reversed. */
orm_status orm_compile(const struct orm_dialect *dialect, int kind, const orm_query *query,
                       const orm_write *write, orm_plan **out, orm_error *err);
/* Shape words for a lookup without compiling: kind, write, query. */
size_t orm_plan_shape(int kind, const orm_query *query, const orm_write *write, uint64_t *words,
                      size_t max, uint64_t *key);

/* Converts value `v` (NULL kinds included) for `param` into what the driver binds, in the
 * dialect's stored form; scratch memory comes from `arena`.  Checks what the backend cannot
 * hold: ORM_EDATA naming table.column, before anything is sent.  limit/offset are the query's. */
orm_status orm_param_bind(const struct orm_dialect *dialect, const orm_param *param,
                          const orm_value *v, int64_t limit, int64_t offset, orm_arena *arena,
                          orm_value *out, orm_error *err);

/* DDL: statements of CREATE or DROP for the models, in an order that respects references,
 * each NUL-terminated in the arena. */
orm_status orm_ddl(const struct orm_dialect *dialect, const orm_model *const *models, size_t n,
                   bool drop, orm_arena *arena, const char *const **statements, size_t *count,
                   orm_error *err);
#endif
