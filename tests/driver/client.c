/* client.c - see client.h. */
#include "client.h"
#include <poll.h>

static const orm_driver *driver_of(orm_conn *conn)
{
    return ((orm_conn_base *)(void *)conn)->driver;
}

orm_conn *client_open(const orm_driver *driver, const orm_conn_config *config)
{
    orm_conn *conn = NULL;
    orm_error err = {0};
    ORM_TEST_OK(driver->open(config, &conn, &err), &err);
    assert_non_null(conn);
    assert_ptr_equal(driver_of(conn), driver);
    return conn;
}

orm_stmt *client_prepare(orm_conn *conn, const char *sql)
{
    orm_stmt *stmt = NULL;
    orm_error err = {0};
    ORM_TEST_OK(driver_of(conn)->prepare(conn, sql, strlen(sql), NULL, &stmt, &err), &err);
    assert_non_null(stmt);
    return stmt;
}

bool client_wants(orm_status status)
{
    return status == ORM_WANT_READ || status == ORM_WANT_WRITE;
}

void client_wait(orm_conn *conn, orm_status want)
{
    struct pollfd wait = {.fd = ((orm_conn_base *)(void *)conn)->fd, .events = POLLIN};
    if (want == ORM_WANT_WRITE) wait.events = POLLOUT;
    assert_true(wait.fd >= 0);
    poll(&wait, 1, 5);
}

orm_status client_finish(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                         orm_budget *budget, orm_exec_info *info, orm_error *err)
{
    const orm_driver *driver = driver_of(conn);
    orm_budget unlimited = {0};
    orm_status status;
    if (!budget) budget = &unlimited;
    while (client_wants(status = driver->step(conn, stmt, target, budget, info, err)))
        client_wait(conn, status);
    return status;
}

orm_status client_run(orm_conn *conn, const char *sql, const orm_value *params, size_t n,
                      const orm_row_target *target, orm_stmt **running, orm_budget *budget,
                      orm_exec_info *info, orm_error *err)
{
    const orm_driver *driver = driver_of(conn);
    orm_stmt *stmt = NULL;
    orm_status status = driver->prepare(conn, sql, strlen(sql), budget, &stmt, err);
    if (running) *running = stmt;
    if (status >= 0) status = driver->start(conn, stmt, params, n, err);
    if (status >= 0) status = client_finish(conn, stmt, target, budget, info, err);
    if (running) *running = NULL;
    driver->finalize(conn, stmt);
    return status;
}

void client_copy_text(const orm_cell *cell, char *out, size_t size)
{
    size_t len = cell->len < size - 1 ? cell->len : size - 1;
    if (len) memcpy(out, cell->as.ptr, len);
    out[len] = '\0';
}
