/* value.c - values: owning and ending them. */
#include "base.h"

#define LIST_DEPTH 32 /* lists in lists; the recursion below must not eat the stack */

const char *orm_value_kind_name(int kind)
{
    static const char *const names[] = {
        [ORM_V_NULL] = "null",         [ORM_V_BOOL] = "boolean",
        [ORM_V_INT] = "int",           [ORM_V_FLOAT] = "float",
        [ORM_V_TEXT] = "text",         [ORM_V_BLOB] = "bytes",
        [ORM_V_DATE] = "date",         [ORM_V_TIME] = "time",
        [ORM_V_DATETIME] = "datetime", [ORM_V_DATETIMETZ] = "datetime with time zone",
        [ORM_V_INTERVAL] = "interval", [ORM_V_UUID] = "uuid",
        [ORM_V_LIST] = "list",         [ORM_V_QUERY] = "query",
    };
    return kind >= 0 && (size_t)kind < ORM_COUNT(names) ? names[kind] : "unknown value";
}

orm_value orm_text(const char *terminated)
{
    return orm_textn(terminated, terminated ? strlen(terminated) : 0);
}

static void dispose_value(orm_value *value, int depth)
{
    if (value->release) {
        value->release(value->owner);
    } else if (value->kind == ORM_V_LIST && depth < LIST_DEPTH) {
        /* A list without an owner may have members with one. */
        for (size_t i = 0; i < value->len; i++) {
            orm_value member = value->as.list[i];
            dispose_value(&member, depth + 1);
        }
    }
    *value = orm_null();
}

void orm_value_dispose(orm_value *value)
{
    if (value) dispose_value(value, 0);
}

/* The members of a copied list, and their number for its release function. */
typedef struct list_block {
    size_t n;
    orm_value members[];
} list_block;

static void release_list(void *owner)
{
    list_block *block = owner;
    for (size_t i = 0; i < block->n; i++) orm_value_dispose(&block->members[i]);
    orm_dealloc(block);
}

static orm_status copy_value(orm_value *out, const orm_value *in, int depth, orm_error *err);

/* Takes back a copy whose making failed: what it had from `in` still belongs to `in`. */
static void undo_copy(const orm_value *copy, const orm_value *in)
{
    if (in->release || !copy->release) return;
    if (copy->kind == ORM_V_LIST) {
        list_block *block = copy->owner;
        for (size_t i = 0; i < block->n; i++) undo_copy(&block->members[i], &in->as.list[i]);
    }
    orm_dealloc(copy->owner);
}

static orm_status copy_list(orm_value *out, const orm_value *in, int depth, orm_error *err)
{
    if (depth >= LIST_DEPTH)
        return orm_fail(err, ORM_EDATA, "lists are nested more than %d deep", LIST_DEPTH);
    if (in->len > (SIZE_MAX / 2 - sizeof(list_block)) / sizeof(orm_value))
        return orm_fail_nomem(err);
    list_block *block = orm_alloc(sizeof *block + in->len * sizeof(orm_value));
    if (!block) return orm_fail_nomem(err);
    out->as.list = block->members;
    out->release = release_list;
    out->owner = block;
    for (block->n = 0; block->n < in->len; block->n++) {
        orm_status status = copy_value(&block->members[block->n], &in->as.list[block->n], depth + 1,
                                       err);
        if (status < 0) {
            undo_copy(out, in);
            return status;
        }
    }
    return ORM_OK;
}

static orm_status copy_bytes(orm_value *out, const orm_value *in, orm_error *err)
{
    char *copy = orm_strdup_n(in->as.ptr, in->len);
    if (!copy) return orm_fail_nomem(err);
    out->as.ptr = copy;
    out->release = orm_dealloc;
    out->owner = copy;
    return ORM_OK;
}

static orm_status copy_value(orm_value *out, const orm_value *in, int depth, orm_error *err)
{
    *out = *in;
    if (in->release) return ORM_OK;
    switch (in->kind) {
    case ORM_V_TEXT:
    case ORM_V_BLOB:
    case ORM_V_UUID: return copy_bytes(out, in, err);
    case ORM_V_LIST: return copy_list(out, in, depth, err);
    default: return ORM_OK;
    }
}

orm_status orm_value_own(orm_value *out, const orm_value *in, orm_error *err)
{
    orm_value copy;
    orm_status status = copy_value(&copy, in, 0, err);
    *out = status < 0 ? orm_null() : copy;
    return status;
}
