/* run_golden.c - golden tests: a query as a person would write it, and the exact SQL of it.
 *
 *   run_golden [--update] FILE.case ...
 *
 * A case is one line with the query and indented lines below it, one group for each dialect:
 *
 *   # The comment says what the case is about.
 *   Track.filter(album__name="Fantasies").order_by("-position").get()
 *     sqlite: SELECT ...
 *       values: 'Fantasies'
 *       loads: album
 *
 * values: what is bound, in the order of the placeholders.  loads: the relations in the rows,
 * beside the model itself.  error: status and message instead of SQL.  --update writes what comes
 * out into the files.  Every statement is also prepared and run by SQLite on the empty tables of
 * models.h, and by the servers that server.h knows where there are any, so that no text can stand
 * here that its backend does not take.
 */
#include "dialect/dialect.h"
#include "models.h"
#include "server.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MAX_MODELS = 16,
    MAX_ARGS = 64
};

static orm_schema *schema;
static const orm_model *models[MAX_MODELS];
static size_t n_models;
static sqlite3 *db;
static bool broken; /* a statement that SQLite does not take */

/* ---- the little language ---- */

typedef struct parser {
    const char *p;
    orm_arena arena;
    orm_error err;
    bool failed;
    int kind; /* ORM_OP_…; 0 = none yet */
    bool ddl, drop;
    const orm_model *model;
    orm_write write;
    uint16_t fields[MAX_ARGS], conflict[MAX_ARGS];
    orm_value values[MAX_ARGS * 4]; /* of the write */
    size_t n_values;
} parser;

typedef struct args {
    size_t n;
    const char *names[MAX_ARGS]; /* NULL: positional */
    size_t lens[MAX_ARGS];
    orm_value values[MAX_ARGS];
} args;

static orm_query *query_parse(parser *ps);

static void syntax(parser *ps, const char *expected)
{
    if (!ps->failed) orm_fail(&ps->err, ORM_ESYNTAX, "expected %s at '%.30s'", expected, ps->p);
    ps->failed = true;
}

static void spaces(parser *ps)
{
    while (*ps->p == ' ') ps->p++;
}

static bool accept(parser *ps, char c)
{
    spaces(ps);
    if (*ps->p != c) return false;
    ps->p++;
    return true;
}

static void expect(parser *ps, char c)
{
    char text[] = {'\'', c, '\'', 0};
    if (!accept(ps, c)) syntax(ps, text);
}

static size_t word(parser *ps, const char **out)
{
    spaces(ps);
    *out = ps->p;
    while ((*ps->p >= 'a' && *ps->p <= 'z') || (*ps->p >= 'A' && *ps->p <= 'Z') || *ps->p == '_' ||
           (*ps->p >= '0' && *ps->p <= '9')) {
        ps->p++;
    }
    return (size_t)(ps->p - *out);
}

static bool is_word(const char *text, size_t len, const char *wanted)
{
    return strlen(wanted) == len && memcmp(text, wanted, len) == 0;
}

/* "…" with \n, \0, \\, \", \xHH. */
static orm_value string_parse(parser *ps, bool bytes)
{
    char *out = orm_arena_alloc(&ps->arena, strlen(ps->p) + 1);
    size_t n = 0;
    expect(ps, '"');
    while (*ps->p && *ps->p != '"') {
        char c = *ps->p++;
        if (c == '\\') {
            c = *ps->p++;
            if (c == 'n') c = '\n';
            if (c == '0') c = '\0';
            if (c == 'x') {
                char hex[3] = {ps->p[0], ps->p[0] ? ps->p[1] : 0, 0};
                c = (char)strtol(hex, NULL, 16);
                ps->p += strlen(hex);
            }
        }
        out[n++] = c;
    }
    expect(ps, '"');
    return bytes ? orm_bytes(out, n) : orm_textn(out, n);
}

