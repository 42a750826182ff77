/* where.c - conditions.
 *
 * Negation is the exact complement: what filter() keeps, exclude() drops, and nothing else.
 * SQL's third truth value would break that, so a negated condition that can be unknown (its
 * column may be NULL) is written `(…) IS NOT TRUE`, and `<>` becomes the null-safe form; where no
 * operand can be NULL the plain forms do, which indexes like better.
 */
#include "compile.h"

/* The common SQL of the lookups that are one expression over the column. */
static const orm_lookup_sql common_lookups[ORM_LOOKUP_SLOTS] = {
    [ORM_LOOKUP_EXACT] = {"@ = ?", ORM_BIND_PLAIN},
    [ORM_LOOKUP_GT] = {"@ > ?", ORM_BIND_PLAIN},
    [ORM_LOOKUP_GTE] = {"@ >= ?", ORM_BIND_PLAIN},
    [ORM_LOOKUP_LT] = {"@ < ?", ORM_BIND_PLAIN},
    [ORM_LOOKUP_LTE] = {"@ <= ?", ORM_BIND_PLAIN},
    [ORM_LOOKUP_RANGE] = {"@ BETWEEN ? AND ?", ORM_BIND_LIST_MEMBER},
    [ORM_LOOKUP_IEXACT] = {"LOWER(@) = LOWER(?)", ORM_BIND_PLAIN},
    [ORM_LOOKUP_CONTAINS] = {"@ LIKE ? ESCAPE '!'", ORM_BIND_LIKE_CONTAINS},
    [ORM_LOOKUP_ICONTAINS] = {"LOWER(@) LIKE LOWER(?) ESCAPE '!'", ORM_BIND_LIKE_CONTAINS},
    [ORM_LOOKUP_STARTSWITH] = {"@ LIKE ? ESCAPE '!'", ORM_BIND_LIKE_PREFIX},
    [ORM_LOOKUP_ISTARTSWITH] = {"LOWER(@) LIKE LOWER(?) ESCAPE '!'", ORM_BIND_LIKE_PREFIX},
    [ORM_LOOKUP_ENDSWITH] = {"@ LIKE ? ESCAPE '!'", ORM_BIND_LIKE_SUFFIX},
    [ORM_LOOKUP_IENDSWITH] = {"LOWER(@) LIKE LOWER(?) ESCAPE '!'", ORM_BIND_LIKE_SUFFIX},
    [ORM_LOOKUP_REGEX] = {"@ REGEXP ?", ORM_BIND_PLAIN},
    [ORM_LOOKUP_IREGEX] = {"LOWER(@) REGEXP LOWER(?)", ORM_BIND_PLAIN},
    [ORM_LOOKUP_YEAR] = {"EXTRACT(YEAR FROM @) = ?", ORM_BIND_INT},
    [ORM_LOOKUP_MONTH] = {"EXTRACT(MONTH FROM @) = ?", ORM_BIND_INT},
    [ORM_LOOKUP_DAY] = {"EXTRACT(DAY FROM @) = ?", ORM_BIND_INT},
    [ORM_LOOKUP_WEEK_DAY] = {"EXTRACT(ISODOW FROM @) = ?", ORM_BIND_INT},
    [ORM_LOOKUP_HOUR] = {"EXTRACT(HOUR FROM @) = ?", ORM_BIND_INT},
    [ORM_LOOKUP_MINUTE] = {"EXTRACT(MINUTE FROM @) = ?", ORM_BIND_INT},
    [ORM_LOOKUP_SECOND] = {"FLOOR(EXTRACT(SECOND FROM @)) = ?", ORM_BIND_INT},
    [ORM_LOOKUP_DATE] = {"CAST(@ AS DATE) = ?", ORM_BIND_DATE},
    [ORM_LOOKUP_TIME] = {"CAST(@ AS TIME) = ?", ORM_BIND_TIME},
};

static const orm_lookup_sql *lookup_sql(const orm_compiler *c, int lookup, int type)
{
    const orm_lookup_sql *table = c->dialect->lookups;
    bool part = lookup >= ORM_LOOKUP_HOUR && lookup <= ORM_LOOKUP_SECOND;
    if (part && type == ORM_TYPE_TIME) {
        const orm_lookup_sql *own = &table[ORM_LOOKUP_TIME_HOUR + lookup - ORM_LOOKUP_HOUR];
        if (own->sql) return own;
    }
    return table[lookup].sql ? &table[lookup] : &common_lookups[lookup];
}

