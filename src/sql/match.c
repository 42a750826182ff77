/* match.c - expressions: conditions under AND, OR and NOT, and conditions in the caller's SQL.
 *
 * The terms are walked in prefix order, which is the order of their values.  NOT is carried down
 * to what it negates: a condition has its own complement, a group is written as `(…) IS NOT TRUE`
 * when it can be unknown.  SQL of the caller's always can.
 */
#include "compile.h"

typedef struct walk {
    orm_compiler *c;
    orm_scope *scope;
    const orm_query_term *term; /* the next one */
    const orm_query_cond *cond; /* the next condition or value */
} walk;

/* ---- what an expression may be ---- */

static bool term_may_be_unknown(walk *w)
{
    const orm_query_term *term = w->term++;
    bool unknown = false;
    switch (term->op) {
    case ORM_TERM_COND: return orm_sql_cond_may_be_unknown(w->c, w->scope, w->cond++);
    case ORM_TERM_SQL: w->cond += term->n; return true;
    case ORM_TERM_NOT: term_may_be_unknown(w); return false; /* it is written as a complement */
    default:
        for (uint32_t i = 0; i < term->n; i++) unknown |= term_may_be_unknown(w);
        return unknown;
    }
}

/* ---- writing it ---- */

static void term_add(walk *w, bool negate);

static void sql_add(walk *w, const orm_query_term *term, bool negate)
{
    orm_compiler *c = w->c;
    orm_sql_add(c, "(");
    for (uint32_t i = 0; i < term->sql_len; i++) {
        if (term->sql[i] != 1)
            orm_buf_addc(&c->sql, term->sql[i]);
        else
            orm_sql_param(
                c, (orm_param){.value = (uint16_t)orm_sql_value_next(c), .how = ORM_BIND_RAW});
    }
    orm_sql_add(c, negate ? ") IS NOT TRUE" : ")");
    w->cond += term->n;
    c->terms++;
}

static void group_add(walk *w, const orm_query_term *term, bool negate)
{
    bool all = term->op == ORM_TERM_AND;
    if (term->n == 0) { /* all of nothing holds, any of nothing does not */
        orm_sql_add(w->c, all != negate ? "1 = 1" : "1 = 0");
        return;
    }
    walk ahead = *w;
    bool unknown = false;
    for (uint32_t i = 0; negate && i < term->n; i++) unknown |= term_may_be_unknown(&ahead);
    orm_sql_add(w->c, negate && !unknown ? "NOT (" : "(");
    for (uint32_t i = 0; i < term->n; i++) {
        if (i) orm_sql_add(w->c, all ? " AND " : " OR ");
        term_add(w, false);
    }
    orm_sql_add(w->c, unknown ? ") IS NOT TRUE" : ")");
}

static void term_add(walk *w, bool negate)
{
    const orm_query_term *term = w->term++;
    switch (term->op) {
    case ORM_TERM_COND: orm_sql_cond(w->c, w->scope, w->cond++, negate); break;
    case ORM_TERM_SQL: sql_add(w, term, negate); break;
    case ORM_TERM_NOT: term_add(w, !negate); break;
    default: group_add(w, term, negate); break;
    }
}

void orm_sql_match(orm_compiler *c, orm_scope *scope, const orm_query *node)
{
    walk w = {c, scope, node->terms, node->as.conds};
    term_add(&w, false);
}

/* ---- its joins ---- */

static void join_name(orm_compiler *c, orm_scope *scope, uint32_t join)
{
    if (c->status < 0) return;
    for (uint32_t i = 0; i < scope->n_joins; i++) {
        const orm_join *other = &scope->joins[i];
        if (i == join || !other->named || other->model != scope->joins[join].model) continue;
        orm_sql_fail(c, ORM_EFIELD, "the table '%.64s' is there twice: SQL cannot tell which",
                     other->model->table);
    }
    scope->joins[join].named = true;
}

static void sql_join(orm_compiler *c, orm_scope *scope, const orm_query_term *term)
{
    join_name(c, scope, 0);
    for (uint32_t i = 0; i < term->n_joins; i++) {
        const orm_path *path = &term->joins[i];
        uint32_t join = 0;
        for (size_t k = 0; k < path->depth; k++)
            join = orm_scope_join(c, scope, join, path->steps[k]);
        join_name(c, scope, orm_scope_join(c, scope, join, path->field));
    }
}

void orm_scope_add_match(orm_compiler *c, orm_scope *scope, const orm_query *node)
{
    const orm_query_cond *cond = node->as.conds;
    for (uint32_t i = 0; i < node->n_terms; i++) {
        const orm_query_term *term = &node->terms[i];
        if (term->op == ORM_TERM_COND)
            orm_scope_operand(c, scope, &cond++->path);
        else if (term->op == ORM_TERM_SQL) {
            sql_join(c, scope, term);
            cond += term->n;
        }
    }
}