static orm_value number_parse(parser *ps)
{
    char *end;
    errno = 0;
    long long i = strtoll(ps->p, &end, 10);
    if (*end == '.' || *end == 'e') {
        double f = strtod(ps->p, &end);
        ps->p = end;
        return orm_float(f);
    }
    if (end == ps->p) syntax(ps, "a value");
    ps->p = end;
    return orm_int(i);
}

static orm_value value_parse(parser *ps);

static orm_value list_parse(parser *ps)
{
    orm_value *members = NULL;
    size_t n = 0, cap = 0;
    while (!ps->failed && !accept(ps, ']')) {
        if (n == cap) {
            cap = cap ? cap * 2 : 8;
            orm_value *more = orm_arena_alloc(&ps->arena, cap * sizeof *more);
            if (n) memcpy(more, members, n * sizeof *more);
            members = more;
        }
        members[n++] = value_parse(ps);
        if (!accept(ps, ',') && *ps->p != ']') syntax(ps, "',' or ']'");
    }
    return orm_list(members, n);
}

/* numbers(n), texts(n): long lists. */
static orm_value made_list(parser *ps, bool texts)
{
    expect(ps, '(');
    size_t n = (size_t)number_parse(ps).as.i;
    expect(ps, ')');
    orm_value *members = orm_arena_alloc(&ps->arena, n * sizeof *members + 1);
    for (size_t i = 0; i < n; i++) {
        char name[24];
        snprintf(name, sizeof name, "n%zu", i);
        members[i] = texts ? orm_textn(orm_arena_copy(&ps->arena, name, strlen(name)), strlen(name))
                           : orm_int((int64_t)i);
    }
    return orm_list(members, n);
}

static orm_value typed_parse(parser *ps, int kind)
{
    expect(ps, '(');
    orm_value v = number_parse(ps);
    v.kind = (uint8_t)kind;
    expect(ps, ')');
    return v;
}

static orm_value value_parse(parser *ps)
{
    static const struct {
        const char *name;
        int kind;
    } kinds[] = {{"date", ORM_V_DATE},
                 {"time", ORM_V_TIME},
                 {"datetime", ORM_V_DATETIME},
                 {"instant", ORM_V_DATETIMETZ},
                 {"interval", ORM_V_INTERVAL}};
    const char *text;
    spaces(ps);
    if (*ps->p == '"') return string_parse(ps, false);
    if (accept(ps, '[')) return list_parse(ps);
    const char *begin = ps->p;
    if (*begin == '-' || (*begin >= '0' && *begin <= '9')) return number_parse(ps);
    size_t len = word(ps, &text);
    if (is_word(text, len, "None")) return orm_null();
    if (is_word(text, len, "True")) return orm_bool(true);
    if (is_word(text, len, "False")) return orm_bool(false);
    if (is_word(text, len, "nan")) return orm_float(strtod("nan", NULL));
    if (is_word(text, len, "b")) return string_parse(ps, true);
    if (is_word(text, len, "numbers")) return made_list(ps, false);
    if (is_word(text, len, "texts")) return made_list(ps, true);
    for (size_t i = 0; i < ORM_COUNT(kinds); i++) {
        if (is_word(text, len, kinds[i].name)) return typed_parse(ps, kinds[i].kind);
    }
    ps->p = begin;
    orm_value v = orm_null();
    v.kind = ORM_V_QUERY;
    v.as.query = query_parse(ps);
    return v;
}

static void args_parse(parser *ps, args *out)
{
    out->n = 0;
    expect(ps, '(');
    while (!ps->failed && !accept(ps, ')')) {
        const char *begin = ps->p, *name;
        if (out->n == MAX_ARGS) {
            syntax(ps, "fewer arguments");
            return;
        }
        size_t len = word(ps, &name);
        if (len && accept(ps, '=')) {
            out->names[out->n] = name;
            out->lens[out->n] = len;
        } else {
            ps->p = begin;
            out->names[out->n] = NULL;
        }
        out->values[out->n++] = value_parse(ps);
        if (!accept(ps, ',') && *ps->p != ')') syntax(ps, "',' or ')'");
    }
}

