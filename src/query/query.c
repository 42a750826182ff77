/* query.c - the steps that build a query.
 *
 * Each step takes the reference it is given and returns the new head of the chain.  A failed
 * step returns an ERROR node on top of the chain; NULL stands for "out of memory", which needs
 * none.  Both pass through every later step untouched.
 */
#include "query.h"

static bool is_failed(const orm_query *query)
{
    return !query || query->step == ORM_STEP_ERROR;
}

/* ---- references ---- */

orm_query *orm_query_ref(orm_query *query)
{
    if (!query) return NULL;
    if (query->step == ORM_STEP_ROOT)
        orm_schema_ref(query->model->schema);
    else
        __atomic_add_fetch(&query->refs, 1, __ATOMIC_RELAXED);
    return query;
}

void orm_query_node_dispose(orm_query *node)
{
    bool conds = node->step == ORM_STEP_FILTER || node->step == ORM_STEP_EXCLUDE ||
                 node->step == ORM_STEP_MATCH || node->step == ORM_STEP_SEARCH;
    size_t n = node->step == ORM_STEP_SEARCH ? 1 : node->n;
    for (size_t i = 0; conds && i < n; i++) orm_value_dispose(&node->as.conds[i].value);
    orm_dealloc(node);
}

/* Chains may be long: no recursion along the parents. */
void orm_query_unref(orm_query *query)
{
    while (query) {
        if (query->step == ORM_STEP_ROOT) {
            orm_schema_unref(query->model->schema);
            return;
        }
        if (__atomic_sub_fetch(&query->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
        orm_query *parent = query->parent;
        orm_query_node_dispose(query);
        query = parent;
    }
}

/* ---- nodes ---- */

/* A node on top of `parent` with room for `payload` bytes and `words` words behind it.  On
 * failure parent stays the caller's. */
orm_query *orm_query_node(orm_query *parent, int step, size_t n, size_t payload, size_t words)
{
    size_t size = sizeof(orm_query) + ((payload + 7) & ~(size_t)7);
    orm_query *node = orm_alloc(size + words * sizeof(uint64_t));
    if (!node) return NULL;
    *node = (orm_query){.refs = 1,
                        .step = (uint8_t)step,
                        .n = (uint32_t)n,
                        .depth = 1,
                        .limit = -1,
                        .parent = parent};
    if (parent) {
        node->has_order = parent->has_order;
        node->has_slice = parent->has_slice;
        node->nesting = parent->nesting;
        node->depth = parent->depth + 1;
        node->flags = parent->flags;
        node->model = parent->model;
        node->limit = parent->limit;
        node->offset = parent->offset;
    }
    node->words = (uint64_t *)((char *)node + size);
    node->as.conds = (orm_query_cond *)(node + 1);
    return node;
}

/* The failed query: takes `query`. */
orm_query *orm_query_fail(orm_query *query, const orm_error *error)
{
    orm_query *node = error->status == ORM_ENOMEM
                          ? NULL
                          : orm_query_node(query, ORM_STEP_ERROR, 0, sizeof *error, 0);
    if (!node) {
        orm_query_unref(query);
        return NULL;
    }
    *node->as.error = *error;
    return node;
}

#define FAIL(query, ...)                      \
    do {                                      \
        orm_error fail_;                      \
        orm_fail(&fail_, __VA_ARGS__);        \
        return orm_query_fail(query, &fail_); \
    } while (0)

static orm_query *nomem(orm_query *query)
{
    orm_query_unref(query);
    return NULL;
}

/* The model's first node, made once, in the schema's memory. */
static orm_query *root_get(const orm_model *model)
{
    orm_query *root = __atomic_load_n(&model->root, __ATOMIC_ACQUIRE);
    if (root) return root;
    root = orm_schema_alloc(model->schema, sizeof *root + 2 * sizeof(uint64_t));
    if (!root) return NULL;
    memset(root, 0, sizeof *root);
    root->step = ORM_STEP_ROOT;
    root->depth = 1;
    root->limit = -1;
    root->model = model;
    root->words = (uint64_t *)(root + 1);
    orm_query_node_seal(root);
    orm_query *first = NULL;
    orm_query *volatile *slot = &((orm_model *)model)->root;
    bool won = __atomic_compare_exchange_n(slot, &first, root, false, __ATOMIC_ACQ_REL,
                                           __ATOMIC_ACQUIRE);
    return won ? root : first;
}

orm_query *orm_query_new(const orm_model *model)
{
    orm_error err;
    if (ORM_UNLIKELY(orm_model_seal(model, &err) < 0)) return orm_query_fail(NULL, &err);
    orm_query *root = root_get(model);
    if (root) orm_schema_ref(model->schema);
    return root;
}

/* ---- values of conditions ---- */

static void query_release(void *owner)
{
    orm_query_unref(owner);
}

/* Values handed over are the step's from now on: a subquery gets its release function. */
static orm_value value_claim(const orm_value *value)
{
    orm_value own = *value;
    if (own.kind == ORM_V_QUERY && !own.release) {
        own.release = query_release;
        own.owner = own.as.query;
    }
    return own;
}

void orm_query_conds_drop(const orm_cond *conds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        orm_value own = value_claim(&conds[i].value);
        orm_value_dispose(&own);
    }
}

orm_status orm_query_value_take(orm_value *out, const orm_value *value, orm_error *err)
{
    orm_value own = value_claim(value);
    bool bytes = own.kind == ORM_V_TEXT || own.kind == ORM_V_BLOB || own.kind == ORM_V_UUID ||
                 own.kind == ORM_V_LIST;
    if (bytes && !own.release) return orm_value_own(out, &own, err);
    *out = own;
    return ORM_OK;
}

/* A list whose NULLs were taken out: the members that are left, and the list they are from. */
typedef struct list_box {
    orm_value original;
    orm_value members[];
} list_box;

static void list_box_release(void *owner)
{
    list_box *box = owner;
    orm_value_dispose(&box->original);
    orm_dealloc(box);
}

static orm_status list_drop_nulls(orm_value *list, orm_error *err)
{
    list_box *box = orm_alloc(sizeof *box + list->len * sizeof *box->members);
    if (!box) return orm_fail_nomem(err);
    size_t n = 0;
    for (size_t i = 0; i < list->len; i++) {
        if (list->as.list[i].kind != ORM_V_NULL) box->members[n++] = list->as.list[i];
    }
    box->original = *list;
    list->as.list = box->members;
    list->len = n;
    list->release = list_box_release;
    list->owner = box;
    return ORM_OK;
}

static bool type_is_integer(int type)
{
    return type >= ORM_TYPE_INT16 && type <= ORM_TYPE_INT64;
}

/* Types whose stored form is an integer or text on every backend, so that a list of them can be
 * sent as one JSON text. */
static bool type_is_json_able(int type)
{
    return type == ORM_TYPE_TEXT || type == ORM_TYPE_ENUM || type == ORM_TYPE_IP ||
           (type >= ORM_TYPE_DATE && type <= ORM_TYPE_DATETIMETZ) || type == ORM_TYPE_UUID;
}

static bool list_is_all(const orm_value *list, int kind)
{
    for (size_t i = 0; i < list->len; i++) {
        if (list->as.list[i].kind != kind) return false;
    }
    return true;
}

static bool list_has_nul(const orm_value *list)
{
    for (size_t i = 0; i < list->len; i++) {
        const orm_value *v = &list->as.list[i];
        if (v->kind == ORM_V_TEXT && memchr(v->as.ptr, 0, v->len)) return true;
    }
    return false;
}

static orm_status cond_fail(const orm_query_cond *cond, orm_status status, const char *problem,
                            orm_error *err)
{
    const orm_field *field = orm_path_field(&cond->path);
    return orm_fail(err, status, "%s.%s: lookup '%s' %s", field->model->name, field->def.name,
                    orm_lookup_name(cond->path.lookup), problem);
}

/* The number of placeholders: powers of two, so that lists of all lengths share few plans; very
 * long ones as they are, since padding could pass the limit of parameters. */
static uint16_t list_padded(size_t n)
{
    size_t size = 1;
    if (n > 16384) return (uint16_t)n;
    while (size < n) size *= 2;
    return (uint16_t)size;
}

static orm_status list_check(orm_query_cond *cond, orm_error *err)
{
    orm_value *list = &cond->value;
    int type = orm_path_type(&cond->path);
    for (size_t i = 0; i < list->len; i++) {
        int kind = list->as.list[i].kind;
        if (kind == ORM_V_NULL) cond->facts |= ORM_FACT_HAS_NULL;
        if (kind >= ORM_V_LIST)
            return cond_fail(cond, ORM_EDATA, "takes a list of plain values", err);
    }
    if (cond->path.lookup == ORM_LOOKUP_RANGE) {
        if (list->len != 2) return cond_fail(cond, ORM_EDATA, "needs exactly two values", err);
        if (cond->facts & ORM_FACT_HAS_NULL)
            return cond_fail(cond, ORM_EDATA, "has no end that is NULL; gte or lte has one", err);
        cond->list_size = 2;
        return ORM_OK;
    }
    if (cond->facts & ORM_FACT_HAS_NULL) ORM_TRY(list_drop_nulls(list, err));
    if (list->len == 0) {
        cond->facts |= ORM_FACT_EMPTY;
    } else if (type_is_integer(type) && list_is_all(list, ORM_V_INT)) {
        cond->facts |= ORM_FACT_INTS;
    } else if (list->len > ORM_LIST_JSON && type_is_json_able(type) && !list_has_nul(list)) {
        cond->facts |= ORM_FACT_JSON;
    } else if (list->len > ORM_LIST_MEMBERS) {
        return orm_fail(err, ORM_ETOOCOMPLEX, "a list of %zu values is too long here, at most %d",
                        list->len, ORM_LIST_MEMBERS);
    } else {
        cond->list_size = list_padded(list->len);
    }
    return ORM_OK;
}

static orm_status subquery_check(orm_query_cond *cond, orm_error *err)
{
    const orm_query *sub = cond->value.as.query;
    const orm_field *field = orm_path_field(&cond->path);
    if (sub->nesting + 1 > ORM_QUERY_NESTING) {
        return orm_fail(err, ORM_ETOOCOMPLEX, "more than %d subqueries within each other",
                        ORM_QUERY_NESTING);
    }
    if (sub->model->n_keys != 1) {
        return orm_fail(err, ORM_EFIELD, "a query of %s cannot stand for its key of %u fields",
                        sub->model->name, sub->model->n_keys);
    }
    if (field->target && field->target != sub->model) {
        return orm_fail(err, ORM_EFIELD, "%s.%s needs a query of %s, not of %s", field->model->name,
                        field->def.name, field->target->name, sub->model->name);
    }
    cond->facts = ORM_FACT_QUERY;
    return ORM_OK;
}

/* Finds the facts of the condition's value and refuses what its lookup cannot take. */
static orm_status cond_check(orm_query_cond *cond, orm_error *err)
{
    int kind = cond->value.kind, lookup = cond->path.lookup;
    bool lists = lookup == ORM_LOOKUP_IN || lookup == ORM_LOOKUP_NOT_IN;
    if (kind == ORM_V_QUERY) {
        if (!lists) return cond_fail(cond, ORM_EDATA, "cannot take a query", err);
        return subquery_check(cond, err);
    }
    if (lookup == ORM_LOOKUP_ISNULL) {
        if (kind != ORM_V_BOOL) return cond_fail(cond, ORM_EDATA, "needs true or false", err);
        cond->facts = cond->value.as.i ? ORM_FACT_TRUE : 0;
        return ORM_OK;
    }
    if (lists || lookup == ORM_LOOKUP_RANGE) {
        if (kind != ORM_V_LIST) return cond_fail(cond, ORM_EDATA, "needs a list", err);
        return list_check(cond, err);
    }
    if (kind == ORM_V_LIST) return cond_fail(cond, ORM_EDATA, "cannot take a list", err);
    if (kind == ORM_V_NULL) {
        bool takes_null = lookup == ORM_LOOKUP_EXACT || lookup == ORM_LOOKUP_NE ||
                          lookup == ORM_LOOKUP_IEXACT;
        if (!takes_null) return cond_fail(cond, ORM_EDATA, "cannot take NULL", err);
        cond->facts = ORM_FACT_NULL;
    }
    return ORM_OK;
}

/* ---- conditions ---- */

static orm_status path_check(const orm_query *query, const orm_path *path, orm_error *err)
{
    if (ORM_LIKELY(path->root == query->model)) return ORM_OK;
    return orm_fail(err, ORM_EMISUSE, "a path of %s cannot be used in a query of %s",
                    path->root ? path->root->name : "no model", query->model->name);
}

/* A subquery that failed passes its own error on; NULL ran out of memory. */
orm_status orm_query_conds_check(const orm_cond *conds, size_t n, orm_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (conds[i].value.kind != ORM_V_QUERY) continue;
        const orm_error *error = orm_query_error(conds[i].value.as.query);
        if (!error) continue;
        *err = *error;
        return (orm_status)error->status;
    }
    return ORM_OK;
}

