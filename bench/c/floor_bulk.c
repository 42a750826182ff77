/* floor_bulk.c - the ways in which PostgreSQL takes 1,000 rows and gives their keys back, by libpq.
 *
 *   bulk          one array a column, unnested in the select list, RETURNING: what liborm sends
 *   bulk-from     the same with unnest in FROM
 *   bulk-values   VALUES with 4,000 parameters, RETURNING
 *   bulk-reserve  keys taken from the sequence before, then arrays with them, nothing RETURNED
 *   bulk-copy     keys taken from the sequence before, then a binary COPY
 *   bulk-each     an INSERT a row, pipelined under one Sync: what executemany() sends; no keys
 *
 * Everything is prepared and written into buffers outside of the timer, so that what is left is
 * the server's work and the way there and back.  The first runs warm up: PostgreSQL plans the
 * first five of a statement anew.
 */
#include "floor.h"
#include "floor_bulk.h"
#include <endian.h>
#include <stdbool.h>

enum {
    COLUMNS = 4,
    WARM = 12,
    VALUE_BYTES = 32, /* at most, with the length in front */
    INT4 = 23,
    TEXT = 25,
    FLOAT8 = 701
};

static PGconn *pg;
static const uint32_t types[COLUMNS] = {INT4, TEXT, INT4, FLOAT8};
static int binary[COLUMNS * FLOOR_BULK];

static PGresult *must(PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN)
        floor_fail(PQerrorMessage(pg));
    return result;
}

static void prepare(const char *name, const char *sql)
{
    PQclear(must(PQprepare(pg, name, sql, 0, NULL)));
}

/* ---- what is sent ---- */

static char *put(char *to, const void *bytes, size_t n)
{
    memcpy(to, bytes, n);
    return to + n;
}

static char *put32(char *to, uint32_t value)
{
    value = htobe32(value);
    return put(to, &value, sizeof value);
}

/* A value behind its length. */
static char *put_value(char *to, int column, int row)
{
    double half = row * 0.5;
    uint64_t bits;
    if (column == 1)
        return put(put32(to, sizeof FLOOR_TITLE - 1), FLOOR_TITLE, sizeof FLOOR_TITLE - 1);
    if (column != 3) return put32(put32(to, 4), column == 0 ? 1 : (uint32_t)row);
    memcpy(&bits, &half, sizeof bits);
    bits = htobe64(bits);
    return put(put32(to, 8), &bits, sizeof bits);
}

static char *put_array_head(char *to, uint32_t type)
{
    const uint32_t head[] = {1, 0, type, FLOOR_BULK, 1}; /* one dimension, no NULL, from 1 */
    for (int i = 0; i < 5; i++) to = put32(to, head[i]);
    return to;
}

/* A parameter a column. */
static struct {
    char bytes[COLUMNS][20 + FLOOR_BULK * VALUE_BYTES];
    const char *values[COLUMNS];
    int lengths[COLUMNS];
} arrays;

static void arrays_fill(void)
{
    for (int column = 0; column < COLUMNS; column++) {
        char *to = put_array_head(arrays.bytes[column], types[column]);
        for (int row = 0; row < FLOOR_BULK; row++) to = put_value(to, column, row);
        arrays.values[column] = arrays.bytes[column];
        arrays.lengths[column] = (int)(to - arrays.bytes[column]);
    }
}

/* A parameter a value. */
static struct {
    char bytes[COLUMNS * FLOOR_BULK][VALUE_BYTES];
    const char *values[COLUMNS * FLOOR_BULK];
    int lengths[COLUMNS * FLOOR_BULK];
} singles;

static void singles_fill(void)
{
    for (int i = 0; i < COLUMNS * FLOOR_BULK; i++) {
        char *end = put_value(singles.bytes[i], i % COLUMNS, i / COLUMNS);
        singles.values[i] = singles.bytes[i] + 4;
        singles.lengths[i] = (int)(end - singles.values[i]);
    }
}

/* ---- the ways ---- */

#define INTO "INSERT INTO scratch (album, title, position, rating) "
#define UNNEST "unnest($1::int[]), unnest($2::text[]), unnest($3::int[]), unnest($4::float8[])"

static void keys_read(PGresult *result)
{
    if (PQntuples(must(result)) != FLOOR_BULK) floor_fail("a key is missing");
    for (int row = 0; row < FLOOR_BULK; row++) floor_seen += *PQgetvalue(result, row, 0);
    PQclear(result);
}

static void run_arrays(void)
{
    keys_read(PQexecPrepared(pg, "arrays", COLUMNS, arrays.values, arrays.lengths, binary, 1));
}

static void run_from(void)
{
    keys_read(PQexecPrepared(pg, "from", COLUMNS, arrays.values, arrays.lengths, binary, 1));
}

static void run_values(void)
{
    keys_read(PQexecPrepared(pg, "values", COLUMNS * FLOOR_BULK, singles.values, singles.lengths,
                             binary, 1));
}