/* ---- steps ---- */

static orm_query *step_filter(parser *ps, orm_query *query, args *a, bool negate)
{
    orm_cond conds[MAX_ARGS];
    for (size_t i = 0; i < a->n; i++) {
        conds[i].value = a->values[i];
        if (!a->names[i]) {
            syntax(ps, "names");
            return query;
        }
        if (!orm_query_error(query) &&
            orm_path_resolve(query->model, a->names[i], a->lens[i], ORM_PATH_LOOKUP, &conds[i].path,
                             &ps->err) < 0) {
            ps->failed = true;
            return query;
        }
    }
    return orm_query_filter(query, conds, a->n, negate);
}

static orm_query *step_paths(parser *ps, orm_query *query, args *a, bool order)
{
    orm_path paths[MAX_ARGS];
    for (size_t i = 0; i < a->n && !orm_query_error(query); i++) {
        if (orm_path_resolve(query->model, a->values[i].as.ptr, a->values[i].len,
                             order ? ORM_PATH_ORDER : ORM_PATH_RELATION, &paths[i], &ps->err) < 0) {
            ps->failed = true;
            return query;
        }
    }
    return order ? orm_query_order(query, paths, a->n) : orm_query_related(query, paths, a->n);
}

/* The operator of "and 2", "or 3", "not". */
static bool term_operator(const orm_value *text, orm_term *out)
{
    static const char *const names[] = {NULL, "and", "or", "not"};
    const char *p = text->as.ptr;
    for (uint8_t op = ORM_TERM_AND; op <= ORM_TERM_NOT; op++) {
        size_t len = strlen(names[op]);
        if (text->len < len || memcmp(p, names[op], len) != 0) continue;
        out->op = op;
        out->n = text->len > len ? (uint32_t)(p[len + 1] - '0') : 0;
        return true;
    }
    return false;
}

/* match("or 2", title="a", "not", sql="track.rating > \x01", value=3): terms in prefix order;
 * join= names a relation that the SQL before it needs. */
static orm_query *step_match(parser *ps, orm_query *query, args *a)
{
    static orm_path joins[MAX_ARGS];
    orm_term terms[MAX_ARGS] = {0};
    size_t n = 0;
    for (size_t i = 0; i < a->n && !ps->failed; i++) {
        const char *name = a->names[i] ? a->names[i] : "";
        orm_term *term = &terms[n];
        if (is_word(name, a->lens[i], "value")) {
            if (terms[n - 1].n++ == 0) terms[n - 1].values = &a->values[i];
        } else if (is_word(name, a->lens[i], "join")) {
            const orm_value *text = &a->values[i];
            if (terms[n - 1].n_joins++ == 0) terms[n - 1].joins = &joins[i];
            ps->failed = orm_path_resolve(query->model, text->as.ptr, text->len, ORM_PATH_RELATION,
                                          &joins[i], &ps->err) < 0;
        } else if (is_word(name, a->lens[i], "sql")) {
            term->op = ORM_TERM_SQL;
            term->sql = (orm_str){a->values[i].as.ptr, a->values[i].len};
            n++;
        } else if (a->names[i]) {
            term->cond.value = a->values[i];
            ps->failed = orm_path_resolve(query->model, name, a->lens[i], ORM_PATH_LOOKUP,
                                          &term->cond.path, &ps->err) < 0;
            n++;
        } else if (term_operator(&a->values[i], term)) {
            n++;
        } else {
            syntax(ps, "and, or, not");
        }
    }
    return ps->failed ? query : orm_query_match(query, terms, n);
}

