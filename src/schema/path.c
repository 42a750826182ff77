/* path.c - names into paths: "album__publisher__name__iexact", resolved once against a model.
 *
 * This is the only way in which a name that a user typed becomes part of a query: a path holds
 * numbers of registered fields, never text.  Fields win over lookups of the same name.
 */
#include "schema.h"

#include <stdio.h>

enum {
    QUOTE_BYTES = 64
};

static const char *const lookup_names[] = {
#define LOOKUP_NAME(constant, name) #name,
    ORM_LOOKUP_MAP(LOOKUP_NAME)
#undef LOOKUP_NAME
};

const char *orm_lookup_name(int lookup)
{
    return lookup >= 0 && lookup < ORM_LOOKUP_COUNT ? lookup_names[lookup] : "?";
}

static int lookup_find(const char *name, size_t len)
{
    for (int i = 0; i < ORM_LOOKUP_COUNT; i++) {
        if (strlen(lookup_names[i]) == len && memcmp(lookup_names[i], name, len) == 0) return i;
    }
    return -1;
}

static bool type_is_text(int type)
{
    return type == ORM_TYPE_TEXT || type == ORM_TYPE_IP;
}
static bool type_is_moment(int type)
{
    return type == ORM_TYPE_DATETIME || type == ORM_TYPE_DATETIMETZ;
}

bool orm_lookup_fits(int lookup, int type)
{
    switch (lookup) {
    case ORM_LOOKUP_EXACT:
    case ORM_LOOKUP_NE:
    case ORM_LOOKUP_IN:
    case ORM_LOOKUP_NOT_IN:
    case ORM_LOOKUP_ISNULL: return true;
    case ORM_LOOKUP_GT:
    case ORM_LOOKUP_GTE:
    case ORM_LOOKUP_LT:
    case ORM_LOOKUP_LTE:
    case ORM_LOOKUP_RANGE:
        return type != ORM_TYPE_JSON && type != ORM_TYPE_ARRAY && type != ORM_TYPE_ENUM;
    case ORM_LOOKUP_IEXACT: return type_is_text(type) || type == ORM_TYPE_ENUM;
    case ORM_LOOKUP_YEAR:
    case ORM_LOOKUP_MONTH:
    case ORM_LOOKUP_DAY:
    case ORM_LOOKUP_WEEK_DAY: return type == ORM_TYPE_DATE || type_is_moment(type);
    case ORM_LOOKUP_HOUR:
    case ORM_LOOKUP_MINUTE:
    case ORM_LOOKUP_SECOND: return type == ORM_TYPE_TIME || type_is_moment(type);
    case ORM_LOOKUP_DATE:
    case ORM_LOOKUP_TIME: return type_is_moment(type);
    default: /* contains … iregex */ return type_is_text(type);
    }
}

static const char *type_name(int type)
{
    static const char *const names[] = {
#define TYPE_NAME(constant, number, name) name,
        ORM_TYPE_MAP(TYPE_NAME)
#undef TYPE_NAME
    };
    return names[type];
}

/* ---- walking a path ---- */

const orm_model *orm_path_step_model(const orm_path *path, size_t depth)
{
    const orm_model *model = path->root;
    for (size_t i = 0; i < depth; i++) model = model->fields[path->steps[i]].target;
    return model;
}

const orm_model *orm_path_model(const orm_path *path)
{
    return orm_path_step_model(path, path->depth);
}

const orm_field *orm_path_field(const orm_path *path)
{
    return &orm_path_model(path)->fields[path->field];
}

orm_type orm_path_type(const orm_path *path)
{
    return (orm_type)orm_path_field(path)->type;
}

/* ---- errors ---- */

/* A name as a user wrote it, made fit for one line of a message: short, printable ASCII kept,
 * everything else as '?'. */
static const char *name_quote(char out[QUOTE_BYTES], const char *name, size_t len)
{
    size_t n = len < QUOTE_BYTES - 4 ? len : QUOTE_BYTES - 8;
    bool plain = orm_utf8_is_valid(name, len);
    if (plain) n = orm_utf8_cut(name, len, n);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)name[i];
        bool keep = c >= 0x20 && c != 0x7F && (plain || c < 0x80);
        out[i] = keep ? name[i] : '?';
    }
    memcpy(out + n, n < len ? "..." : "", n < len ? 4 : 1);
    return out;
}