static PGresult *keys_take(void)
{
    PGresult *keys = must(PQexecPrepared(pg, "keys", 0, NULL, NULL, NULL, 1));
    if (PQntuples(keys) != FLOOR_BULK) floor_fail("a key is missing");
    return keys;
}

static void run_reserve(void)
{
    static char bytes[20 + FLOOR_BULK * 8];
    const char *values[COLUMNS + 1] = {bytes};
    int lengths[COLUMNS + 1];
    PGresult *keys = keys_take();
    char *to = put_array_head(bytes, INT4);
    for (int row = 0; row < FLOOR_BULK; row++) to = put(put32(to, 4), PQgetvalue(keys, row, 0), 4);
    lengths[0] = (int)(to - bytes);
    memcpy(values + 1, arrays.values, sizeof arrays.values);
    memcpy(lengths + 1, arrays.lengths, sizeof arrays.lengths);
    PQclear(must(PQexecPrepared(pg, "given", COLUMNS + 1, values, lengths, binary, 1)));
    PQclear(keys);
}

/* The signature, flags, no extension; rows; the end. */
static void run_copy(void)
{
    static char bytes[32 + FLOOR_BULK * (COLUMNS + 1) * VALUE_BYTES];
    const uint16_t columns = htobe16(COLUMNS + 1), end = 0xffff;
    PGresult *keys = keys_take();
    const char signature[] = "PGCOPY\n\377\r\n"; /* its NUL is part of it */
    char *to = put32(put32(put(bytes, signature, sizeof signature), 0), 0);
    for (int row = 0; row < FLOOR_BULK; row++) {
        to = put(put32(put(to, &columns, 2), 4), PQgetvalue(keys, row, 0), 4);
        for (int i = 0; i < COLUMNS; i++) to = put_value(to, i, row);
    }
    to = put(to, &end, 2);
    PQclear(keys);
    PQclear(must(PQexec(pg, "COPY scratch (id, album, title, position, rating)"
                            " FROM STDIN (FORMAT binary)")));
    if (PQputCopyData(pg, bytes, (int)(to - bytes)) != 1 || PQputCopyEnd(pg, NULL) != 1)
        floor_fail(PQerrorMessage(pg));
    for (PGresult *result; (result = PQgetResult(pg));) PQclear(must(result));
}

static void run_each(void)
{
    if (!PQenterPipelineMode(pg)) floor_fail(PQerrorMessage(pg));
    for (int i = 0; i < COLUMNS * FLOOR_BULK; i += COLUMNS)
        if (!PQsendQueryPrepared(pg, "each", COLUMNS, singles.values + i, singles.lengths + i,
                                 binary, 1))
            floor_fail(PQerrorMessage(pg));
    if (!PQpipelineSync(pg)) floor_fail(PQerrorMessage(pg));
    for (bool synced = false; !synced;) {
        PGresult *result = PQgetResult(pg);
        if (!result) continue;
        synced = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
        PQclear(synced ? result : must(result));
    }
    (void)PQexitPipelineMode(pg);
}

static void prepare_values(void)
{
    static char sql[256 + COLUMNS * FLOOR_BULK * 8];
    char *to = sql + sprintf(sql, INTO "VALUES ");
    for (int i = 1; i <= COLUMNS * FLOOR_BULK; i += COLUMNS)
        to += sprintf(to, "%s($%d,$%d,$%d,$%d)", i > 1 ? "," : "", i, i + 1, i + 2, i + 3);
    sprintf(to, " RETURNING id");
    prepare("values", sql);
}

static void prepare_all(void)
{
    for (int i = 0; i < COLUMNS * FLOOR_BULK; i++) binary[i] = 1;
    arrays_fill();
    singles_fill();
    prepare("arrays", INTO "SELECT " UNNEST " RETURNING id");
    prepare("from", INTO "SELECT * FROM unnest($1::int[], $2::text[], $3::int[], $4::float8[])"
                         " RETURNING id");
    prepare_values();
    prepare("keys", "SELECT nextval('scratch_id_seq')::int FROM generate_series(1, 1000)");
    prepare("given", "INSERT INTO scratch (id, album, title, position, rating)"
                     " SELECT unnest($1::int[]), unnest($2::int[]), unnest($3::text[]),"
                     " unnest($4::int[]), unnest($5::float8[])");
    prepare("each", INTO "VALUES ($1, $2, $3, $4)");
}

double floor_bulk(PGconn *conn, const char *way, int count)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } ways[] = {{"bulk", run_arrays},          {"bulk-from", run_from}, {"bulk-values", run_values},
                {"bulk-reserve", run_reserve}, {"bulk-copy", run_copy}, {"bulk-each", run_each}};
    pg = conn;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(way, ways[i].name) != 0) continue;
        prepare_all();
        for (int n = 0; n < WARM; n++) ways[i].run();
        double start = floor_now();
        for (int n = 0; n < count; n++) ways[i].run();
        return (floor_now() - start) / count / FLOOR_BULK;
    }
    return -1;
}
