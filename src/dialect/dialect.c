/* dialect.c - dialects by name, and the SQL of a query for people. */
#include "dialect.h"

static const orm_dialect *const dialects[] = {&orm_dialect_sqlite, &orm_dialect_postgresql,
                                              &orm_dialect_mariadb};

const orm_dialect *orm_dialect_find(const char *name)
{
    for (size_t i = 0; name && i < ORM_COUNT(dialects); i++) {
        if (strcmp(dialects[i]->name, name) == 0) return dialects[i];
    }
    return NULL;
}

orm_status orm_query_sql(orm_query *query, const char *dialect, int kind, char **out,
                         orm_error *err)
{
    orm_plan *plan;
    const orm_dialect *found = orm_dialect_find(dialect);
    *out = NULL;
    if (!found) {
        return orm_fail(err, ORM_ECONFIG, "there is no dialect '%.40s'", dialect ? dialect : "");
    }
    ORM_TRY(orm_compile(found, kind, query, NULL, &plan, err));
    *out = orm_strdup_n(plan->sql, plan->sql_len);
    orm_plan_unref(plan);
    return *out ? ORM_OK : orm_fail_nomem(err);
}

void orm_text_free(char *text)
{
    orm_dealloc(text);
}
