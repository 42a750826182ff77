/* driver_internal.h - the drivers that this process knows, by name.
 *
 * Layer: src/driver sees src/base and include/orm only.  The engine asks here once for every
 * database that it opens; what it gets is a static table that is never taken away.
 */
#ifndef ORM_DRIVER_INTERNAL_H
#define ORM_DRIVER_INTERNAL_H
#include "../base/base.h"
#include <orm/driver.h>

/* The driver of that name (compared exactly), registered ones before those that are built in;
 * NULL when there is none. */
const orm_driver *orm_driver_find(const char *name);
/* Every MUST slot is there, and the table is of this version of driver.h. */
bool orm_driver_is_complete(const orm_driver *driver);

/* src/driver/sqlite: the embedded database of the process's libsqlite3. */
extern const orm_driver orm_sqlite_driver;
/* src/driver/postgresql: servers, through libpq (ORM_WITH_POSTGRESQL: it was there). */
extern const orm_driver orm_postgresql_driver;
/* src/driver/mariadb: servers, through MariaDB Connector/C (ORM_WITH_MARIADB: it was there). */
extern const orm_driver orm_mariadb_driver;

enum {
    ORM_CANCEL_MS = 2000 /* cancelling or renewing takes no longer; else the connection is closed */
};

#endif