/* What might have been meant: the fields of a model, "pk", lookups. */
typedef struct candidates {
    const orm_model *model; /* or NULL: no fields */
    bool relations_only, lookups;
    int type; /* of the column the lookups would apply to */
} candidates;

static const char *candidate_get(const void *of, size_t i)
{
    const candidates *c = of;
    if (c->model) {
        for (size_t f = 0; f < c->model->n_fields; f++) {
            const orm_field *field = &c->model->fields[f];
            if (c->relations_only && !field->target) continue;
            if (i-- == 0) return field->def.name;
        }
    }
    if (c->lookups) {
        for (int l = 0; l < ORM_LOOKUP_COUNT; l++) {
            if (orm_lookup_fits(l, c->type) && i-- == 0) return lookup_names[l];
        }
    }
    return NULL;
}

/* `what` says where the name was looked for: "Track has no field". */
static orm_status unknown_name(const candidates *c, const char *what, const char *name, size_t len,
                               orm_error *err)
{
    char quoted[QUOTE_BYTES];
    orm_buf near;
    orm_buf_init(&near, 400);
    size_t n = orm_text_nearest(&near, name, len < 64 ? len : 64, candidate_get, c);
    bool show = n > 0 && !near.failed;
    orm_status status = orm_fail(err, ORM_EFIELD, "%s '%s'%s%s", what,
                                 name_quote(quoted, name, len), show ? "; nearest: " : "",
                                 show ? near.ptr : "");
    orm_buf_dispose(&near);
    return status;
}

/* ---- resolving ---- */

typedef struct walk {
    const char *text, *end; /* what is left */
    int accept;
    const orm_model *model; /* where `field` was found */
    const orm_field *field; /* the last one, NULL at the start */
    orm_path *path;
    orm_error *err;
} walk;

/* Where the segment that begins at `text` may end; `from` continues behind an earlier answer.
 * "a___b" can be cut in two places, since names may begin or end with one underscore. */
static const char *segment_end(const walk *w, const char *from)
{
    for (const char *p = from; p + 1 < w->end; p++) {
        if (p > w->text && p[0] == '_' && p[1] == '_') return p;
    }
    return w->end;
}

static int field_find(const orm_model *model, const char *name, size_t len)
{
    if (len == 2 && memcmp(name, "pk", 2) == 0 && model->n_keys == 1) return model->keys[0];
    return orm_model_find_field(model, name, len);
}

/* The end of the next segment: the first cut that names a field of `model` (or, without one, a
 * lookup), else the plain first one. */
static const char *segment_take(const walk *w, const orm_model *model, int *field)
{
    const char *first = segment_end(w, w->text), *end = first;
    for (;;) {
        size_t len = (size_t)(end - w->text);
        *field = model ? field_find(model, w->text, len) : lookup_find(w->text, len);
        if (*field >= 0) return end;
        if (end + 2 >= w->end || end[2] != '_') return first;
        end++;
    }
}

static orm_status composite_key_fail(const walk *w, const orm_model *model)
{
    return orm_fail(w->err, ORM_EFIELD,
                    "%s has a key of %u fields, 'pk' cannot stand for them: name the fields",
                    model->name, model->n_keys);
}

static orm_status no_field_fail(const walk *w, const orm_model *model, size_t len)
{
    char what[140];
    bool lookups = w->accept == ORM_PATH_LOOKUP && w->field;
    candidates c = {model, w->accept == ORM_PATH_RELATION, lookups,
                    w->field ? w->field->type : ORM_TYPE_NONE};
    if (len == 2 && memcmp(w->text, "pk", 2) == 0) return composite_key_fail(w, model);
    const char *kind = w->accept == ORM_PATH_RELATION ? "relation" : "field";
    snprintf(what, sizeof what, "%s has no %s%s", model->name, kind, lookups ? " or lookup" : "");
    return unknown_name(&c, what, w->text, len, w->err);
}

/* Crosses the relation `w->field` so that the next name is looked for in its target. */
static orm_status relation_cross(walk *w)
{
    if (w->path->depth == ORM_PATH_DEPTH) {
        return orm_fail(w->err, ORM_EFIELD, "a path crosses at most %d relations", ORM_PATH_DEPTH);
    }
    w->path->steps[w->path->depth++] = w->field->index;
    return ORM_OK;
}