/* Takes cond i of the step into the node; the node owns values [0, i] afterwards, even when
 * that fails. */
orm_status orm_query_cond_take(orm_query *node, const orm_cond *cond, size_t i, orm_error *err)
{
    orm_query_cond *own = &node->as.conds[i];
    own->path = cond->path;
    own->facts = 0;
    own->list_size = 0;
    own->value = orm_null();
    ORM_TRY(orm_query_value_take(&own->value, &cond->value, err));
    ORM_TRY(path_check(node->parent, &own->path, err));
    ORM_TRY(cond_check(own, err));
    if (own->facts & ORM_FACT_QUERY) {
        uint8_t nesting = (uint8_t)(own->value.as.query->nesting + 1);
        if (nesting > node->nesting) node->nesting = nesting;
    }
    return ORM_OK;
}

orm_query *orm_query_filter(orm_query *query, orm_cond *conds, size_t n, bool negate)
{
    orm_error err;
    if (is_failed(query) || (n == 0 && !negate)) {
        orm_query_conds_drop(conds, n);
        return query;
    }
    if (orm_query_conds_check(conds, n, &err) < 0) {
        orm_query_conds_drop(conds, n);
        return orm_query_fail(query, &err);
    }
    orm_query *node = orm_query_node(query, negate ? ORM_STEP_EXCLUDE : ORM_STEP_FILTER, n,
                                     n * sizeof(orm_query_cond),
                                     1 + orm_query_conds_words(conds, n));
    if (!node) {
        orm_query_conds_drop(conds, n);
        return nomem(query);
    }
    for (size_t i = 0; i < n; i++) {
        if (ORM_LIKELY(orm_query_cond_take(node, &conds[i], i, &err) == ORM_OK)) continue;
        orm_query_conds_drop(conds + i + 1, n - i - 1);
        node->n = (uint32_t)i + 1;
        orm_query_node_dispose(node);
        return orm_query_fail(query, &err);
    }
    orm_query_node_seal(node);
    return node;
}

