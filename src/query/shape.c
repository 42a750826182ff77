/* shape.c - what two queries must share to use one SQL text, as words; and a query's values.
 *
 * Every node keeps its own words behind itself and knows how many words and values its whole
 * chain has.  So a chain is written out by walking it from its head to its root, each node
 * copying to the place that its parent's counts give: no recursion, no reversing, no hashing.
 *
 * A node's words:
 *   step | n << 8 | facts of the step << 40
 *   conditions: field | depth << 16 | lookup << 24 | facts << 40 | list size << 48, then the
 *               relations crossed, four a word; for a subquery its length in words, its slice
 *               (which its SQL holds as numbers) and its own words
 *   paths:      field | depth << 16 | descending << 32, then the relations
 *   fields:     four a word
 *   terms:      op | operands or values << 8 | joins << 40; SQL: its length, its bytes eight a
 *               word, its joins as paths; then the conditions, raw values among them
 */
#include "query.h"

static size_t packed(size_t n)
{
    return (n + 3) / 4;
}

static uint64_t *pack(uint64_t *words, const uint16_t *numbers, size_t n)
{
    for (size_t i = 0; i < packed(n); i++) words[i] = 0;
    for (size_t i = 0; i < n; i++) words[i / 4] |= (uint64_t)numbers[i] << (i % 4 * 16);
    return words + packed(n);
}

size_t orm_query_paths_words(const orm_path *paths, size_t n)
{
    size_t words = n;
    for (size_t i = 0; i < n; i++) words += packed(paths[i].depth);
    return words;
}

size_t orm_query_conds_words(const orm_cond *conds, size_t n)
{
    size_t words = n;
    for (size_t i = 0; i < n; i++) {
        words += packed(conds[i].path.depth);
        if (conds[i].value.kind == ORM_V_QUERY) words += 3 + conds[i].value.as.query->n_words;
    }
    return words;
}

static uint64_t *cond_words(uint64_t *words, const orm_query_cond *cond)
{
    const orm_path *path = &cond->path;
    *words++ = path->field | (uint64_t)path->depth << 16 | (uint64_t)path->lookup << 24 |
               (uint64_t)cond->facts << 40 | (uint64_t)cond->list_size << 48;
    words = pack(words, path->steps, path->depth);
    if (cond->facts & ORM_FACT_QUERY) {
        const orm_query *sub = cond->value.as.query;
        *words++ = sub->n_words;
        *words++ = (uint64_t)sub->limit;
        *words++ = (uint64_t)sub->offset;
        orm_query_shape(sub, words, sub->n_words);
        words += sub->n_words;
    }
    return words;
}

static uint64_t *path_words(uint64_t *words, const orm_path *path)
{
    *words++ = path->field | (uint64_t)path->depth << 16 | (uint64_t)path->descending << 32;
    return pack(words, path->steps, path->depth);
}

static uint64_t *text_words(uint64_t *words, const char *text, size_t len)
{
    *words++ = len;
    memset(words, 0, (len + 7) / 8 * sizeof *words);
    memcpy(words, text, len);
    return words + (len + 7) / 8;
}

static uint64_t *term_words(uint64_t *words, const orm_query_term *term)
{
    *words++ = term->op | (uint64_t)term->n << 8 | (uint64_t)term->n_joins << 40;
    if (term->op != ORM_TERM_SQL) return words;
    words = text_words(words, term->sql, term->sql_len);
    for (uint32_t i = 0; i < term->n_joins; i++) words = path_words(words, &term->joins[i]);
    return words;
}

/* What else the step changes in the SQL. */
static uint64_t step_facts(const orm_query *node)
{
    switch (node->step) {
    case ORM_STEP_LIMIT: return (node->limit >= 0 ? 1u : 0u) | (node->offset > 0 ? 2u : 0u);
    case ORM_STEP_FLAGS: return node->flags;
    default: return 0;
    }
}

