/* fuzz_path.c - any bytes as a lookup path: "album__name__iexact".
 *
 * Properties: what is accepted names registered fields only; written out in full it resolves to
 * the same path; ordering by it or filtering with it compiles, to SQL in which nothing of the text
 * stands but names of the models.  What is refused is ORM_EFIELD with one short line of UTF-8.
 */
#include "fuzz.h"

#include "../golden/models.h"
#include "dialect/dialect.h"

static const orm_model *models[ORM_COUNT(golden_models)];

static void models_make(void)
{
    orm_schema *schema = orm_schema_new(); /* lives as long as the process */
    for (size_t i = 0; i < ORM_COUNT(models); i++) {
        orm_model *model;
        FUZZ_CHECK(orm_schema_add(schema, &golden_models[i], &model, NULL) == ORM_OK);
        models[i] = model;
    }
}

static void check_error(const orm_error *err)
{
    size_t len = strlen(err->message);
    FUZZ_CHECK(err->status == ORM_EFIELD && len > 0);
    FUZZ_CHECK(orm_utf8_is_valid(err->message, len));
    for (size_t i = 0; i < len; i++) FUZZ_CHECK((unsigned char)err->message[i] >= 0x20);
}

static void write_path(orm_buf *out, const orm_path *path, int accept)
{
    const orm_model *model = path->root;
    if (path->descending) orm_buf_addc(out, '-');
    for (size_t i = 0; i < path->depth; i++) {
        FUZZ_CHECK(path->steps[i] < model->n_fields);
        orm_buf_addf(out, "%s__", model->fields[path->steps[i]].def.name);
        model = model->fields[path->steps[i]].target;
        FUZZ_CHECK(model != NULL);
    }
    FUZZ_CHECK(model == orm_path_model(path) && path->field < model->n_fields);
    orm_buf_adds(out, model->fields[path->field].def.name);
    if (accept == ORM_PATH_LOOKUP) orm_buf_addf(out, "__%s", orm_lookup_name(path->lookup));
}

static void check_round_trip(const orm_path *path, int accept)
{
    orm_buf text;
    orm_path again;
    orm_buf_init(&text, 4096);
    write_path(&text, path, accept);
    FUZZ_CHECK(orm_path_resolve(path->root, text.ptr, text.len, accept, &again, NULL) == ORM_OK);
    FUZZ_CHECK(memcmp(&again, path, sizeof again) == 0);
    orm_buf_dispose(&text);
}

static orm_query *filter(const orm_path *path)
{
    const orm_value two[] = {orm_text("\1"), orm_text("\2")};
    orm_cond cond = {.path = *path, .value = orm_text("\1")};
    int lookup = path->lookup;
    if (lookup == ORM_LOOKUP_ISNULL) cond.value = orm_bool(true);
    if (lookup == ORM_LOOKUP_IN || lookup == ORM_LOOKUP_NOT_IN || lookup == ORM_LOOKUP_RANGE) {
        cond.value = orm_list(two, 2);
    }
    return orm_query_filter(orm_query_new(path->root), &cond, 1, lookup % 2 == 0);
}

static void check_sql(const orm_path *path, int accept)
{
    orm_query *query = accept == ORM_PATH_LOOKUP ? filter(path)
                       : accept == ORM_PATH_RELATION
                           ? orm_query_related(orm_query_new(path->root), path, 1)
                           : orm_query_order(orm_query_new(path->root), path, 1);
    char *sql;
    orm_error err;
    FUZZ_CHECK(orm_query_error(query) == NULL);
    FUZZ_CHECK(orm_query_sql(query, "sqlite", ORM_OP_ALL, &sql, &err) == ORM_OK);
    size_t quotes = 0;
    for (const char *p = sql; *p; p++) {
        quotes += *p == '"';
        FUZZ_CHECK((unsigned char)*p >= 0x20 && *p != ';');
    }
    FUZZ_CHECK(quotes % 2 == 0);
    orm_text_free(sql);
    orm_query_unref(query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int accepts[] = {ORM_PATH_LOOKUP, ORM_PATH_ORDER, ORM_PATH_RELATION,
                                  ORM_PATH_FIELD};
    if (!models[0]) models_make();
    for (size_t m = 0; m < ORM_COUNT(models); m++) {
        for (size_t a = 0; a < ORM_COUNT(accepts); a++) {
            orm_path path;
            orm_error err = {0};
            if (orm_path_resolve(models[m], (const char *)data, size, accepts[a], &path, &err) <
                0) {
                check_error(&err);
                continue;
            }
            check_round_trip(&path, accepts[a]);
            check_sql(&path, accepts[a]);
        }
    }
    return 0;
}
