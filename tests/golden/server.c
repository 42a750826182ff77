/* server.c - see server.h. */
#include "server.h"
#include "dialect/dialect.h"
#include "driver/driver_internal.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct server {
    const char *name, *variable;
    const char *setup[2], *teardown;
    bool keeps_drops; /* DROP TABLE cannot be rolled back */
    const orm_driver *driver;
    orm_conn *conn;
} server;

static const orm_model *const *all_models;
static size_t n_all_models;

static server servers[] = {
    {"postgresql",
     "ORM_TEST_POSTGRESQL_URL",
     {"CREATE SCHEMA orm_golden", "SET search_path TO orm_golden"},
     "DROP SCHEMA orm_golden CASCADE",
     false,
     NULL,
     NULL},
    {"mariadb",
     "ORM_TEST_MARIADB_URL",
     {"CREATE DATABASE orm_golden", "USE orm_golden"},
     "DROP DATABASE orm_golden",
     true,
     NULL,
     NULL},
};

static orm_status ignore_row(void *self, const orm_cell *cells, orm_error *err)
{
    (void)self, (void)cells, (void)err;
    return ORM_OK;
}

static orm_status finish(server *s, orm_stmt *stmt, orm_error *err)
{
    orm_status status;
    orm_budget budget = {0};
    orm_row_target target = {ignore_row, NULL};
    while ((status = s->driver->step(s->conn, stmt, &target, &budget, NULL, err)) ==
               ORM_WANT_READ ||
           status == ORM_WANT_WRITE) {
        struct pollfd wait = {.fd = ((orm_conn_base *)(void *)s->conn)->fd,
                              .events = status == ORM_WANT_READ ? POLLIN : POLLIN | POLLOUT};
        poll(&wait, 1, 1000);
    }
    return status;
}

static orm_status run(server *s, const char *sql, const orm_value *values, size_t n,
                      size_t *columns, orm_error *err)
{
    orm_stmt *stmt = NULL;
    orm_status status = s->driver->prepare(s->conn, sql, strlen(sql), NULL, &stmt, err);
    if (status >= 0) status = s->driver->start(s->conn, stmt, values, n, err);
    if (status >= 0) status = finish(s, stmt, err);
    if (status >= 0) *columns = s->driver->column_count(stmt);
    s->driver->finalize(s->conn, stmt);
    return status;
}

static bool run_plain(server *s, const char *sql)
{
    orm_error err = {0};
    size_t columns;
    if (run(s, sql, NULL, 0, &columns, &err) >= 0) return true;
    fprintf(stderr, "%s: %s\n  %s\n", s->name, err.message, sql);
    return false;
}

static bool tables_make(server *s)
{
    const char *const *statements;
    size_t n;
    orm_error err = {0};
    orm_arena arena;
    orm_arena_init(&arena, 4096);
    bool ok = orm_ddl(orm_dialect_find(s->name), all_models, n_all_models, false, &arena,
                      &statements, &n, &err) >= 0;
    if (!ok) fprintf(stderr, "%s: %s\n", s->name, err.message);
    for (size_t i = 0; ok && i < n; i++) ok = run_plain(s, statements[i]);
    orm_arena_dispose(&arena);
    return ok;
}

static bool server_open(server *s, const char *text)
{
    orm_url url;
    orm_error err = {0};
    orm_status status = orm_url_parse(text, strlen(text), &url, &err);
    orm_conn_config config = {.database = url.database.ptr,
                              .host = url.host.ptr,
                              .user = url.user.ptr,
                              .password = url.password.ptr,
                              .port = url.port};
    if (status >= 0) status = s->driver->open(&config, &s->conn, &err);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", s->name, err.message);
        return false;
    }
    return run_plain(s, s->setup[0]) && run_plain(s, s->setup[1]) && tables_make(s);
}

bool golden_servers_open(const orm_model *const *models, size_t n)
{
    bool ok = true;
    all_models = models;
    n_all_models = n;
    for (size_t i = 0; i < ORM_COUNT(servers); i++) {
        server *s = &servers[i];
        const char *text = getenv(s->variable);
        s->driver = orm_driver_find(s->name);
        if (text && s->driver && orm_dialect_find(s->name)) ok &= server_open(s, text);
    }
    return ok;
}

void golden_servers_close(void)
{
    for (size_t i = 0; i < ORM_COUNT(servers); i++) {
        if (!servers[i].conn) continue;
        run_plain(&servers[i], servers[i].teardown);
        servers[i].driver->close(servers[i].conn);
    }
}

static bool is_constraint(orm_status status)
{
    return status <= ORM_EINTEGRITY && status >= ORM_EEXCLUSION;
}

bool golden_server_run(const orm_dialect *dialect, const char *sql, const orm_value *values,
                       size_t n, size_t n_columns)
{
    for (size_t i = 0; i < ORM_COUNT(servers); i++) {
        server *s = &servers[i];
        orm_error err = {0};
        size_t columns = n_columns;
        if (!s->conn || strcmp(s->name, dialect->name) != 0) continue;
        run_plain(s, "BEGIN");
        orm_status status = run(s, sql, values, n, &columns, &err);
        run_plain(s, "ROLLBACK");
        if (s->keeps_drops && strncmp(sql, "DROP", 4) == 0 && !tables_make(s)) return false;
        if (is_constraint(status) || (status >= 0 && columns == n_columns)) return true;
        fprintf(stderr, "%s refuses: %s (%s), %zu columns\n  %s\n", s->name, err.message,
                err.sqlstate, columns, sql);
        return false;
    }
    return true;
}