static size_t conds_values(const orm_query *node)
{
    size_t values = 0;
    for (size_t i = 0; i < node->n; i++) {
        const orm_query_cond *cond = &node->as.conds[i];
        if (cond->facts & ORM_FACT_QUERY)
            values += cond->value.as.query->n_values;
        else
            values += orm_query_cond_has_value(cond);
    }
    return values;
}

void orm_query_node_seal(orm_query *node)
{
    const orm_query *parent = node->parent;
    uint64_t *w = node->words;
    size_t values = 0;
    *w++ = node->step | (uint64_t)node->n << 8 | step_facts(node) << 40;
    if (node->step == ORM_STEP_ROOT) {
        *w++ = node->model->id;
    } else if (node->step == ORM_STEP_FILTER || node->step == ORM_STEP_EXCLUDE ||
               node->step == ORM_STEP_MATCH) {
        for (size_t i = 0; i < node->n_terms; i++) w = term_words(w, &node->terms[i]);
        for (size_t i = 0; i < node->n; i++) w = cond_words(w, &node->as.conds[i]);
        values = conds_values(node);
    } else if (node->step == ORM_STEP_ORDER || node->step == ORM_STEP_RELATED) {
        for (size_t i = 0; i < node->n; i++) w = path_words(w, &node->as.paths[i]);
    } else if (node->step == ORM_STEP_SEARCH) {
        w = pack(w, node->search_fields, node->n);
        values = 1;
    }
    uint64_t key = parent ? parent->key : 0;
    for (const uint64_t *p = node->words; p < w; p++) key = orm_hash_mix(key, *p);
    node->key = key;
    node->n_words = (parent ? parent->n_words : 0) + (uint32_t)(w - node->words);
    node->n_values = (parent ? parent->n_values : 0) + (uint32_t)values;
}

size_t orm_query_shape(const orm_query *query, uint64_t *words, size_t max)
{
    if (query->n_words > max) return query->n_words;
    for (const orm_query *node = query; node; node = node->parent) {
        size_t before = node->parent ? node->parent->n_words : 0;
        for (size_t i = before; i < node->n_words; i++) words[i] = node->words[i - before];
    }
    return query->n_words;
}

size_t orm_query_values(const orm_query *query, const orm_value **values, size_t max)
{
    if (query->n_values > max) return query->n_values;
    for (const orm_query *node = query; node->parent; node = node->parent) {
        const orm_value **at = values + node->parent->n_values;
        if (node->n_values == node->parent->n_values) continue;
        if (node->step == ORM_STEP_SEARCH) {
            *at = &node->as.conds[0].value;
            continue;
        }
        for (size_t i = 0; i < node->n; i++) {
            const orm_query_cond *cond = &node->as.conds[i];
            if (cond->facts & ORM_FACT_QUERY) {
                const orm_query *sub = cond->value.as.query;
                at += orm_query_values(sub, at, sub->n_values);
            } else if (orm_query_cond_has_value(cond)) {
                *at++ = &cond->value;
            }
        }
    }
    return query->n_values;
}

void orm_query_nodes(const orm_query *query, const orm_query **nodes)
{
    size_t i = query->depth;
    for (const orm_query *node = query; node; node = node->parent) nodes[--i] = node;
}

/* ---- dump ---- */

static void dump_path(const orm_path *path, orm_buf *out)
{
    const orm_model *model = path->root;
    if (path->descending) orm_buf_addc(out, '-');
    for (size_t i = 0; i < path->depth; i++) {
        const orm_field *step = &model->fields[path->steps[i]];
        orm_buf_addf(out, "%s.", step->def.name);
        model = step->target;
    }
    orm_buf_adds(out, model->fields[path->field].def.name);
}

