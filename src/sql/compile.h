/* compile.h - the compiler's own room: what its clause functions share.
 *
 * A compilation writes SQL into one buffer and parameters into one list, in the order in which
 * their placeholders appear.  Its first failure sticks (orm_compiler.status), so that clause
 * functions need not look; orm_compile looks once, at the end.
 *
 * A scope is one FROM: a root model and the joins below it.  Every subquery has a scope of its
 * own; aliases are numbered through all scopes of a statement.
 */
#ifndef ORM_COMPILE_H
#define ORM_COMPILE_H
#include "dialect.h"

#define ORM_SQL_MAX (8u << 20)        /* bytes of one statement */

typedef struct orm_compiler {
    const orm_dialect *dialect;
    orm_arena *arena;                 /* the plan's */
    orm_buf sql;
    orm_param *params;                /* in the arena */
    size_t n_params, cap_params;
    uint32_t next_alias;
    uint32_t next_value;              /* the number of the value that comes next */
    uint32_t terms;                   /* conditions so far */
    bool writes;                      /* the rows of an update or delete are being selected */
    orm_status status;                /* the first failure */
    orm_error *err;
} orm_compiler;

typedef struct orm_join {
    const orm_model *model;
    int32_t parent;                   /* -1 = the root */
    uint16_t via;                     /* the parent's field */
    bool left;                        /* may be absent: LEFT JOIN, all of it nullable */
    bool loaded;                      /* its columns are part of the rows */
    bool named;                       /* goes by its table's name: SQL of the caller's refers to it */
    uint32_t alias;
    uint32_t node;                    /* loaded: its place in the layout */
} orm_join;

typedef struct orm_scope {
    const orm_query *query;
    const orm_query **nodes;          /* query->depth of them, root first */
    orm_join *joins;                  /* joins[0] is the root */
    uint32_t n_joins, cap_joins;
    bool bare;                        /* UPDATE, DELETE: columns without alias */
} orm_scope;

/* What a condition is about: a column, and whether it can be NULL there. */
typedef struct orm_operand {
    uint32_t join;
    const orm_field *field;
    bool nullable;
} orm_operand;

/* ---- text.c of the compiler: sql.c ---- */
orm_status orm_sql_fail(orm_compiler *c, orm_status status, const char *format, ...)
    ORM_PRINTF(3, 4);
void orm_sql_add(orm_compiler *c, const char *text);
void orm_sql_ident(orm_compiler *c, const char *name, size_t len); /* quoted exactly */
void orm_sql_table(orm_compiler *c, const orm_model *model);
void orm_sql_field(orm_compiler *c, const orm_field *field);       /* its column, bare */
/* A placeholder and its parameter. */
void orm_sql_param(orm_compiler *c, orm_param param);
/* A placeholder for the query's limit (at most `cap` when that is not 0) or offset. */
void orm_sql_slice_param(orm_compiler *c, int how, uint32_t cap);

/* ---- joins.c ---- */
enum {                                /* what a scope is wanted for */
    ORM_SCOPE_LOAD = 1,               /* rows of instances: select_related counts */
    ORM_SCOPE_ORDER = 2               /* the order counts */
};
/* Makes every join that the query needs.  bare: no alias for the root (no joins then). */
void orm_scope_init(orm_compiler *c, orm_scope *scope, const orm_query *query, unsigned wanted);
/* Without looking at the query: the root alone. */
void orm_scope_init_root(orm_compiler *c, orm_scope *scope, const orm_query *query);
uint32_t orm_scope_join(orm_compiler *c, orm_scope *scope, uint32_t parent, uint16_t via);
/* The joins for relations and order alone (the conditions stand in a subquery). */
void orm_scope_add_related(orm_compiler *c, orm_scope *scope);
void orm_scope_add_order(orm_compiler *c, orm_scope *scope);
/* The column at the end of a path, joining what is missing on the way.  A path to a relation's
 * key ends at the referring column: no join is made for it. */
orm_operand orm_scope_operand(orm_compiler *c, orm_scope *scope, const orm_path *path);
bool orm_scope_is_joined(const orm_scope *scope);
void orm_scope_column(orm_compiler *c, const orm_scope *scope, uint32_t join,
                      const orm_field *field);
void orm_scope_from(orm_compiler *c, const orm_scope *scope); /* " FROM …" */
const orm_query *orm_scope_order(const orm_scope *scope);     /* the ORDER node in force, or NULL */

/* ---- match.c ---- */
void orm_sql_match(orm_compiler *c, orm_scope *scope, const orm_query *node);
/* Joins what the terms of the node refer to, and gives tables their own names where they need it. */
void orm_scope_add_match(orm_compiler *c, orm_scope *scope, const orm_query *node);

/* ---- where.c ---- */
void orm_sql_where(orm_compiler *c, orm_scope *scope);        /* " WHERE …", or nothing */
void orm_sql_cond(orm_compiler *c, orm_scope *scope, const orm_query_cond *cond, bool negate);
/* Whether it can be unknown, as it is written there without negation. */
bool orm_sql_cond_may_be_unknown(orm_compiler *c, orm_scope *scope, const orm_query_cond *cond);
uint32_t orm_sql_value_next(orm_compiler *c);                 /* the number of the next value */
/* Whether the conditions pin the root's row by a unique field (no function over text beside),
 * and whether there are none. */
bool orm_scope_is_by_key(const orm_scope *scope);
bool orm_scope_has_conditions(const orm_scope *scope);

/* ---- select.c ---- */
/* SELECT … for kind ORM_OP_ALL/GET/FIRST/LAST/COUNT/EXISTS; fills the plan's layout. */
void orm_sql_select(orm_compiler *c, int kind, const orm_query *query, orm_plan *plan);
/* One number that belongs to no model: a count, a key. */
void orm_sql_number_layout(orm_compiler *c, orm_layout *layout);
/* `SELECT key FROM …` with the query's conditions, order and slice; numbers: the slice is
 * written as numbers, since only the outermost query's are parameters. */
void orm_sql_select_keys(orm_compiler *c, const orm_query *query, bool numbers);
/* "key" or "(a, b)" of the scope's root. */
void orm_scope_keys(orm_compiler *c, const orm_scope *scope, bool parens);

/* ---- write.c ---- */
void orm_sql_insert(orm_compiler *c, const orm_write *write, orm_plan *plan);
void orm_sql_update(orm_compiler *c, const orm_query *query, const orm_write *write,
                    orm_plan *plan);
void orm_sql_delete(orm_compiler *c, const orm_query *query, orm_plan *plan);
#endif