static orm_query *where(orm_query *query, const char *path, orm_value value, bool negate)
{
    orm_cond cond = {.value = value};
    orm_error err;
    if (is_failed(query)) {
        orm_query_conds_drop(&cond, 1);
        return query;
    }
    if (orm_path_resolve(query->model, path, path ? strlen(path) : 0, ORM_PATH_LOOKUP, &cond.path,
                         &err) < 0) {
        orm_query_conds_drop(&cond, 1);
        return orm_query_fail(query, &err);
    }
    return orm_query_filter(query, &cond, 1, negate);
}

orm_query *orm_query_where(orm_query *query, const char *path, orm_value value)
{
    return where(query, path, value, false);
}

orm_query *orm_query_exclude(orm_query *query, const char *path, orm_value value)
{
    return where(query, path, value, true);
}

static bool field_is_text(const orm_model *model, uint16_t field)
{
    return field < model->n_fields && model->fields[field].type == ORM_TYPE_TEXT;
}

orm_query *orm_query_search(orm_query *query, const uint16_t *fields, size_t n, orm_value text)
{
    orm_cond cond = {.value = text};
    orm_error err;
    orm_query *node = NULL;
    if (is_failed(query)) {
        orm_query_conds_drop(&cond, 1);
        return query;
    }
    bool fit = text.kind == ORM_V_TEXT && n > 0;
    for (size_t i = 0; fit && i < n; i++) fit = field_is_text(query->model, fields[i]);
    if (!fit) {
        orm_query_conds_drop(&cond, 1);
        FAIL(query, ORM_EDATA, "search looks for a text in text fields of %s", query->model->name);
    }
    node = orm_query_node(query, ORM_STEP_SEARCH, n, sizeof(orm_query_cond) + n * sizeof *fields,
                          1 + (n + 3) / 4);
    if (!node) {
        orm_query_conds_drop(&cond, 1);
        return nomem(query);
    }
    memset(node->as.conds, 0, sizeof(orm_query_cond));
    node->search_fields = memcpy(node->as.conds + 1, fields, n * sizeof *fields);
    if (orm_query_value_take(&node->as.conds->value, &text, &err) < 0) {
        orm_dealloc(node);
        return orm_query_fail(query, &err);
    }
    orm_query_node_seal(node);
    return node;
}