static void dump_cond(const orm_query_cond *cond, orm_buf *out)
{
    dump_path(&cond->path, out);
    orm_buf_addf(out, " %s ", orm_lookup_name(cond->path.lookup));
    if (cond->facts & ORM_FACT_QUERY)
        orm_query_dump(cond->value.as.query, out);
    else if (cond->facts & ORM_FACT_NULL)
        orm_buf_adds(out, "null");
    else if (cond->path.lookup == ORM_LOOKUP_ISNULL) {
        orm_buf_adds(out, cond->facts & ORM_FACT_TRUE ? "true" : "false");
    } else if (cond->facts & (ORM_FACT_EMPTY | ORM_FACT_HAS_NULL)) {
        orm_buf_adds(out, !(cond->facts & ORM_FACT_HAS_NULL) ? "[]"
                          : cond->facts & ORM_FACT_EMPTY     ? "[null]"
                                                             : "[?, null]");
    } else {
        orm_buf_addc(out, '?');
    }
}

typedef struct dump_state {
    const orm_query_term *term;
    const orm_query_cond *cond;
} dump_state;

static void dump_term(dump_state *at, orm_buf *out)
{
    static const char *const names[] = {
        [ORM_TERM_AND] = "and", [ORM_TERM_OR] = "or", [ORM_TERM_NOT] = "not"};
    const orm_query_term *term = at->term++;
    if (term->op == ORM_TERM_COND) {
        dump_cond(at->cond++, out);
        return;
    }
    if (term->op == ORM_TERM_SQL) {
        for (uint32_t i = 0; i < term->sql_len; i++)
            orm_buf_addc(out, term->sql[i] == 1 ? '?' : term->sql[i]);
        at->cond += term->n;
        return;
    }
    orm_buf_addf(out, "%s(", names[term->op]);
    for (uint32_t i = 0; i < (term->op == ORM_TERM_NOT ? 1 : term->n); i++) {
        if (i) orm_buf_adds(out, ", ");
        dump_term(at, out);
    }
    orm_buf_addc(out, ')');
}

static void dump_node(const orm_query *node, orm_buf *out)
{
    static const char *const names[] = {[ORM_STEP_FILTER] = "filter",
                                        [ORM_STEP_EXCLUDE] = "exclude",
                                        [ORM_STEP_ORDER] = "order_by",
                                        [ORM_STEP_RELATED] = "select_related",
                                        [ORM_STEP_SEARCH] = "search"};
    if (node->step == ORM_STEP_ROOT) {
        orm_buf_adds(out, node->model->name);
    } else if (node->step == ORM_STEP_LIMIT) {
        const orm_query *before = node->parent;
        if (node->limit != before->limit) orm_buf_adds(out, ".limit(?)");
        if (node->offset != before->offset) orm_buf_adds(out, ".offset(?)");
    } else if (node->step == ORM_STEP_FLAGS) {
        orm_buf_addf(out, ".set(%u)", node->flags);
    } else if (node->step == ORM_STEP_MATCH) {
        orm_buf_adds(out, ".match(");
        dump_term(&(dump_state){node->terms, node->as.conds}, out);
        orm_buf_addc(out, ')');
    } else if (node->step == ORM_STEP_ERROR) {
        orm_buf_addf(out, ".error(%s)", orm_status_name(node->as.error->status));
    } else {
        orm_buf_addf(out, ".%s(", names[node->step]);
        for (size_t i = 0; i < node->n; i++) {
            if (i) orm_buf_adds(out, ", ");
            if (node->step == ORM_STEP_SEARCH) {
                orm_buf_adds(out, node->model->fields[node->search_fields[i]].def.name);
            } else if (node->step == ORM_STEP_ORDER || node->step == ORM_STEP_RELATED) {
                dump_path(&node->as.paths[i], out);
            } else {
                dump_cond(&node->as.conds[i], out);
            }
        }
        orm_buf_addc(out, ')');
    }
}

void orm_query_dump(const orm_query *query, orm_buf *out)
{
    const orm_query **nodes = query ? orm_alloc(query->depth * sizeof *nodes) : NULL;
    if (!nodes) {
        out->failed = true;
        return;
    }
    orm_query_nodes(query, nodes);
    for (size_t i = 0; i < query->depth; i++) dump_node(nodes[i], out);
    orm_dealloc(nodes);
}
