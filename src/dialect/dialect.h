/* dialect/dialect.h - the dialects there are.
 *
 * A dialect is one const table (src/sql/dialect.h says what may be in it); its name is that of
 * the driver it belongs to.
 */
#ifndef ORM_DIALECT_DIALECT_H
#define ORM_DIALECT_DIALECT_H
#include "../sql/dialect.h"

extern const orm_dialect orm_dialect_sqlite;
extern const orm_dialect orm_dialect_postgresql;
extern const orm_dialect orm_dialect_mariadb;

/* By the name of a driver ("sqlite", "postgresql", "mariadb"); NULL = none. */
const orm_dialect *orm_dialect_find(const char *name);
#endif
