/* match.c - the step that takes an expression: conditions under AND, OR and NOT, and conditions in
 * SQL of the caller's own.
 *
 * The node keeps the terms in prefix order, as they were given, and beside them one list of
 * conditions: those of the terms and, marked as raw, the values of their SQL.  So values are
 * numbered, released and compared as those of every other node.
 */
#include "query.h"

static void term_drop(const orm_term *term)
{
    if (term->op == ORM_TERM_COND) orm_query_conds_drop(&term->cond, 1);
    for (uint32_t i = 0; term->op == ORM_TERM_SQL && i < term->n; i++) {
        orm_cond cond = {.value = term->values[i]};
        orm_query_conds_drop(&cond, 1);
    }
}

static void terms_drop(const orm_term *terms, size_t n)
{
    for (size_t i = 0; i < n; i++) term_drop(&terms[i]);
}

/* ---- what is no expression ---- */

static uint32_t term_operands(const orm_term *term)
{
    if (term->op == ORM_TERM_AND || term->op == ORM_TERM_OR) return term->n;
    return term->op == ORM_TERM_NOT ? 1 : 0;
}

/* One expression and nothing behind it, not too deep for those who walk it. */
static orm_status tree_check(const orm_term *terms, size_t n, orm_error *err)
{
    uint32_t left[ORM_TERM_NESTING]; /* operands still to come, by level */
    size_t level = 0, i = 0;
    left[0] = 1;
    for (; i < n && left[level] > 0; i++) {
        uint32_t operands = term_operands(&terms[i]);
        if (terms[i].op > ORM_TERM_SQL) break;
        left[level]--;
        if (operands > 0) {
            if (level + 1 == ORM_TERM_NESTING) {
                return orm_fail(err, ORM_ETOOCOMPLEX, "an expression has at most %d levels",
                                ORM_TERM_NESTING);
            }
            left[++level] = operands;
        }
        while (level > 0 && left[level] == 0) level--;
    }
    if (i == n && left[level] == 0) return ORM_OK;
    return orm_fail(err, ORM_EMISUSE, "these terms are not one expression in prefix order");
}

/* As many places for values as there are values. */
static orm_status sql_check(const orm_term *term, orm_error *err)
{
    size_t places = 0;
    for (size_t i = 0; i < term->sql.len; i++) places += term->sql.ptr[i] == 1;
    if (term->sql.len == 0 || term->sql.len > UINT32_MAX)
        return orm_fail(err, ORM_EMISUSE, "a condition in SQL is empty, or too long");
    if (places == term->n) return ORM_OK;
    return orm_fail(err, ORM_EMISUSE, "a condition in SQL has %zu places for %u values", places,
                    term->n);
}

static orm_status joins_check(const orm_query *query, const orm_term *term, orm_error *err)
{
    for (uint32_t i = 0; i < term->n_joins; i++) {
        const orm_path *path = &term->joins[i];
        if (path->root != query->model || !orm_path_field(path)->target) {
            return orm_fail(err, ORM_EMISUSE, "a condition in SQL joins relations of %s only",
                            query->model->name);
        }
    }
    return ORM_OK;
}

static orm_status terms_check(const orm_query *query, const orm_term *terms, size_t n,
                              orm_error *err)
{
    ORM_TRY(tree_check(terms, n, err));
    for (size_t i = 0; i < n; i++) {
        if (terms[i].op == ORM_TERM_COND) ORM_TRY(orm_query_conds_check(&terms[i].cond, 1, err));
        if (terms[i].op != ORM_TERM_SQL) continue;
        ORM_TRY(sql_check(&terms[i], err));
        ORM_TRY(joins_check(query, &terms[i], err));
    }
    return ORM_OK;
}

/* ---- what a filter says as well ---- */

static bool all_own_conditions(const orm_term *terms, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (terms[i].op != ORM_TERM_COND || terms[i].cond.path.depth > 0) return false;
    }
    return n > 0;
}

/* Conditions on the model's own fields, all of which must hold, or one that must not: a filter, which
 * shares its plan with those of other callers and is known to be quick where it is. */
static bool is_filter(const orm_term *terms, size_t n, size_t *first)
{
    *first = terms[0].op == ORM_TERM_AND || (terms[0].op == ORM_TERM_NOT && n == 2);
    return all_own_conditions(terms + *first, n - *first);
}

static orm_query *filter(orm_query *query, const orm_term *terms, size_t n, bool negate)
{
    orm_cond *conds = orm_alloc(n * sizeof *conds);
    if (!conds) {
        terms_drop(terms, n);
        orm_query_unref(query);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) conds[i] = terms[i].cond;
    query = orm_query_filter(query, conds, n, negate);
    orm_dealloc(conds);
    return query;
}