/* ---- order, slices, relations ---- */

static orm_query *paths_step(orm_query *query, int step, const orm_path *paths, size_t n)
{
    orm_error err;
    for (size_t i = 0; i < n; i++) {
        if (path_check(query, &paths[i], &err) < 0) return orm_query_fail(query, &err);
        if (step == ORM_STEP_RELATED && !orm_path_field(&paths[i])->target) {
            const orm_field *field = orm_path_field(&paths[i]);
            FAIL(query, ORM_EFIELD, "%s.%s is no relation", field->model->name, field->def.name);
        }
    }
    orm_query *node = orm_query_node(query, step, n, n * sizeof *paths,
                                     1 + orm_query_paths_words(paths, n));
    if (!node) return nomem(query);
    if (n > 0) memcpy(node->as.paths, paths, n * sizeof *paths);
    if (step == ORM_STEP_ORDER) node->has_order = n > 0;
    orm_query_node_seal(node);
    return node;
}

orm_query *orm_query_order(orm_query *query, const orm_path *paths, size_t n)
{
    if (is_failed(query) || (n == 0 && !query->has_order)) return query;
    return paths_step(query, ORM_STEP_ORDER, paths, n);
}

orm_query *orm_query_related(orm_query *query, const orm_path *paths, size_t n)
{
    if (is_failed(query) || n == 0) return query;
    return paths_step(query, ORM_STEP_RELATED, paths, n);
}