/* The column, or what the dialect puts in its place for this lookup. */
static void operand_add(orm_compiler *c, const orm_scope *scope, const orm_operand *operand,
                        int lookup)
{
    const char *sql = c->dialect->operand ? c->dialect->operand(lookup, operand->field->type) : "@";
    for (; *sql; sql++) {
        if (*sql == '@')
            orm_scope_column(c, scope, operand->join, operand->field);
        else
            orm_buf_addc(&c->sql, *sql);
    }
}

static void value_add(orm_compiler *c, int lookup, orm_param param)
{
    const orm_dialect *dialect = c->dialect;
    bool whole = param.how == ORM_BIND_LIST_JSON || param.how == ORM_BIND_LIST_ARRAY;
    orm_buf type;
    orm_buf_init(&type, 64);
    bool cast = dialect->cast && !whole && dialect->cast(&type, lookup, param.field);
    if (cast) orm_sql_add(c, "CAST(");
    orm_sql_param(c, param);
    if (cast) {
        orm_sql_add(c, " AS ");
        orm_buf_add(&c->sql, type.ptr, type.len);
        orm_buf_addc(&c->sql, ')');
    }
    if (type.failed) c->sql.failed = true;
    orm_buf_dispose(&type);
}

/* Writes a template: `@` is the column, `?` the value, the second `?` its second member. */
static void template_add(orm_compiler *c, const orm_scope *scope, const orm_operand *operand,
                         int lookup, const char *sql, int how, uint32_t value)
{
    uint32_t index = 0;
    for (; *sql; sql++) {
        if (*sql == '@') {
            operand_add(c, scope, operand, lookup);
        } else if (*sql == '?') {
            value_add(c, lookup,
                      (orm_param){.value = (uint16_t)value,
                                  .how = (uint8_t)how,
                                  .type = operand->field->type,
                                  .index = index++,
                                  .field = operand->field});
        } else {
            orm_buf_addc(&c->sql, *sql);
        }
    }
}

uint32_t orm_sql_value_next(orm_compiler *c)
{
    if (c->next_value > UINT16_MAX) {
        orm_sql_fail(c, ORM_ETOOCOMPLEX, "a statement takes at most %d values", UINT16_MAX);
    }
    return c->next_value++;
}

/* ---- in ---- */

static void members_add(orm_compiler *c, const orm_operand *operand, const orm_query_cond *cond)
{
    uint32_t value = orm_sql_value_next(c);
    for (uint32_t i = 0; i < cond->list_size && c->status == ORM_OK; i++) {
        if (i) orm_sql_add(c, ", ");
        value_add(c, ORM_LOOKUP_IN,
                  (orm_param){.value = (uint16_t)value,
                              .how = ORM_BIND_LIST_MEMBER,
                              .type = operand->field->type,
                              .index = i,
                              .field = operand->field});
    }
}

/* `@ IN (…)` or, negated, `@ NOT IN (…)`. */
static void in_list(orm_compiler *c, orm_scope *scope, const orm_operand *operand,
                    const orm_query_cond *cond, bool negate)
{
    if (cond->facts & (ORM_FACT_INTS | ORM_FACT_JSON)) {
        const orm_dialect *dialect = c->dialect;
        const char *sql = negate ? dialect->list_not_in : dialect->list_in;
        if (dialect->texts_in && !(cond->facts & ORM_FACT_INTS))
            sql = negate ? dialect->texts_not_in : dialect->texts_in;
        int how = c->dialect->arrays ? ORM_BIND_LIST_ARRAY : ORM_BIND_LIST_JSON;
        template_add(c, scope, operand, ORM_LOOKUP_IN, sql, how, orm_sql_value_next(c));
        return;
    }
    operand_add(c, scope, operand, ORM_LOOKUP_IN);
    orm_sql_add(c, negate ? " NOT IN (" : " IN (");
    if (cond->facts & ORM_FACT_QUERY)
        orm_sql_select_keys(c, cond->value.as.query, true);
    else
        members_add(c, operand, cond);
    orm_sql_add(c, ")");
}

static void null_test(orm_compiler *c, const orm_scope *scope, const orm_operand *operand,
                      bool negate)
{
    orm_scope_column(c, scope, operand->join, operand->field);
    orm_sql_add(c, negate ? " IS NOT NULL" : " IS NULL");
}