static orm_query *step_search(parser *ps, orm_query *query, args *a)
{
    uint16_t fields[MAX_ARGS];
    for (size_t i = 1; i < a->n; i++) {
        int f = orm_model_find_field(query->model, a->values[i].as.ptr, a->values[i].len);
        if (f < 0) syntax(ps, "field names");
        fields[i - 1] = (uint16_t)f;
    }
    return orm_query_search(query, fields, a->n ? a->n - 1 : 0, a->values[0]);
}

/* update(a=1), insert(a=1, b=[row, row]), with rows, conflict, returning, arrays as options. */
static void write_args(parser *ps, const orm_model *model, args *a)
{
    orm_write *w = &ps->write;
    *w = (orm_write){.model = model, .fields = ps->fields, .rows = 1};
    for (size_t i = 0; i < a->n && a->names[i]; i++) {
        if (is_word(a->names[i], a->lens[i], "rows")) {
            w->rows = (size_t)a->values[i].as.i;
        } else if (is_word(a->names[i], a->lens[i], "returning")) {
            w->returning_key = true;
        } else if (is_word(a->names[i], a->lens[i], "arrays")) {
            w->arrays = true;
        } else if (is_word(a->names[i], a->lens[i], "conflict")) {
            w->conflict = ps->conflict;
            for (size_t k = 0; k < a->values[i].len; k++) {
                const orm_value *v = &a->values[i].as.list[k];
                ps->conflict[w->n_conflict++] = (uint16_t)orm_model_find_field(model, v->as.ptr,
                                                                               v->len);
            }
        } else {
            int f = orm_model_find_field(model, a->names[i], a->lens[i]);
            if (f < 0) syntax(ps, "field names");
            ps->fields[w->n++] = (uint16_t)f;
            ps->values[ps->n_values++] = a->values[i];
        }
    }
    for (size_t row = 1; row < w->rows && row < 4; row++) {
        for (size_t k = 0; k < w->n; k++) ps->values[ps->n_values++] = ps->values[k];
    }
}

static bool finisher_find(parser *ps, const char *name, size_t len)
{
    static const struct {
        const char *name;
        int kind;
    } kinds[] = {{"all", ORM_OP_ALL},       {"get", ORM_OP_GET},       {"first", ORM_OP_FIRST},
                 {"last", ORM_OP_LAST},     {"count", ORM_OP_COUNT},   {"exists", ORM_OP_EXISTS},
                 {"delete", ORM_OP_DELETE}, {"update", ORM_OP_UPDATE}, {"insert", ORM_OP_INSERT}};
    for (size_t i = 0; i < ORM_COUNT(kinds); i++) {
        if (!is_word(name, len, kinds[i].name)) continue;
        ps->kind = kinds[i].kind;
        return true;
    }
    return false;
}

static orm_query *method(parser *ps, orm_query *query)
{
    const char *name;
    args a;
    size_t len = word(ps, &name);
    args_parse(ps, &a);
    if (ps->failed) return query;
    if (is_word(name, len, "filter")) return step_filter(ps, query, &a, false);
    if (is_word(name, len, "exclude")) return step_filter(ps, query, &a, true);
    if (is_word(name, len, "match")) return step_match(ps, query, &a);
    if (is_word(name, len, "order_by")) return step_paths(ps, query, &a, true);
    if (is_word(name, len, "select_related")) return step_paths(ps, query, &a, false);
    if (is_word(name, len, "limit")) return orm_query_limit(query, a.values[0].as.i);
    if (is_word(name, len, "offset")) return orm_query_offset(query, a.values[0].as.i);
    if (is_word(name, len, "search")) return step_search(ps, query, &a);
    if (is_word(name, len, "load_filtered")) return orm_query_set(query, ORM_QUERY_LOAD_FILTERED);
    if (is_word(name, len, "create_table") || is_word(name, len, "drop_table")) {
        ps->ddl = true;
        ps->drop = name[0] == 'd';
    } else if (finisher_find(ps, name, len)) {
        if (a.n)
            write_args(ps, query->model, &a);
        else
            ps->write = (orm_write){.model = query->model, .fields = ps->fields, .rows = 1};
    } else {
        syntax(ps, "a method");
    }
    return query;
}

