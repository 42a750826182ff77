/* server.h - golden SQL on real servers: every statement is prepared and run there.
 *
 * A server is used when its variable names one (ORM_TEST_POSTGRESQL_URL, ORM_TEST_MARIADB_URL;
 * tests/servers/servers.py starts them) and its driver is built in.  Everything happens in a
 * schema of its own, which is dropped at the end.
 */
#ifndef GOLDEN_SERVER_H
#define GOLDEN_SERVER_H
#include "sql/dialect.h"

/* Connects to what there is and makes the models' tables.  False: a server was named and something
 * went wrong; stderr says what. */
bool golden_servers_open(const orm_model *const *models, size_t n);
void golden_servers_close(void);
/* Runs a statement with its values, and undoes it.  n_columns: of its rows.  True also when there is
 * no such server.  A constraint that refuses a value is no mistake in the SQL. */
bool golden_server_run(const orm_dialect *dialect, const char *sql, const orm_value *values,
                       size_t n, size_t n_columns);

#endif
