/* dialect.h - how a backend's SQL differs from the common SQL.
 *
 * The common SQL is what most backends share; it lives in this folder.  A dialect is one const
 * table of differences, in src/dialect: a member that is zero or NULL means "as in the common
 * SQL".  The tables hold text and a few small functions, no state.
 *
 * TEMPLATES  The SQL of a lookup is a text in which `@` stands for the column and `?` for a
 *            parameter.  Nothing that comes from a user is ever part of a template.
 */
#ifndef ORM_DIALECT_H
#define ORM_DIALECT_H
#include "plan.h"

/* Lookups of the parts of a TIME column, where it needs other SQL than a DATETIME: they follow
 * the lookups in the tables. */
enum {
    ORM_LOOKUP_TIME_HOUR = ORM_LOOKUP_COUNT, ORM_LOOKUP_TIME_MINUTE, ORM_LOOKUP_TIME_SECOND,
    ORM_LOOKUP_SLOTS
};

typedef struct orm_lookup_sql {
    const char *sql;                  /* the template; NULL = the common one */
    uint8_t how;                      /* ORM_BIND_…: what is done to the value */
} orm_lookup_sql;

typedef struct orm_dialect {
    const char *name;                 /* also the driver's */

    /* ---- text ---- */
    char quote;                       /* around identifiers; 0 = " */
    bool numbered;                    /* parameters are $1, $2 … rather than ? */
    const char *differs;              /* null-safe inequality; NULL = @ IS DISTINCT FROM ? */
    const char *limit_all;            /* what precedes OFFSET without a limit; NULL = nothing */
    /* A list that is bound as one value: a JSON text, or with `arrays` a list.  MUST. */
    const char *list_in, *list_not_in;
    const char *texts_in, *texts_not_in; /* the same for texts; NULL = list_in, list_not_in */
    bool arrays;                      /* the driver binds lists (ORM_BIND_LIST_ARRAY) */
    /* What stands for a column of `type` in a lookup, with `@` for the column itself: a cast,
     * where the column is not of the type that the lookup's SQL needs.  NULL = the column. */
    const char *(*operand)(int lookup, int type);
    /* Writes the type that a value compared with `field` must be cast to in this lookup, and
     * true; false, as NULL: it is sent as it is. */
    bool (*cast)(orm_buf *type, int lookup, const orm_field *field);
    orm_lookup_sql lookups[ORM_LOOKUP_SLOTS];

    /* ---- limits; 0 = none ---- */
    uint32_t max_params;              /* of one statement */
    uint32_t max_tables;              /* joined in one SELECT */
    uint32_t max_terms;               /* conditions of one WHERE */

    /* ---- values ---- */
    bool text_nul;                    /* text may hold NUL characters */
    bool naive_is_utc;                /* no datetimes with time zone: those without hold UTC */
    /* Turns a checked logical value of `type` into what the driver binds; memory of the result
     * comes from `arena`.  NULL: the driver binds logical values as they are. */
    orm_status (*store)(const orm_param *param, int type, orm_arena *arena, orm_value *value,
                        orm_error *err);

    /* ---- transactions ---- */
    /* What begins one that writes, one that reads; NULL = BEGIN, START TRANSACTION READ ONLY. */
    const char *begin_write, *begin_read;
    bool serializable;                /* all are: a level is not asked for */
    bool isolation_first;             /* SET TRANSACTION before it, rather than a clause of it */
    bool ddl_commits;                 /* DDL commits the transaction that it stands in */

    /* ---- writes ---- */
    bool returning;                   /* the key that an INSERT generates comes by RETURNING */
    /* Writes what stands before the parameter of a value that is stored in `field`, and true: a
     * function call that ends in `)` behind it.  False, as NULL: the parameter alone. */
    bool (*stored)(orm_buf *out, const orm_field *field);
    /* The type of an array of a column's values, to insert many rows by `SELECT unnest(…)`; NULL
     * where single values are safer.  No such member: never. */
    const char *(*array_type)(int type);
    bool on_duplicate;                /* ON DUPLICATE KEY UPDATE rather than ON CONFLICT */
    const char *default_row;          /* INSERT of a row of defaults; NULL = DEFAULT VALUES */
    /* A key subquery that is sliced, or part of a write, stands in a derived table: where IN
     * takes no LIMIT and a write must not read its own table. */
    bool derived_keys;

    /* ---- tables ---- */
    uint32_t text_index;              /* characters of a text without length that an index takes;
                                         0 = all of it */
    bool whole_indexes;               /* no partial ones: the condition of an index is left out, and
                                         a unique one with a condition is ORM_ENOTSUPPORTED */
    /* Writes the column type and returns true, or returns false for the common one. */
    bool (*column_type)(orm_buf *out, const orm_field *field);
    bool comments;                    /* COMMENT '…' is part of a column and of a table */
    /* Else: writes the statement that comments a column, or with NULL the table, where it has no
     * comment yet, and returns true.  NULL = the backend has none. */
    bool (*comment)(orm_buf *out, const orm_model *model, const orm_field *field);
    /* Writes the statement that makes (drops) the type of a column, where it needs one of its
     * own, and returns true; it must do nothing when the type is there (in use).  NULL = none. */
    bool (*field_type)(orm_buf *out, const orm_field *field, bool drop);
} orm_dialect;

/* The common column type, for dialects that differ in some cases only. */
void orm_ddl_type(orm_buf *out, const orm_field *field);
/* A text as a literal: quotes doubled, and with `backslash` those too. */
void orm_ddl_literal(orm_buf *out, const char *text, bool backslash);
/* A name for what belongs to a column, `table_column`; names that a backend would cut end in a
 * hash of the whole. */
void orm_ddl_field_name(orm_buf *out, const orm_field *field);
/* 32 hex digits, or 36 characters with dashes. */
bool orm_uuid_parse(const char *text, size_t len, uint8_t out[16]);
/* ORM_EDATA naming table.column of the parameter: "track.position: <problem>". */
orm_status orm_param_fail(const orm_param *param, orm_error *err, const char *format, ...)
    ORM_PRINTF(3, 4);
#endif
