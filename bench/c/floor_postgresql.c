/* floor_postgresql.c - the raw floor of PostgreSQL: libpq in straight C, prepared statements,
 * binary results, every value of a row looked at.
 *
 *   floor_postgresql URL WORKLOAD COUNT
 *
 * Workloads: get, gets100 (pipelined), all, related, create, and those of floor_bulk.c.
 */
#include "floor.h"
#include "floor_bulk.h"
#include <endian.h>

static PGconn *pg;

static PGresult *must(PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) floor_fail(PQerrorMessage(pg));
    return result;
}

static void prepare(const char *sql)
{
    PQclear(must(PQprepare(pg, "floor", sql, 0, NULL)));
}

static int read_rows(const PGresult *result)
{
    int n = PQntuples(result), columns = PQnfields(result);
    for (int row = 0; row < n; row++)
        for (int i = 0; i < columns; i++) {
            const char *value = PQgetvalue(result, row, i);
            int len = PQgetlength(result, row, i);
            uint64_t number = 0;
            if (len <= 8) memcpy(&number, value, (size_t)len);
            floor_seen += (int64_t)number + len;
        }
    return n;
}

/* The track table's id is an integer or a bigint: four or eight bytes. */
static int key_size;
static char key_bytes[8];

static const char *key_write(int i)
{
    uint64_t eight = htobe64((uint64_t)floor_key(i));
    uint32_t four = htobe32((uint32_t)floor_key(i));
    memcpy(key_bytes, key_size == 8 ? (const void *)&eight : (const void *)&four, (size_t)key_size);
    return key_bytes;
}

static void prepare_get(void)
{
    prepare("SELECT " FLOOR_TRACK " FROM track t WHERE t.id = $1");
    PGresult *described = must(PQdescribePrepared(pg, "floor"));
    key_size = PQparamtype(described, 0) == 20 ? 8 : 4;
    PQclear(described);
}

static double gets(int count)
{
    const int format = 1;
    prepare_get();
    double start = floor_now();
    for (int i = 0; i < count; i++) {
        const char *value = key_write(i);
        PGresult *result = must(PQexecPrepared(pg, "floor", 1, &value, &key_size, &format, 1));
        read_rows(result);
        PQclear(result);
    }
    return (floor_now() - start) / count;
}

/* 100 in flight on one connection, each with its own Sync, all sent before the first is read. */
static double gets_pipelined(int count)
{
    const int format = 1;
    prepare_get();
    if (!PQenterPipelineMode(pg)) floor_fail(PQerrorMessage(pg));
    double start = floor_now();
    for (int done = 0; done < count; done += FLOOR_AT_ONCE) {
        for (int i = 0; i < FLOOR_AT_ONCE; i++) {
            const char *value = key_write(i);
            if (!PQsendQueryPrepared(pg, "floor", 1, &value, &key_size, &format, 1) ||
                !PQpipelineSync(pg))
                floor_fail(PQerrorMessage(pg));
        }
        for (int syncs = 0; syncs < FLOOR_AT_ONCE;) {
            PGresult *result = PQgetResult(pg);
            if (!result) continue;
            if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
                syncs++;
            else
                read_rows(must(result));
            PQclear(result);
        }
    }
    return (floor_now() - start) / count;
}

static double rows(const char *sql, int count)
{
    int64_t n = 0;
    prepare(sql);
    double start = floor_now();
    for (int i = 0; i < count; i++) {
        PGresult *result = must(PQexecPrepared(pg, "floor", 0, NULL, NULL, NULL, 1));
        n += read_rows(result);
        PQclear(result);
    }
    return (floor_now() - start) / (double)(n ? n : 1);
}

static double creates(int count)
{
    prepare("INSERT INTO scratch (album, title, position, rating) VALUES ($1, $2, $3, $4)"
            " RETURNING id");
    double start = floor_now();
    for (int i = 0; i < count; i++) {
        char position[16], rating[32];
        snprintf(position, sizeof position, "%d", i);
        snprintf(rating, sizeof rating, "%.1f", i * 0.5);
        const char *values[] = {"1", FLOOR_TITLE, position, rating};
        PGresult *result = must(PQexecPrepared(pg, "floor", 4, values, NULL, NULL, 1));
        read_rows(result);
        PQclear(result);
    }
    return (floor_now() - start) / count;
}

int main(int argc, char **argv)
{
    if (argc < 4) floor_fail("usage: floor_postgresql URL WORKLOAD COUNT");
    const char *work = argv[2];
    int count = (int)strtol(argv[3], NULL, 10);
    double ns = 0;
    pg = PQconnectdb(argv[1]);
    if (PQstatus(pg) != CONNECTION_OK) floor_fail(PQerrorMessage(pg));
    char server[24];
    snprintf(server, sizeof server, "%d", PQbackendPID(pg));
    floor_serve(server);
    if (!strcmp(work, "get"))
        ns = gets(count);
    else if (!strcmp(work, "gets100"))
        ns = gets_pipelined(count);
    else if (!strcmp(work, "all"))
        ns = rows("SELECT " FLOOR_TRACK " FROM track t", count);
    else if (!strcmp(work, "related"))
        ns = rows("SELECT " FLOOR_TRACK ", a.id, a.name FROM track t"
                  " JOIN album a ON a.id = t.album",
                  count);
    else if (!strcmp(work, "create"))
        ns = creates(count);
    else
        ns = floor_bulk(pg, work, count);
    if (ns < 0) floor_fail("no such workload");
    printf("%.1f\n", ns);
    PQfinish(pg);
    return 0;
}
