/* schema.h - models and fields: immutable once sealed, shared by reference count.
 *
 * A model is reference-counted through its schema: orm_model_ref refs the schema.  Everything a
 * model holds lies in the schema's arena.  Adding and sealing are guarded by the schema's mutex;
 * reading a sealed model needs no lock.
 */
#ifndef ORM_SCHEMA_H
#define ORM_SCHEMA_H
#include "../base/base.h"

typedef struct orm_field {
    orm_field_def def;                /* copied; strings in the schema's arena */
    uint16_t index;                   /* in model->fields */
    uint8_t type;                     /* orm_type as stored: sealed references have the key's */
    uint8_t expect;                   /* ORM_V_… the logical kind of that type */
    bool is_key;                      /* part of the primary key */
    bool is_unique;                   /* alone: unique or the only key */
    uint16_t digits, places;          /* of the stored type */
    uint32_t max_length;              /* of the stored type */
    size_t column_len;
    const struct orm_model *model;
    const struct orm_model *target;   /* references, once sealed */
} orm_field;

struct orm_model {
    orm_schema *schema;
    const char *name, *table, *comment;
    size_t table_len;
    orm_field *fields;
    uint16_t n_fields;
    uint16_t n_keys;                  /* fields of the primary key */
    uint16_t *keys;
    uint32_t struct_size;
    const orm_constraint_def *constraints;
    uint32_t n_constraints;
    const orm_model_def *def;         /* the definition it was made from (identity only) */
    uint64_t id;                      /* unique in the process: feeds the shape keys */
    void *user;
    volatile int sealed;              /* set with release order */
    bool removed;                     /* out of name lookups */
    uint32_t mark;                    /* sealing: the pass that met it last */
    struct orm_model *next;           /* in the schema, in the order of definition */
    orm_query *volatile root;         /* src/query keeps the model's first node here */
};

static inline bool orm_model_is_sealed(const orm_model *model)
{
    return __atomic_load_n(&model->sealed, __ATOMIC_ACQUIRE) != 0;
}

/* Memory that lives as long as the schema; any thread.  NULL = out of memory. */
void *orm_schema_alloc(orm_schema *schema, size_t size);
/* ORM_ECONFIG naming what is wrong with a definition taken by itself (src/schema/check.c). */
orm_status orm_model_def_check(const orm_model_def *def, orm_error *err);
/* Field i of a definition that may have been compiled against an older, shorter struct. */
orm_field_def orm_model_def_field(const orm_model_def *def, size_t i);
orm_constraint_def orm_model_def_constraint(const orm_model_def *def, size_t i);

/* The field that holds integer keys made by the database, or -1. */
int orm_model_auto_field(const orm_model *model);
/* The model registered from def; NULL if none. */
const orm_model *orm_schema_find_def(const orm_schema *schema, const orm_model_def *def);
/* Models in the order of definition. */
const orm_model *orm_schema_first(const orm_schema *schema);
const orm_model *orm_model_next(const orm_model *model);
/* The model and field that a path ends at, and the model at each step. */
const orm_field *orm_path_field(const orm_path *path);
const orm_model *orm_path_step_model(const orm_path *path, size_t depth); /* model before step */
/* Whether a lookup is meant for columns stored as `type`. */
bool orm_lookup_fits(int lookup, int type);
#endif
