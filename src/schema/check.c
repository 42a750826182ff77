/* check.c - the rules that a model definition must keep, one small function a rule.
 *
 * Names end up in SQL text, quoted; here is where everything is refused that a backend could cut,
 * fold or misread (a NUL, a control character, more than 63 bytes).
 */
#include "schema.h"

enum {
    NAME_BYTES = 63,
    MAX_FIELDS = 2000,
    MAX_DIGITS = 1000
};

/* Reads struct i of an array whose elements have `stride` bytes: what the caller's older header
 * did not know stays zero. */
static void element_read(void *out, size_t size, const void *array, size_t stride, size_t i)
{
    memset(out, 0, size);
    memcpy(out, (const char *)array + i * stride, stride < size ? stride : size);
}

orm_field_def orm_model_def_field(const orm_model_def *def, size_t i)
{
    orm_field_def field;
    element_read(&field, sizeof field, def->fields, def->field_size, i);
    if (field.member & ORM_M_OPT) field.nullable = 1;
    return field;
}

orm_constraint_def orm_model_def_constraint(const orm_model_def *def, size_t i)
{
    orm_constraint_def constraint;
    element_read(&constraint, sizeof constraint, def->constraints, def->constraint_size, i);
    return constraint;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Names of models and fields: what a keyword argument can spell. */
static bool is_identifier(const char *name, bool allow_double)
{
    size_t i = 0;
    if (!is_letter(name[0])) return false;
    for (; name[i]; i++) {
        bool digit = name[i] >= '0' && name[i] <= '9';
        if (i >= NAME_BYTES || (!is_letter(name[i]) && !digit)) return false;
        if (!allow_double && name[i] == '_' && name[i + 1] == '_') return false;
    }
    return true;
}

/* Names of tables, columns and constraints: quoted exactly, so nearly anything may stand in
 * them. */
static orm_status sql_name_check(const char *what, const char *name, orm_error *err)
{
    size_t len = strlen(name);
    if (len == 0) return orm_fail(err, ORM_ECONFIG, "%s name must not be empty", what);
    if (len > NAME_BYTES) {
        return orm_fail(err, ORM_ECONFIG, "%s name '%.*s...' is longer than %d bytes", what,
                        (int)orm_utf8_cut(name, len, 40), name, NAME_BYTES);
    }
    if (!orm_utf8_is_valid(name, len)) {
        return orm_fail(err, ORM_ECONFIG, "%s name is not valid UTF-8", what);
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7F) {
            return orm_fail(err, ORM_ECONFIG, "%s name '%s' holds a control character", what, name);
        }
    }
    return ORM_OK;
}

static orm_status reference_check(const orm_model_def *def, const orm_field_def *f, orm_error *err)
{
    if (f->type != ORM_TYPE_REF) {
        if (!f->target && !f->target_def) return ORM_OK;
        return orm_fail(err, ORM_ECONFIG, "%s.%s has a target but is no reference", def->name,
                        f->name);
    }
    if (!f->target && !f->target_def) {
        return orm_fail(err, ORM_ECONFIG, "reference %s.%s names no target", def->name, f->name);
    }
    if (f->on_delete > ORM_SET_DEFAULT || f->on_update > ORM_SET_DEFAULT) {
        return orm_fail(err, ORM_ECONFIG, "%s.%s: unknown on_delete or on_update", def->name,
                        f->name);
    }
    if ((f->on_delete == ORM_SET_NULL || f->on_update == ORM_SET_NULL) && !f->nullable) {
        return orm_fail(err, ORM_ECONFIG, "%s.%s: SET NULL needs a nullable field", def->name,
                        f->name);
    }
    return ORM_OK;
}

static orm_status field_check(const orm_model_def *def, const orm_field_def *f, orm_error *err)
{
    if (!f->name || !is_identifier(f->name, false) || strcmp(f->name, "pk") == 0) {
        return orm_fail(err, ORM_ECONFIG,
                        "model %s: '%.70s' is no field name (letters, digits, single _; not pk)",
                        def->name, f->name ? f->name : "");
    }
    ORM_TRY(sql_name_check("column", f->column ? f->column : f->name, err));
    if (f->type == ORM_TYPE_NONE || f->type > ORM_TYPE_REF) {
        return orm_fail(err, ORM_ECONFIG, "%s.%s: unknown type %u", def->name, f->name, f->type);
    }
    if (f->primary_key && f->nullable) {
        return orm_fail(err, ORM_ECONFIG, "%s.%s: a primary key cannot be nullable", def->name,
                        f->name);
    }
    if (f->digits > MAX_DIGITS || (f->digits && f->places > f->digits)) {
        return orm_fail(err, ORM_ECONFIG, "%s.%s: %u digits with %u places are not possible",
                        def->name, f->name, f->digits, f->places);
    }
    return reference_check(def, f, err);
}