static orm_query *slice(parser *ps, orm_query *query)
{
    int64_t start = 0, stop = -1;
    spaces(ps);
    if (*ps->p != ':') start = number_parse(ps).as.i;
    expect(ps, ':');
    spaces(ps);
    if (*ps->p != ']') stop = number_parse(ps).as.i;
    expect(ps, ']');
    return orm_query_slice(query, start, stop);
}

static orm_query *query_parse(parser *ps)
{
    const char *name;
    size_t len = word(ps, &name);
    const orm_model *model = orm_schema_find(schema, name, len);
    if (!model) {
        syntax(ps, "a model");
        return NULL;
    }
    orm_query *query = orm_query_new(model);
    while (!ps->failed) {
        if (accept(ps, '.'))
            query = method(ps, query);
        else if (accept(ps, '['))
            query = slice(ps, query);
        else
            break;
    }
    return query;
}

/* ---- what SQLite says to it ---- */

static void sql_function(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n, (void)values;
    sqlite3_result_int(context, 0);
}

static int sql_collation(void *user, int an, const void *a, int bn, const void *b)
{
    (void)user;
    return orm_decimal_compare(a, (size_t)an, b, (size_t)bn);
}

static void statement_run(const char *sql, size_t n_params, size_t n_columns,
                          const orm_value *values)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    bool counted = rc == SQLITE_OK && sqlite3_bind_parameter_count(stmt) == (int)n_params &&
                   sqlite3_column_count(stmt) == (int)n_columns;
    for (size_t i = 0; counted && i < n_params; i++) {
        const orm_value *v = &values[i];
        int at = (int)i + 1;
        if (v->kind == ORM_V_INT)
            rc = sqlite3_bind_int64(stmt, at, v->as.i);
        else if (v->kind == ORM_V_FLOAT)
            rc = sqlite3_bind_double(stmt, at, v->as.f);
        else if (v->kind == ORM_V_TEXT)
            rc = sqlite3_bind_text(stmt, at, v->as.ptr, (int)v->len, NULL);
        else if (v->kind == ORM_V_BLOB)
            rc = sqlite3_bind_blob(stmt, at, v->as.ptr, (int)v->len, NULL);
        else if (v->kind != ORM_V_NULL)
            counted = false;
    }
    if (counted && rc == SQLITE_OK) {
        sqlite3_exec(db, "SAVEPOINT golden", NULL, NULL, NULL);
        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        }
        if (rc == SQLITE_DONE || (rc & 0xFF) == SQLITE_CONSTRAINT) rc = SQLITE_OK;
        sqlite3_reset(stmt);
        sqlite3_exec(db, "ROLLBACK TO golden; RELEASE golden", NULL, NULL, NULL);
    }
    if (!counted || rc != SQLITE_OK) {
        fprintf(stderr, "SQLite refuses: %s\n  %s\n", sqlite3_errmsg(db), sql);
        broken = true;
    }
    sqlite3_finalize(stmt);
}

