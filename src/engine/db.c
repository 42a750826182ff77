/* db.c - a database as the program names it: its URL, its options; opens no file. */
#include "engine.h"
#include "../driver/driver_internal.h"
#include "../sql/dialect.h"
#include "../dialect/dialect.h"
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum {
    QUERY_TIMEOUT_MS = 600000,
    ACQUIRE_TIMEOUT_MS = 30000,
    BUSY_TIMEOUT_MS = 5000,
    STATEMENT_CACHE = 512,
    INLINE_BUDGET_US = 500,
    CACHE_MAX = 1 << 20,
    MAX_SIZE = 10,
    CONNECT_TIMEOUT_MS = 10000,
    MAX_LIFETIME_MS = 3600000,
    MAX_IDLE_MS = 600000
};

/* ---- options of the URL that the engine takes ---- */

static orm_status bad_value(const orm_url_option *option, const char *expected, orm_error *err)
{
    return orm_fail(err, ORM_ECONFIG, "URL option %.*s: expected %s", (int)option->name.len,
                    option->name.ptr, expected);
}

/* A number of seconds or milliseconds, decimals allowed, as milliseconds. */
static orm_status read_time(const orm_url_option *option, double unit_ms, uint32_t *out,
                            orm_error *err)
{
    char *end;
    double value = strtod(option->value.ptr, &end);
    bool ok = option->value.len && *end == '\0' && value * unit_ms >= 1 &&
              value * unit_ms <= (double)UINT32_MAX - 1;
    if (!ok)
        return bad_value(option, unit_ms > 1 ? "seconds above 0" : "milliseconds above 0", err);
    *out = (uint32_t)(value * unit_ms);
    return ORM_OK;
}

static orm_status read_switch(const orm_url_option *option, bool *out, orm_error *err)
{
    static const char *const words[] = {"off", "on", "false", "true", "0", "1", "no", "yes"};
    for (size_t i = 0; i < ORM_COUNT(words); i++) {
        if (strcasecmp(option->value.ptr, words[i]) != 0) continue;
        *out = i % 2;
        return ORM_OK;
    }
    return bad_value(option, "on or off", err);
}

static orm_status read_size(const orm_url_option *option, uint32_t *out, orm_error *err)
{
    uint32_t n = 0;
    for (size_t i = 0; i < option->value.len && n <= CACHE_MAX; i++) {
        char c = option->value.ptr[i];
        if (c < '0' || c > '9') n = CACHE_MAX;
        n = n * 10 + (uint32_t)(c - '0');
    }
    if (n == 0 || n > CACHE_MAX) return bad_value(option, "a number from 1 to 1,048,576", err);
    *out = n;
    return ORM_OK;
}

static const char *const engine_options[] = {"busy_timeout",
                                             "query_timeout",
                                             "acquire_timeout",
                                             "statement_cache_size",
                                             "shared_reads",
                                             "inline",
                                             "mode",
                                             "min_size",
                                             "max_size",
                                             "connect_timeout",
                                             "max_lifetime",
                                             "max_idle",
                                             "max_waiting",
                                             NULL};

static orm_status set_option(orm_options *to, size_t which, const orm_url_option *option,
                             orm_error *err)
{
    bool on = true;
    switch (which) {
    case 0: return read_time(option, 1, &to->busy_timeout_ms, err);
    case 1: return read_time(option, 1000, &to->query_timeout_ms, err);
    case 2: return read_time(option, 1000, &to->acquire_timeout_ms, err);
    case 3: return read_size(option, &to->statement_cache_size, err);
    case 4:
        ORM_TRY(read_switch(option, &on, err));
        to->no_shared_reads = !on;
        return ORM_OK;
    case 5:
        ORM_TRY(read_switch(option, &on, err));
        to->no_inline = !on;
        return ORM_OK;
    case 7: return read_size(option, &to->min_size, err);
    case 8: return read_size(option, &to->max_size, err);
    case 9: return read_time(option, 1000, &to->connect_timeout_ms, err);
    case 10: return read_time(option, 1000, &to->max_lifetime_ms, err);
    case 11: return read_time(option, 1000, &to->max_idle_ms, err);
    case 12: return read_size(option, &to->max_waiting, err);
    default:
        if (strcmp(option->value.ptr, "ro") != 0 && strcmp(option->value.ptr, "rw") != 0)
            return bad_value(option, "ro or rw", err);
        to->read_only = option->value.ptr[1] == 'o';
        return ORM_OK;
    }
}

static const char *option_name(const void *of, size_t i)
{
    const orm_driver *driver = of;
    size_t own = ORM_COUNT(engine_options) - 1;
    if (i < own) return engine_options[i];
    return driver->options ? driver->options[i - own] : NULL;
}

