/* sql.c - the smallest pieces of SQL text: identifiers, placeholders; and the sticky failure. */
#include "compile.h"

#include <stdio.h>

orm_status orm_sql_fail(orm_compiler *c, orm_status status, const char *format, ...)
{
    char message[sizeof c->err->message];
    va_list args;
    if (c->status < 0) return c->status;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    c->status = status;
    return orm_fail(c->err, status, "%s", message);
}

void orm_sql_add(orm_compiler *c, const char *text)
{
    orm_buf_adds(&c->sql, text);
}

void orm_sql_ident(orm_compiler *c, const char *name, size_t len)
{
    char quote = c->dialect->quote ? c->dialect->quote : '"';
    orm_buf_addc(&c->sql, quote);
    for (size_t i = 0; i < len; i++) {
        if (name[i] == quote) orm_buf_addc(&c->sql, quote);
        orm_buf_addc(&c->sql, name[i]);
    }
    orm_buf_addc(&c->sql, quote);
}

void orm_sql_table(orm_compiler *c, const orm_model *model)
{
    orm_sql_ident(c, model->table, model->table_len);
}

void orm_sql_field(orm_compiler *c, const orm_field *field)
{
    orm_sql_ident(c, field->def.column, field->column_len);
}

/* The list grows by doubling; the old one stays behind in the arena. */
static bool params_grow(orm_compiler *c)
{
    size_t cap = c->cap_params ? c->cap_params * 2 : 8;
    orm_param *params = orm_arena_alloc(c->arena, cap * sizeof *params);
    if (!params) {
        orm_sql_fail(c, ORM_ENOMEM, "out of memory");
        return false;
    }
    if (c->n_params) memcpy(params, c->params, c->n_params * sizeof *params);
    c->params = params;
    c->cap_params = cap;
    return true;
}

void orm_sql_param(orm_compiler *c, orm_param param)
{
    uint32_t max = c->dialect->max_params;
    if (c->status < 0) return;
    if (max && c->n_params >= max) {
        orm_sql_fail(c, ORM_ETOOCOMPLEX, "a statement takes at most %u parameters on %s", max,
                     c->dialect->name);
        return;
    }
    if (c->n_params == c->cap_params && !params_grow(c)) return;
    c->params[c->n_params++] = param;
    if (c->dialect->numbered)
        orm_buf_addf(&c->sql, "$%zu", c->n_params);
    else
        orm_buf_addc(&c->sql, '?');
}

void orm_sql_slice_param(orm_compiler *c, int how, uint32_t cap)
{
    orm_sql_param(c, (orm_param){.how = (uint8_t)how, .type = ORM_TYPE_INT64, .index = cap});
}
