/* floor_bulk.h - inside of bench/c: many rows by libpq, see floor_bulk.c. */
#ifndef FLOOR_BULK_H
#define FLOOR_BULK_H
#include <libpq-fe.h>

/* Nanoseconds a row, over `count` statements of FLOOR_BULK rows; below 0: no such way. */
double floor_bulk(PGconn *conn, const char *way, int count);

#endif