/* Without regard to ASCII case: most backends fold names that way. */
static bool same_name(const char *a, const char *b)
{
    size_t i = 0;
    for (; a[i] && b[i]; i++) {
        char x = a[i], y = b[i];
        if (x >= 'A' && x <= 'Z') x = (char)(x + 32);
        if (y >= 'A' && y <= 'Z') y = (char)(y + 32);
        if (x != y) return false;
    }
    return a[i] == b[i];
}

static orm_status fields_check(const orm_model_def *def, orm_error *err)
{
    for (size_t i = 0; i < def->n_fields; i++) {
        orm_field_def f = orm_model_def_field(def, i);
        ORM_TRY(field_check(def, &f, err));
        for (size_t k = 0; k < i; k++) {
            orm_field_def g = orm_model_def_field(def, k);
            if (strcmp(f.name, g.name) == 0) {
                return orm_fail(err, ORM_ECONFIG, "model %s has two fields '%s'", def->name,
                                f.name);
            }
            if (same_name(f.column ? f.column : f.name, g.column ? g.column : g.name)) {
                return orm_fail(err, ORM_ECONFIG, "%s.%s and %s.%s share column '%s'", def->name,
                                g.name, def->name, f.name, f.column ? f.column : f.name);
            }
        }
    }
    return ORM_OK;
}

static bool has_field(const orm_model_def *def, const char *name)
{
    for (size_t i = 0; i < def->n_fields; i++) {
        if (strcmp(orm_model_def_field(def, i).name, name) == 0) return true;
    }
    return false;
}

static orm_status constraint_check(const orm_model_def *def, const orm_constraint_def *c,
                                   orm_error *err)
{
    if (c->kind < ORM_CONSTRAINT_PRIMARY_KEY || c->kind > ORM_CONSTRAINT_UNIQUE_INDEX) {
        return orm_fail(err, ORM_ECONFIG, "model %s: unknown constraint kind %u", def->name,
                        c->kind);
    }
    if (c->name) ORM_TRY(sql_name_check("constraint", c->name, err));
    if (c->kind == ORM_CONSTRAINT_CHECK ? !c->sql || !c->sql[0] : c->n_fields == 0) {
        return orm_fail(err, ORM_ECONFIG, "model %s: constraint '%s' says nothing", def->name,
                        c->name ? c->name : "");
    }
    for (size_t i = 0; i < c->n_fields; i++) {
        if (!has_field(def, c->fields[i])) {
            return orm_fail(err, ORM_ECONFIG, "model %s: constraint names unknown field '%.70s'",
                            def->name, c->fields[i]);
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(c->fields[i], c->fields[k]) == 0) {
                return orm_fail(err, ORM_ECONFIG, "model %s: constraint names '%s' twice",
                                def->name, c->fields[i]);
            }
        }
    }
    return ORM_OK;
}

/* A key is declared by its fields or by one PRIMARY KEY constraint, not by both. */
static orm_status key_check(const orm_model_def *def, orm_error *err)
{
    size_t fields = 0, constraints = 0;
    for (size_t i = 0; i < def->n_fields; i++) {
        fields += orm_model_def_field(def, i).primary_key != 0;
    }
    for (size_t i = 0; i < def->n_constraints; i++) {
        orm_constraint_def c = orm_model_def_constraint(def, i);
        if (c.kind != ORM_CONSTRAINT_PRIMARY_KEY) continue;
        constraints++;
        for (size_t k = 0; k < c.n_fields; k++) {
            for (size_t j = 0; j < def->n_fields; j++) {
                orm_field_def f = orm_model_def_field(def, j);
                if (f.nullable && strcmp(f.name, c.fields[k]) == 0) {
                    return orm_fail(err, ORM_ECONFIG, "%s.%s: a primary key cannot be nullable",
                                    def->name, f.name);
                }
            }
        }
    }
    if (fields + constraints == 0) {
        return orm_fail(err, ORM_ECONFIG, "model %s has no primary key", def->name);
    }
    if (constraints > 1 || (constraints && fields)) {
        return orm_fail(err, ORM_ECONFIG, "model %s declares its primary key twice", def->name);
    }
    return ORM_OK;
}

orm_status orm_model_def_check(const orm_model_def *def, orm_error *err)
{
    if (!def || def->size < sizeof(orm_model_def) || !def->name) {
        return orm_fail(err, ORM_ECONFIG, "a model definition needs its size and a name");
    }
    if (!is_identifier(def->name, true)) {
        return orm_fail(err, ORM_ECONFIG, "'%.70s' is no model name (letters, digits, _)",
                        def->name);
    }
    ORM_TRY(sql_name_check("table", def->table ? def->table : def->name, err));
    if (def->n_fields == 0 || def->n_fields > MAX_FIELDS || !def->fields) {
        return orm_fail(err, ORM_ECONFIG, "model %s must have 1 to %d fields", def->name,
                        MAX_FIELDS);
    }
    ORM_TRY(fields_check(def, err));
    for (size_t i = 0; i < def->n_constraints; i++) {
        orm_constraint_def c = orm_model_def_constraint(def, i);
        ORM_TRY(constraint_check(def, &c, err));
    }
    return key_check(def, err);
}