static void tables_make(void)
{
    static const char *const functions[] = {"orm_fold", "orm_startswith", "orm_endswith",
                                            "orm_regexp", "orm_iregexp"};
    const char *const *statements;
    size_t n;
    orm_error err;
    orm_arena arena;
    sqlite3_open(":memory:", &db);
    for (size_t i = 0; i < ORM_COUNT(functions); i++) {
        sqlite3_create_function(db, functions[i], i ? 2 : 1, SQLITE_UTF8, NULL, sql_function, NULL,
                                NULL);
    }
    sqlite3_create_function(db, "orm_exact", 3, SQLITE_UTF8, NULL, sql_function, NULL, NULL);
    sqlite3_create_collation(db, "orm_decimal", SQLITE_UTF8, NULL, sql_collation);
    orm_arena_init(&arena, 4096);
    if (orm_ddl(&orm_dialect_sqlite, models, n_models, false, &arena, &statements, &n, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        if (sqlite3_exec(db, statements[i], NULL, NULL, NULL) == SQLITE_OK) continue;
        fprintf(stderr, "%s\n  %s\n", sqlite3_errmsg(db), statements[i]);
        broken = true;
    }
    orm_arena_dispose(&arena);
}

/* ---- the answer ---- */

static void quoted_add(orm_buf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == '\\')
            orm_buf_addf(out, "\\x%02x", c);
        else
            orm_buf_addc(out, text[i]);
    }
}

static void value_add(orm_buf *out, const orm_value *v)
{
    switch (v->kind) {
    case ORM_V_NULL: orm_buf_adds(out, "NULL"); break;
    case ORM_V_INT: orm_buf_addi(out, v->as.i); break;
    case ORM_V_BOOL: orm_buf_adds(out, v->as.i ? "true" : "false"); break;
    case ORM_V_DATE:
    case ORM_V_TIME:
    case ORM_V_DATETIME:
    case ORM_V_DATETIMETZ:
    case ORM_V_INTERVAL:
        orm_buf_addf(out, "%s:%lld", orm_value_kind_name(v->kind), (long long)v->as.i);
        break;
    case ORM_V_LIST:
        orm_buf_addc(out, '[');
        for (size_t i = 0; i < v->len && i < 12; i++) {
            if (i) orm_buf_addc(out, ',');
            value_add(out, &v->as.list[i]);
        }
        orm_buf_adds(out, v->len > 12 ? ",...]" : "]");
        break;
    case ORM_V_FLOAT: orm_buf_addf(out, "%.17g", v->as.f); break;
    case ORM_V_TEXT:
        orm_buf_addc(out, '\'');
        quoted_add(out, v->as.ptr, v->len < 60 ? v->len : 60);
        orm_buf_adds(out, v->len < 60 ? "'" : "...'");
        break;
    default:
        orm_buf_addf(out, "%s:", orm_value_kind_name(v->kind));
        for (size_t i = 0; i < v->len; i++) {
            orm_buf_addf(out, "%02x", ((const unsigned char *)v->as.ptr)[i]);
        }
        break;
    }
}

static void error_add(orm_buf *out, const orm_dialect *dialect, const orm_error *err)
{
    orm_buf_addf(out, "  %s: error %s: %s\n", dialect->name, orm_status_name(err->status),
                 err->message);
}

static bool values_bind(parser *ps, const orm_dialect *dialect, const orm_plan *plan,
                        const orm_query *query, orm_value *bound)
{
    size_t n_query = query ? orm_query_values(query, NULL, 0) : 0;
    size_t n = ps->n_values + n_query;
    const orm_value **values = orm_arena_alloc(&ps->arena, (n + 1) * sizeof *values);
    for (size_t i = 0; i < ps->n_values; i++) values[i] = &ps->values[i];
    if (query) orm_query_values(query, values + ps->n_values, n_query);
    for (size_t i = 0; i < plan->n_params; i++) {
        const orm_param *param = &plan->params[i];
        bool slice_param = param->how == ORM_BIND_LIMIT || param->how == ORM_BIND_OFFSET;
        const orm_value *v = slice_param ? NULL : values[param->value];
        if (orm_param_bind(dialect, param, v, query ? query->limit : -1, query ? query->offset : 0,
                           &ps->arena, &bound[i], &ps->err) < 0) {
            return false;
        }
        if (ps->write.arrays) { /* of two rows that are the same */
            orm_value *members = orm_arena_alloc(&ps->arena, 2 * sizeof *members);
            members[0] = members[1] = bound[i];
            bound[i] = orm_list(members, 2);
        }
    }
    return true;
}