/* The rest of the text must be one lookup that fits the field. */
static orm_status lookup_resolve(walk *w, const char *end, int lookup)
{
    const orm_field *f = w->field;
    char what[160];
    size_t len = (size_t)(end - w->text);
    if (lookup < 0) {
        candidates c = {NULL, false, true, f->type};
        snprintf(what, sizeof what, "%s.%s (%s) has no lookup", w->model->name, f->def.name,
                 type_name(f->type));
        return unknown_name(&c, what, w->text, len, w->err);
    }
    if (!orm_lookup_fits(lookup, f->type)) {
        return orm_fail(w->err, ORM_EFIELD, "lookup '%s' does not apply to %s.%s (%s)",
                        lookup_names[lookup], w->model->name, f->def.name, type_name(f->type));
    }
    if (end != w->end) {
        char quoted[QUOTE_BYTES];
        return orm_fail(w->err, ORM_EFIELD, "nothing may follow the lookup '%s': '%s'",
                        lookup_names[lookup], name_quote(quoted, end, (size_t)(w->end - end)));
    }
    w->path->lookup = (uint8_t)lookup;
    w->text = w->end;
    return ORM_OK;
}

static orm_status not_a_relation_fail(const walk *w)
{
    char quoted[QUOTE_BYTES];
    return orm_fail(w->err, ORM_EFIELD, "%s.%s is no relation, '%s' cannot follow", w->model->name,
                    w->field->def.name, name_quote(quoted, w->text, (size_t)(w->end - w->text)));
}

/* One segment: a field of the model reached so far or, in its place, a lookup. */
static orm_status segment_resolve(walk *w)
{
    const orm_model *model = w->field ? w->field->target : w->path->root;
    int field = -1;
    const char *end = w->text;
    if (model) end = segment_take(w, model, &field);
    if (field < 0 && w->field && w->accept == ORM_PATH_LOOKUP) {
        int lookup;
        const char *lookup_end = segment_take(w, NULL, &lookup);
        if (!model || lookup >= 0) return lookup_resolve(w, lookup_end, lookup);
    }
    if (!model) return not_a_relation_fail(w);
    if (field < 0) return no_field_fail(w, model, (size_t)(end - w->text));
    if (w->field) ORM_TRY(relation_cross(w));
    w->model = model;
    w->field = &model->fields[field];
    if (w->accept == ORM_PATH_RELATION && !w->field->target) {
        return no_field_fail(w, model, (size_t)(end - w->text));
    }
    bool more = end != w->end;
    w->text = more ? end + 2 : end;
    if (more && w->text == w->end) {
        return orm_fail(w->err, ORM_EFIELD, "a name is missing behind '%s__'", w->field->def.name);
    }
    return ORM_OK;
}

static uint64_t path_hash(const orm_path *path)
{
    uint64_t h = orm_hash_mix(path->root->id, path->field | (uint64_t)path->lookup << 16 |
                                                  (uint64_t)path->descending << 24 |
                                                  (uint64_t)path->depth << 32);
    for (size_t i = 0; i < path->depth; i++) h = orm_hash_mix(h, path->steps[i]);
    return h;
}

orm_status orm_path_resolve(const orm_model *model, const char *text, size_t len, int accept,
                            orm_path *out, orm_error *err)
{
    ORM_TRY(orm_model_seal(model, err));
    memset(out, 0, sizeof *out);
    out->root = model;
    if (accept == ORM_PATH_ORDER && len > 0 && text[0] == '-') {
        out->descending = 1;
        text++, len--;
    }
    if (len == 0) return orm_fail(err, ORM_EFIELD, "an empty name is no field of %s", model->name);
    walk w = {text, text + len, accept, model, NULL, out, err};
    while (w.text != w.end) {
        if (w.field && accept == ORM_PATH_FIELD) {
            return orm_fail(err, ORM_EFIELD,
                            "a field of %s itself is expected, not a path beyond '%s'", model->name,
                            w.field->def.name);
        }
        ORM_TRY(segment_resolve(&w));
    }
    out->field = w.field->index;
    out->hash = path_hash(out);
    return ORM_OK;
}