/* ---- the node ---- */

typedef struct match_sizes {
    size_t conds, joins, text, words;
} match_sizes;

static match_sizes sizes_of(const orm_term *terms, size_t n)
{
    match_sizes s = {0};
    for (size_t i = 0; i < n; i++) {
        const orm_term *term = &terms[i];
        s.words++;
        if (term->op == ORM_TERM_COND) {
            s.conds++;
            s.words += orm_query_conds_words(&term->cond, 1);
        } else if (term->op == ORM_TERM_SQL) {
            s.conds += term->n;
            s.words += term->n + orm_query_text_words(term->sql.len) +
                       orm_query_paths_words(term->joins, term->n_joins);
            s.joins += term->n_joins;
            s.text += term->sql.len;
        }
    }
    return s;
}

/* Copies terms, paths and texts behind the conditions. */
static void terms_copy(orm_query *node, const orm_term *terms, size_t n, const match_sizes *sizes)
{
    orm_query_term *own = (orm_query_term *)(node->as.conds + sizes->conds);
    orm_path *joins = (orm_path *)(own + n);
    char *text = (char *)(joins + sizes->joins);
    node->terms = own;
    node->n_terms = (uint32_t)n;
    for (size_t i = 0; i < n; i++, own++) {
        const orm_term *term = &terms[i];
        *own = (orm_query_term){.op = term->op, .n = term->n};
        if (term->op != ORM_TERM_SQL) continue;
        own->sql = memcpy(text, term->sql.ptr, term->sql.len);
        own->sql_len = (uint32_t)term->sql.len;
        own->joins = joins;
        own->n_joins = term->n_joins;
        if (term->n_joins) memcpy(joins, term->joins, term->n_joins * sizeof *joins);
        text += term->sql.len;
        joins += term->n_joins;
    }
}

/* Takes value `i` of the node, as it is. */
static orm_status raw_take(orm_query *node, const orm_value *value, size_t i, orm_error *err)
{
    orm_query_cond *own = &node->as.conds[i];
    memset(own, 0, sizeof *own);
    own->facts = ORM_FACT_RAW;
    ORM_TRY(orm_query_value_take(&own->value, value, err));
    if (own->value.kind < ORM_V_LIST) return ORM_OK;
    return orm_fail(err, ORM_EDATA, "a condition in SQL takes plain values");
}

/* Takes the values of every term; those that the node does not own afterwards are dropped. */
static orm_status values_take(orm_query *node, const orm_term *terms, size_t n, orm_error *err)
{
    orm_status status = ORM_OK;
    size_t taken = 0;
    for (size_t i = 0; i < n; i++) {
        const orm_term *term = &terms[i];
        if (status < 0) {
            term_drop(term);
        } else if (term->op == ORM_TERM_COND) {
            status = orm_query_cond_take(node, &term->cond, taken++, err);
        }
        for (uint32_t k = 0; status == ORM_OK && term->op == ORM_TERM_SQL && k < term->n; k++) {
            status = raw_take(node, &term->values[k], taken++, err);
            if (status == ORM_OK) continue;
            orm_term rest = {
                .op = ORM_TERM_SQL, .n = term->n - k - 1, .values = term->values + k + 1};
            term_drop(&rest);
        }
    }
    node->n = (uint32_t)taken;
    return status;
}

static orm_query *match(orm_query *query, const orm_term *terms, size_t n)
{
    orm_error err;
    match_sizes sizes = sizes_of(terms, n);
    size_t payload = sizes.conds * sizeof(orm_query_cond) + n * sizeof(orm_query_term) +
                     sizes.joins * sizeof(orm_path) + sizes.text;
    orm_query *node = orm_query_node(query, ORM_STEP_MATCH, sizes.conds, payload, 1 + sizes.words);
    if (!node) {
        terms_drop(terms, n);
        orm_query_unref(query);
        return NULL;
    }
    terms_copy(node, terms, n, &sizes);
    if (values_take(node, terms, n, &err) < 0) {
        orm_query_node_dispose(node);
        return orm_query_fail(query, &err);
    }
    orm_query_node_seal(node);
    return node;
}

orm_query *orm_query_match(orm_query *query, orm_term *terms, size_t n)
{
    orm_error err;
    size_t first = 0;
    if (!query || query->step == ORM_STEP_ERROR || n == 0) {
        terms_drop(terms, n);
        return query;
    }
    if (terms_check(query, terms, n, &err) < 0) {
        terms_drop(terms, n);
        return orm_query_fail(query, &err);
    }
    if (!is_filter(terms, n, &first)) return match(query, terms, n);
    return filter(query, terms + first, n - first, terms[0].op == ORM_TERM_NOT);
}