static void loads_add(orm_buf *out, const orm_layout *layout)
{
    for (uint32_t i = 1; i < layout->n_nodes; i++) {
        const orm_node *node = &layout->nodes[i];
        orm_buf_adds(out, i == 1 ? "    loads: " : ", ");
        if (node->parent > 0) orm_buf_addf(out, "%d.", node->parent);
        orm_buf_adds(out, layout->nodes[node->parent].model->fields[node->via].def.name);
        orm_buf_addf(out, " (%s, columns %u to %u)", node->model->name, node->first,
                     node->first + node->count - 1);
    }
    if (layout->n_nodes > 1) orm_buf_addc(out, '\n');
}

static void sql_add(orm_buf *out, const char *sql, size_t len)
{
    enum {
        SHOWN = 1500
    };
    orm_buf_add(out, sql, len < SHOWN ? len : SHOWN);
    if (len >= SHOWN) orm_buf_addf(out, " ... (%zu bytes)", len);
    orm_buf_addc(out, '\n');
}

static void plan_answer(parser *ps, const orm_dialect *dialect, orm_query *query, orm_buf *out)
{
    orm_plan *plan;
    bool insert = ps->kind == ORM_OP_INSERT;
    const orm_write *write = insert || ps->kind == ORM_OP_UPDATE ? &ps->write : NULL;
    if (orm_compile(dialect, ps->kind, insert ? NULL : query, write, &plan, &ps->err) < 0) {
        error_add(out, dialect, &ps->err);
        return;
    }
    orm_value *bound = orm_arena_alloc(&ps->arena, plan->n_params * sizeof *bound + 1);
    if (!values_bind(ps, dialect, plan, insert ? NULL : query, bound)) {
        error_add(out, dialect, &ps->err);
        orm_plan_unref(plan);
        return;
    }
    if (dialect == &orm_dialect_sqlite) {
        statement_run(plan->sql, plan->n_params, plan->layout.n_columns, bound);
    } else {
        bool key = dialect->returning && (plan->flags & ORM_PLAN_GENERATED_KEY);
        size_t columns = plan->layout.n_columns + key;
        if (!golden_server_run(dialect, plan->sql, bound, plan->n_params, columns)) broken = true;
    }
    orm_buf_addf(out, "  %s: ", dialect->name);
    sql_add(out, plan->sql, plan->sql_len);
    for (size_t i = 0; i < plan->n_params && i < 12; i++) {
        orm_buf_adds(out, i ? ", " : "    values: ");
        value_add(out, &bound[i]);
    }
    if (plan->n_params > 12) orm_buf_addf(out, " ... (%u values)", plan->n_params);
    if (plan->n_params) orm_buf_addc(out, '\n');
    loads_add(out, &plan->layout);
    if (plan->flags & ORM_PLAN_BOUNDED) orm_buf_adds(out, "    bounded\n");
    orm_plan_unref(plan);
}

static void ddl_answer(parser *ps, const orm_dialect *dialect, const orm_model *model, orm_buf *out)
{
    const char *const *statements;
    size_t n;
    if (orm_ddl(dialect, &model, 1, ps->drop, &ps->arena, &statements, &n, &ps->err) < 0) {
        error_add(out, dialect, &ps->err);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        orm_buf_addf(out, "  %s: ", dialect->name);
        sql_add(out, statements[i], strlen(statements[i]));
        if (dialect == &orm_dialect_sqlite)
            statement_run(statements[i], 0, 0, NULL);
        else if (!golden_server_run(dialect, statements[i], NULL, 0, 0))
            broken = true;
    }
}