static orm_status fail_unknown(const orm_db *db, orm_str name, orm_error *err)
{
    orm_buf near;
    orm_buf_init(&near, 200);
    size_t n = orm_text_nearest(&near, name.ptr, name.len, option_name, db->driver);
    bool is_near = n && !near.failed; /* without memory the message does without */
    orm_status status = orm_fail(err, ORM_ECONFIG, "unknown URL option '%.*s'%s%s", (int)name.len,
                                 name.ptr, is_near ? "; did you mean " : "",
                                 is_near ? near.ptr : "");
    orm_buf_dispose(&near);
    return status;
}

static orm_status take_option(orm_db *db, const orm_url_option *option, orm_error *err)
{
    const char *name;
    for (size_t i = 0; (name = option_name(db->driver, i)); i++) {
        if (strcmp(name, option->name.ptr) != 0) continue;
        if (i < ORM_COUNT(engine_options) - 1) return set_option(&db->options, i, option, err);
        orm_str *own_name = &db->names[db->n_driver_options];
        orm_str *own_value = &db->values[db->n_driver_options++];
        own_name->len = option->name.len;
        own_name->ptr = orm_arena_copy(&db->arena, option->name.ptr, option->name.len);
        own_value->len = option->value.len;
        own_value->ptr = orm_arena_copy(&db->arena, option->value.ptr, option->value.len);
        return own_name->ptr && own_value->ptr ? ORM_OK : orm_fail_nomem(err);
    }
    return fail_unknown(db, option->name, err);
}

/* ---- making ---- */

/* An older program's struct may be shorter: what it lacks has its default. */
static void fill_options(orm_options *to, const orm_options *from)
{
    if (from) memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
    to->size = sizeof *to;
    if (!to->query_timeout_ms) to->query_timeout_ms = QUERY_TIMEOUT_MS;
    if (!to->acquire_timeout_ms) to->acquire_timeout_ms = ACQUIRE_TIMEOUT_MS;
    if (!to->busy_timeout_ms) to->busy_timeout_ms = BUSY_TIMEOUT_MS;
    if (!to->statement_cache_size) to->statement_cache_size = STATEMENT_CACHE;
    if (to->statement_cache_size > CACHE_MAX) to->statement_cache_size = CACHE_MAX;
    if (!to->inline_budget_us) to->inline_budget_us = INLINE_BUDGET_US;
    if (!to->connect_timeout_ms) to->connect_timeout_ms = CONNECT_TIMEOUT_MS;
    if (!to->max_lifetime_ms) to->max_lifetime_ms = MAX_LIFETIME_MS;
    if (!to->max_idle_ms) to->max_idle_ms = MAX_IDLE_MS;
}

static orm_status name_database(orm_db *db, const orm_url *url, orm_error *err)
{
    static volatile uint64_t memories;
    orm_str name = url->database;
    char memory[64];
    if (name.ptr && strcmp(name.ptr, ":memory:") == 0) {
        uint64_t n = __atomic_add_fetch(&memories, 1, __ATOMIC_RELAXED);
        name.len = (size_t)snprintf(memory, sizeof memory, "file:/orm-%llu?vfs=memdb",
                                    (unsigned long long)n);
        name.ptr = memory;
        db->memory = true;
    }
    if (!name.ptr || !name.len) return orm_fail(err, ORM_ECONFIG, "the URL names no database");
    db->database = orm_arena_copy(&db->arena, name.ptr, name.len);
    return db->database ? ORM_OK : orm_fail_nomem(err);
}

static orm_status copy_part(orm_db *db, orm_str part, char **out, orm_error *err)
{
    *out = part.ptr ? orm_arena_copy(&db->arena, part.ptr, part.len) : NULL;
    return part.ptr && !*out ? orm_fail_nomem(err) : ORM_OK;
}

/* Where the server is, and who asks. */
static orm_status name_server(orm_db *db, const orm_url *url, orm_error *err)
{
    db->port = url->port;
    ORM_TRY(copy_part(db, url->host, &db->host, err));
    ORM_TRY(copy_part(db, url->user, &db->user, err));
    return copy_part(db, url->password, &db->password, err);
}

static orm_status check_pool(orm_options *options, orm_error *err)
{
    if (!options->max_size)
        options->max_size = options->min_size > MAX_SIZE ? options->min_size : MAX_SIZE;
    if (!options->min_size) options->min_size = 1;
    if (options->max_size > ORM_MAX_CONNECTIONS)
        return orm_fail(err, ORM_ECONFIG, "max_size: expected at most %d connections",
                        ORM_MAX_CONNECTIONS);
    if (options->min_size > options->max_size)
        return orm_fail(err, ORM_ECONFIG, "min_size is %u: expected at most max_size, %u",
                        options->min_size, options->max_size);
    return ORM_OK;
}