static void cond_in(orm_compiler *c, orm_scope *scope, const orm_operand *operand,
                    const orm_query_cond *cond, bool negate)
{
    bool with_null = (cond->facts & ORM_FACT_HAS_NULL) != 0;
    if (cond->facts & ORM_FACT_EMPTY) {
        if (with_null)
            null_test(c, scope, operand, negate);
        else
            orm_sql_add(c, negate ? "1 = 1" : "1 = 0");
        return;
    }
    if (!operand->nullable || (!negate && !with_null)) {
        in_list(c, scope, operand, cond, negate);
        return;
    }
    orm_sql_add(c, "(");
    in_list(c, scope, operand, cond, false);
    if (with_null) {
        orm_sql_add(c, " OR ");
        null_test(c, scope, operand, false);
    }
    orm_sql_add(c, negate ? ") IS NOT TRUE" : ")");
}

/* ---- one condition ---- */

/* The negative lookups are their positive ones, negated. */
static int lookup_positive(const orm_query_cond *cond, bool *negate)
{
    switch (cond->path.lookup) {
    case ORM_LOOKUP_NE: *negate = !*negate; return ORM_LOOKUP_EXACT;
    case ORM_LOOKUP_NOT_IN: *negate = !*negate; return ORM_LOOKUP_IN;
    case ORM_LOOKUP_ISNULL:
        if (!(cond->facts & ORM_FACT_TRUE)) *negate = !*negate;
        return ORM_LOOKUP_ISNULL;
    default: return cond->path.lookup;
    }
}

/* Whether the condition as written by orm_sql_cond can be unknown rather than true or false. */
static bool cond_may_be_unknown(const orm_query_cond *cond, const orm_operand *operand)
{
    bool negate = false;
    int lookup = lookup_positive(cond, &negate);
    if (!operand->nullable || lookup == ORM_LOOKUP_ISNULL) return false;
    return !negate && !(cond->facts & (ORM_FACT_NULL | ORM_FACT_EMPTY));
}

bool orm_sql_cond_may_be_unknown(orm_compiler *c, orm_scope *scope, const orm_query_cond *cond)
{
    orm_operand operand = orm_scope_operand(c, scope, &cond->path);
    return cond_may_be_unknown(cond, &operand);
}

static void cond_equal(orm_compiler *c, orm_scope *scope, const orm_operand *operand, bool negate)
{
    const char *differs = c->dialect->differs ? c->dialect->differs : "@ IS DISTINCT FROM ?";
    const char *sql = !negate ? "@ = ?" : operand->nullable ? differs : "@ <> ?";
    template_add(c, scope, operand, ORM_LOOKUP_EXACT, sql, ORM_BIND_PLAIN, orm_sql_value_next(c));
}

void orm_sql_cond(orm_compiler *c, orm_scope *scope, const orm_query_cond *cond, bool negate)
{
    orm_operand operand = orm_scope_operand(c, scope, &cond->path);
    int lookup = lookup_positive(cond, &negate);
    c->terms++;
    if (c->status < 0) return;
    if (lookup == ORM_LOOKUP_ISNULL || (cond->facts & ORM_FACT_NULL)) {
        null_test(c, scope, &operand, negate);
    } else if (lookup == ORM_LOOKUP_IN) {
        cond_in(c, scope, &operand, cond, negate);
    } else if (lookup == ORM_LOOKUP_EXACT) {
        cond_equal(c, scope, &operand, negate);
    } else {
        const orm_lookup_sql *sql = lookup_sql(c, lookup, operand.field->type);
        if (negate) orm_sql_add(c, operand.nullable ? "(" : "NOT (");
        template_add(c, scope, &operand, lookup, sql->sql, sql->how, orm_sql_value_next(c));
        if (negate) orm_sql_add(c, operand.nullable ? ") IS NOT TRUE" : ")");
    }
}

/* ---- whole steps ---- */

static void filter_add(orm_compiler *c, orm_scope *scope, const orm_query *node)
{
    for (size_t i = 0; i < node->n; i++) {
        if (i) orm_sql_add(c, " AND ");
        orm_sql_cond(c, scope, &node->as.conds[i], false);
    }
}