static orm_query *path_step(orm_query *query, int step, int accept, const char *text)
{
    orm_path path;
    orm_error err;
    if (is_failed(query)) return query;
    if (orm_path_resolve(query->model, text, text ? strlen(text) : 0, accept, &path, &err) < 0) {
        return orm_query_fail(query, &err);
    }
    return paths_step(query, step, &path, 1);
}

orm_query *orm_query_order_by(orm_query *query, const char *path)
{
    return path_step(query, ORM_STEP_ORDER, ORM_PATH_ORDER, path);
}

orm_query *orm_query_select_related(orm_query *query, const char *path)
{
    return path_step(query, ORM_STEP_RELATED, ORM_PATH_RELATION, path);
}

static orm_query *slice_step(orm_query *query, int64_t limit, int64_t offset)
{
    orm_query *node = orm_query_node(query, ORM_STEP_LIMIT, 0, 0, 1);
    if (!node) return nomem(query);
    node->limit = limit;
    node->offset = offset;
    node->has_slice = limit >= 0 || offset > 0;
    orm_query_node_seal(node);
    return node;
}

orm_query *orm_query_limit(orm_query *query, int64_t limit)
{
    if (is_failed(query)) return query;
    if (limit < -1) FAIL(query, ORM_EDATA, "a limit cannot be negative");
    return slice_step(query, limit, query->offset);
}

orm_query *orm_query_offset(orm_query *query, int64_t offset)
{
    if (is_failed(query)) return query;
    if (offset < 0) FAIL(query, ORM_EDATA, "an offset cannot be negative");
    return slice_step(query, query->limit, offset);
}

orm_query *orm_query_slice(orm_query *query, int64_t start, int64_t stop)
{
    if (is_failed(query)) return query;
    if (start < 0 || stop < -1) FAIL(query, ORM_EDATA, "a slice cannot count from the end");
    if (start > INT64_MAX - query->offset) FAIL(query, ORM_EDATA, "the slice begins too far out");
    int64_t limit = -1;
    if (query->limit >= 0) limit = query->limit > start ? query->limit - start : 0;
    if (stop >= 0) {
        int64_t wanted = stop > start ? stop - start : 0;
        if (limit < 0 || wanted < limit) limit = wanted;
    }
    return slice_step(query, limit, query->offset + start);
}

orm_query *orm_query_set(orm_query *query, uint32_t flags)
{
    if (is_failed(query) || (query->flags & flags) == flags) return query;
    orm_query *node = orm_query_node(query, ORM_STEP_FLAGS, 0, 0, 1);
    if (!node) return nomem(query);
    node->flags |= flags;
    orm_query_node_seal(node);
    return node;
}

/* ---- reading ---- */

const orm_model *orm_query_model(const orm_query *query)
{
    return query ? query->model : NULL;
}

const orm_error *orm_query_error(const orm_query *query)
{
    static const orm_error nomem_error = {.status = ORM_ENOMEM, .message = "out of memory"};
    if (!query) return &nomem_error;
    return query->step == ORM_STEP_ERROR ? query->as.error : NULL;
}

bool orm_query_is_ordered(const orm_query *query)
{
    return query && query->has_order;
}

int orm_query_key_order(const orm_query *query)
{
    const orm_query *node = query;
    if (!query || !query->has_order || query->model->n_keys != 1) return 0;
    while (node->step != ORM_STEP_ORDER) node = node->parent;
    const orm_path *first = &node->as.paths[0]; /* the key is unique: what follows says nothing */
    if (first->depth != 0 || first->field != query->model->keys[0]) return 0;
    return first->descending ? -1 : 1;
}

bool orm_query_is_sliced(const orm_query *query)
{
    return query && query->has_slice;
}