/* The one that the program brought for this database, else the one known by the dialect. */
static orm_status choose_driver(orm_db *db, const orm_url *url, orm_error *err)
{
    const orm_driver *given = db->options.driver;
    db->driver = given ? given : orm_driver_find(url->dialect);
    if (!given) return ORM_OK;
    if (orm_driver_is_complete(given) && strcmp(given->name, url->dialect) == 0) return ORM_OK;
    return orm_fail(err, ORM_EMISUSE,
                    "the driver given for a '%s' database is incomplete or of another name",
                    url->dialect);
}

static orm_status set_up(orm_db *db, const char *text, const orm_url *url,
                         const orm_options *options, orm_error *err)
{
    char redacted[512];
    fill_options(&db->options, options);
    ORM_TRY(choose_driver(db, url, err));
    db->dialect = orm_dialect_find(url->dialect);
    if (!db->driver || !db->dialect)
        return orm_fail(err, ORM_ECONFIG, "no driver for '%s' databases", url->dialect);
    orm_url_redact(text, strlen(text), redacted, sizeof redacted);
    db->url = orm_arena_copy(&db->arena, redacted, strlen(redacted));
    db->names = orm_arena_alloc(&db->arena, ORM_URL_OPTIONS * sizeof *db->names);
    db->values = orm_arena_alloc(&db->arena, ORM_URL_OPTIONS * sizeof *db->values);
    if (!db->url || !db->names || !db->values) return orm_fail_nomem(err);
    ORM_TRY(name_database(db, url, err));
    ORM_TRY(name_server(db, url, err));
    for (size_t i = 0; i < url->n_options; i++) ORM_TRY(take_option(db, &url->options[i], err));
    return check_pool(&db->options, err);
}

orm_status orm_open(const char *url_text, const orm_options *options, orm_db **out, orm_error *err)
{
    if (!url_text) return orm_fail(err, ORM_EMISUSE, "the URL is NULL");
    orm_db *db = orm_alloc0(sizeof *db);
    orm_url *url = orm_alloc(sizeof *url);
    orm_status status = db && url ? ORM_OK : orm_fail_nomem(err);
    if (status >= 0) {
        db->refs = 1;
        orm_arena_init(&db->arena, 1024);
        status = orm_url_parse(url_text, strlen(url_text), url, err);
        if (status >= 0) status = set_up(db, url_text, url, options, err);
        if (status >= 0 && pthread_mutex_init(&db->mutex, NULL) != 0) status = orm_fail_nomem(err);
        if (status < 0) orm_arena_dispose(&db->arena);
    }
    orm_dealloc(url);
    if (status >= 0)
        *out = db;
    else
        orm_dealloc(db);
    return status;
}

orm_db *orm_db_ref(orm_db *db)
{
    if (db) __atomic_add_fetch(&db->refs, 1, __ATOMIC_RELAXED);
    return db;
}

void orm_close(orm_db *db)
{
    if (!db || __atomic_sub_fetch(&db->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
    db->driver->close(db->anchor);
    pthread_mutex_destroy(&db->mutex);
    orm_arena_dispose(&db->arena);
    orm_dealloc(db);
}

void orm_db_config(const orm_db *db, orm_conn_config *out)
{
    *out = (orm_conn_config){.database = db->database,
                             .memory = db->memory,
                             .read_only = db->options.read_only,
                             .create = !db->options.read_only,
                             .busy_timeout_ms = db->options.busy_timeout_ms,
                             .option_names = db->names,
                             .option_values = db->values,
                             .n_options = db->n_driver_options,
                             .host = db->host,
                             .user = db->user,
                             .password = db->password,
                             .port = db->port,
                             .connect_timeout_ms = db->options.connect_timeout_ms,
                             .driver_user = db->options.driver_user};
}

orm_status orm_db_anchor(orm_db *db, orm_error *err)
{
    orm_status status = ORM_OK;
    pthread_mutex_lock(&db->mutex);
    if (!db->anchor) {
        orm_conn_config config;
        orm_db_config(db, &config);
        status = db->driver->open(&config, &db->anchor, err);
        if (status < 0) db->anchor = NULL;
    }
    pthread_mutex_unlock(&db->mutex);
    return status;
}

const char *orm_db_dialect(const orm_db *db)
{
    return db->driver->name;
}

const char *orm_db_url(const orm_db *db)
{
    return db->url;
}