static void exclude_add(orm_compiler *c, orm_scope *scope, const orm_query *node)
{
    bool unknown = false;
    if (node->n == 0) { /* no condition holds for every row */
        orm_sql_add(c, "1 = 0");
        return;
    }
    if (node->n == 1) {
        orm_sql_cond(c, scope, &node->as.conds[0], true);
        return;
    }
    for (size_t i = 0; i < node->n; i++) {
        if (orm_sql_cond_may_be_unknown(c, scope, &node->as.conds[i])) unknown = true;
    }
    orm_sql_add(c, unknown ? "(" : "NOT (");
    filter_add(c, scope, node);
    orm_sql_add(c, unknown ? ") IS NOT TRUE" : ")");
}

/* One value, looked for in every field. */
static void search_add(orm_compiler *c, orm_scope *scope, const orm_query *node)
{
    uint32_t value = orm_sql_value_next(c);
    orm_sql_add(c, "(");
    for (size_t i = 0; i < node->n; i++) {
        const orm_field *field = &node->model->fields[node->search_fields[i]];
        const orm_lookup_sql *sql = lookup_sql(c, ORM_LOOKUP_ICONTAINS, field->type);
        orm_operand operand = {0, field, field->def.nullable};
        if (i) orm_sql_add(c, " OR ");
        template_add(c, scope, &operand, ORM_LOOKUP_ICONTAINS, sql->sql, sql->how, value);
        c->terms++;
    }
    orm_sql_add(c, ")");
}

static bool is_condition(const orm_query *node)
{
    return node->step == ORM_STEP_FILTER || node->step == ORM_STEP_EXCLUDE ||
           node->step == ORM_STEP_SEARCH || node->step == ORM_STEP_MATCH;
}

void orm_sql_where(orm_compiler *c, orm_scope *scope)
{
    const char *word = " WHERE ";
    for (size_t i = 0; c->status == ORM_OK && i < scope->query->depth; i++) {
        const orm_query *node = scope->nodes[i];
        if (!is_condition(node)) continue;
        orm_sql_add(c, word);
        word = " AND ";
        if (node->step == ORM_STEP_FILTER)
            filter_add(c, scope, node);
        else if (node->step == ORM_STEP_EXCLUDE)
            exclude_add(c, scope, node);
        else if (node->step == ORM_STEP_MATCH)
            orm_sql_match(c, scope, node);
        else
            search_add(c, scope, node);
        if (c->dialect->max_terms && c->terms > c->dialect->max_terms) {
            orm_sql_fail(c, ORM_ETOOCOMPLEX, "a query has at most %u conditions on %s",
                         c->dialect->max_terms, c->dialect->name);
        }
    }
}

/* ---- what the conditions promise about the work ---- */

bool orm_scope_has_conditions(const orm_scope *scope)
{
    for (size_t i = 0; i < scope->query->depth; i++) {
        if (is_condition(scope->nodes[i])) return true;
    }
    return false;
}

/* Text functions take time by the length of the text: such a query is never rated as bounded. */
static bool lookup_is_cheap(int lookup)
{
    return lookup == ORM_LOOKUP_EXACT || lookup == ORM_LOOKUP_NE || lookup == ORM_LOOKUP_IN ||
           lookup == ORM_LOOKUP_NOT_IN || lookup == ORM_LOOKUP_ISNULL ||
           (lookup >= ORM_LOOKUP_GT && lookup <= ORM_LOOKUP_RANGE) || lookup >= ORM_LOOKUP_YEAR;
}

bool orm_scope_is_by_key(const orm_scope *scope)
{
    enum {
        MANY = 64
    };
    bool unique = false;
    size_t keys = 0;
    for (size_t i = 0; i < scope->query->depth; i++) {
        const orm_query *node = scope->nodes[i];
        if (!is_condition(node)) continue;
        if (node->step == ORM_STEP_SEARCH || node->step == ORM_STEP_MATCH) return false;
        for (size_t k = 0; k < node->n; k++) {
            const orm_query_cond *cond = &node->as.conds[k];
            const orm_field *field = orm_path_field(&cond->path);
            bool exact = cond->path.lookup == ORM_LOOKUP_EXACT;
            bool few = cond->path.lookup == ORM_LOOKUP_IN && cond->list_size > 0 &&
                       cond->list_size <= MANY;
            if (!lookup_is_cheap(cond->path.lookup) || (cond->facts & ORM_FACT_QUERY)) return false;
            if (node->step != ORM_STEP_FILTER || cond->path.depth > 0) continue;
            if (cond->facts & ORM_FACT_NULL) continue;
            if ((exact || few) && field->is_unique) unique = true;
            if (exact && field->is_key) keys++;
        }
    }
    return unique || keys >= scope->query->model->n_keys;
}
