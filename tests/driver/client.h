/* client.h - a driver as the tests of drivers use it: whole statements in one call.
 *
 *   orm_conn *conn = client_open(drv, &config);
 *   sink to = {0};
 *   orm_row_target target = {sink_row, &to};
 *   client_run(conn, "SELECT 1", NULL, 0, &target, NULL, NULL, NULL, &err);
 *
 * They wait for the descriptor where the driver asks for it, and leave alone what a budget or a
 * row's answer ends.  `budget` NULL = unlimited; `target` NULL = rows are thrown away.
 */
#ifndef ORM_TEST_CLIENT_H
#define ORM_TEST_CLIENT_H
#include "../c/harness.h"
#include <orm/driver.h>

/* Fail the running test when they cannot. */
orm_conn *client_open(const orm_driver *driver, const orm_conn_config *config);
orm_stmt *client_prepare(orm_conn *conn, const char *sql);

bool client_wants(orm_status status); /* ORM_WANT_READ, ORM_WANT_WRITE */
/* Until the descriptor is ready, 5 ms at most: a budget may end before. */
void client_wait(orm_conn *conn, orm_status want);

/* Steps a statement that was started until it answers anything but client_wants. */
orm_status client_finish(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                         orm_budget *budget, orm_exec_info *info, orm_error *err);
/* Prepares, starts, finishes and finalizes.  *running is the statement meanwhile, for a target
 * that counts its columns; or NULL. */
orm_status client_run(orm_conn *conn, const char *sql, const orm_value *params, size_t n,
                      const orm_row_target *target, orm_stmt **running, orm_budget *budget,
                      orm_exec_info *info, orm_error *err);

/* Copies the bytes of a text, cut where they do not fit, and ends them. */
void client_copy_text(const orm_cell *cell, char *out, size_t size);

#endif