/* What comes out for one query, as it stands in the file. */
static void answer(const char *text, orm_buf *out)
{
    static const char *const names[] = {"sqlite", "postgresql", "mariadb"};
    parser *ps = calloc(1, sizeof *ps);
    ps->p = text;
    orm_arena_init(&ps->arena, 4096);
    orm_query *query = query_parse(ps);
    if (!ps->failed && *ps->p) syntax(ps, "the end");
    if (!ps->failed && !ps->kind && !ps->ddl) syntax(ps, "a method that ends the query");
    for (size_t i = 0; i < ORM_COUNT(names); i++) {
        const orm_dialect *dialect = orm_dialect_find(names[i]);
        if (!dialect) continue;
        if (ps->failed)
            error_add(out, dialect, &ps->err);
        else if (ps->ddl)
            ddl_answer(ps, dialect, query->model, out);
        else
            plan_answer(ps, dialect, query, out);
    }
    orm_query_unref(query);
    orm_arena_dispose(&ps->arena);
    free(ps);
}

/* ---- files ---- */

typedef struct totals {
    size_t cases, different;
} totals;

static char *file_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = calloc(1, 1 << 20);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

/* The indented lines at `p`. */
static const char *block_end(const char *p)
{
    while (p[0] == ' ') {
        const char *line = strchr(p, '\n');
        p = line ? line + 1 : p + strlen(p);
    }
    return p;
}

static void case_run(const char *line, size_t len, const char *block, size_t block_len,
                     const char *path, orm_buf *fresh, totals *sum)
{
    char *query = orm_strdup_n(line, len);
    orm_buf out;
    orm_buf_init(&out, 1 << 20);
    answer(query, &out);
    sum->cases++;
    if (out.len != block_len || memcmp(out.ptr, block, block_len) != 0) {
        sum->different++;
        fprintf(stderr, "%s: %s\n expected:\n%.*s got:\n%s\n", path, query, (int)block_len, block,
                out.ptr);
    }
    orm_buf_addf(fresh, "%s\n%s", query, out.ptr);
    orm_buf_dispose(&out);
    orm_dealloc(query);
}

static int file_run(const char *path, bool update, totals *sum)
{
    char *text = file_read(path);
    orm_buf fresh;
    if (!text) {
        fprintf(stderr, "cannot read %s\n", path);
        return 1;
    }
    orm_buf_init(&fresh, 4 << 20);
    for (const char *p = text; *p;) {
        const char *end = strchr(p, '\n');
        size_t len = end ? (size_t)(end - p) : strlen(p);
        const char *next = end ? end + 1 : p + len;
        if (len == 0 || *p == '#') {
            orm_buf_add(&fresh, p, len);
            orm_buf_addc(&fresh, '\n');
        } else {
            const char *block = next;
            next = block_end(block);
            case_run(p, len, block, (size_t)(next - block), path, &fresh, sum);
        }
        p = next;
    }
    if (update && strcmp(text, fresh.ptr) != 0) {
        FILE *f = fopen(path, "wb");
        if (f) fwrite(fresh.ptr, 1, fresh.len, f);
        if (!f || fclose(f) != 0) fprintf(stderr, "cannot write %s\n", path);
    }
    orm_buf_dispose(&fresh);
    free(text);
    return 0;
}

int main(int argc, char **argv)
{
    bool update = argc > 1 && strcmp(argv[1], "--update") == 0;
    totals sum = {0, 0};
    orm_error err;
    int failed = 0;
    schema = orm_schema_new();
    for (size_t i = 0; i < ORM_COUNT(golden_models); i++) {
        orm_model *model;
        if (orm_schema_add(schema, &golden_models[i], &model, &err) < 0) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        models[n_models++] = model;
    }
    tables_make();
    if (!golden_servers_open(models, n_models)) broken = true;
    for (int i = update ? 2 : 1; i < argc; i++) failed |= file_run(argv[i], update, &sum);
    sqlite3_close(db);
    golden_servers_close();
    orm_schema_unref(schema);
    printf("%zu cases, %zu %s\n", sum.cases, sum.different, update ? "updated" : "different");
    return failed || broken || sum.cases == 0 || (sum.different && !update);
}
