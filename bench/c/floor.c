/* floor.c - the raw floor: what SQLite itself costs in straight C, for the same file and the same
 * questions as the contestants of bench/py.
 *
 *   floor DB WORKLOAD COUNT [FIRST_ID]   prints nanoseconds per unit (call or row)
 *
 * Workloads: get (autocommit), get_tx (inside one read transaction), all, related, create, bulk.
 */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static volatile int64_t seen; /* what is read must be used */

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(sqlite3 *db, int rc)
{
    if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE) return;
    fprintf(stderr, "floor: %s\n", sqlite3_errmsg(db));
    exit(1);
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    must(db, sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL));
    return stmt;
}

static void read_row(sqlite3_stmt *stmt, int columns)
{
    for (int i = 0; i < columns; i++) switch (sqlite3_column_type(stmt, i)) {
        case SQLITE_INTEGER: seen += sqlite3_column_int64(stmt, i); break;
        case SQLITE_FLOAT: seen += (int64_t)sqlite3_column_double(stmt, i); break;
        case SQLITE_TEXT:
            seen += (int64_t)(intptr_t)sqlite3_column_text(stmt, i) + sqlite3_column_bytes(stmt, i);
            break;
        default: break;
        }
}

#define TRACK "t.id, t.album, t.title, t.position, t.rating"

static double gets(sqlite3 *db, int count)
{
    sqlite3_stmt *stmt = prepare(db, "SELECT " TRACK " FROM track t WHERE t.id = ?");
    double start = now_ns();
    for (int i = 0; i < count; i++) {
        must(db, sqlite3_bind_int64(stmt, 1, 1 + (i * 7919) % 10000));
        must(db, sqlite3_step(stmt));
        read_row(stmt, 5);
        sqlite3_reset(stmt);
    }
    double took = now_ns() - start;
    sqlite3_finalize(stmt);
    return took / count;
}

static double rows(sqlite3 *db, const char *sql, int columns, int count)
{
    sqlite3_stmt *stmt = prepare(db, sql);
    int64_t n = 0;
    double start = now_ns();
    for (int i = 0; i < count; i++) {
        while (sqlite3_step(stmt) == SQLITE_ROW) {
            read_row(stmt, columns);
            n++;
        }
        sqlite3_reset(stmt);
    }
    double took = now_ns() - start;
    sqlite3_finalize(stmt);
    return took / (double)(n ? n : 1);
}

static double inserts(sqlite3 *db, int count, int one_transaction)
{
    sqlite3_stmt *stmt = prepare(
        db, "INSERT INTO scratch (album, title, position, rating) VALUES (?, ?, ?, ?)");
    double start = now_ns();
    if (one_transaction) must(db, sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    for (int i = 0; i < count; i++) {
        sqlite3_bind_int64(stmt, 1, 1);
        sqlite3_bind_text(stmt, 2, "a title of usual length", -1, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 3, i);
        sqlite3_bind_double(stmt, 4, i * 0.5);
        must(db, sqlite3_step(stmt));
        sqlite3_reset(stmt);
    }
    if (one_transaction) must(db, sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
    double took = now_ns() - start;
    sqlite3_finalize(stmt);
    return took / count;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fputs("usage: floor DB WORKLOAD COUNT\n", stderr);
        return 2;
    }
    const char *work = argv[2];
    int count = (int)strtol(argv[3], NULL, 10);
    sqlite3 *db = NULL;
    must(db, sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL));
    must(db,
         sqlite3_exec(db, "PRAGMA journal_mode=wal; PRAGMA synchronous=normal", NULL, NULL, NULL));
    double ns = 0;
    if (!strcmp(work, "get"))
        ns = gets(db, count);
    else if (!strcmp(work, "get_tx")) {
        must(db, sqlite3_exec(db, "BEGIN", NULL, NULL, NULL));
        ns = gets(db, count);
        must(db, sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
    } else if (!strcmp(work, "all"))
        ns = rows(db, "SELECT " TRACK " FROM track t", 5, count);
    else if (!strcmp(work, "related"))
        ns = rows(db, "SELECT " TRACK ", a.id, a.name FROM track t JOIN album a ON a.id = t.album",
                  7, count);
    else if (!strcmp(work, "create"))
        ns = inserts(db, count, 0);
    else if (!strcmp(work, "bulk"))
        ns = inserts(db, count, 1);
    else {
        fprintf(stderr, "floor: no workload '%s'\n", work);
        return 2;
    }
    printf("%.1f\n", ns);
    sqlite3_close(db);
    return 0;
}
