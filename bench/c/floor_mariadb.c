/* floor_mariadb.c - the raw floor of MariaDB: Connector/C in straight C, prepared statements in
 * the binary protocol, every value of a row bound.
 *
 *   floor_mariadb HOST PORT USER DATABASE WORKLOAD COUNT      the password: FLOOR_PASSWORD
 *
 * Workloads: get, all, related, create, bulk (COUNT statements of 1,000 rows, array binding).
 */
#include "floor.h"
#include <mysql.h>

enum {
    COLUMNS = 7,
    TEXT_SIZE = 128
};

static MYSQL *db;
static MYSQL_STMT *stmt;
static MYSQL_BIND columns[COLUMNS];
static union {
    int64_t i;
    double d;
    char text[TEXT_SIZE];
} cells[COLUMNS];
static unsigned long lengths[COLUMNS];

static void must(int failed)
{
    if (failed)
        floor_fail(stmt && mysql_stmt_errno(stmt) ? mysql_stmt_error(stmt) : mysql_error(db));
}

static void prepare(const char *sql)
{
    stmt = mysql_stmt_init(db);
    must(!stmt || mysql_stmt_prepare(stmt, sql, (unsigned long)strlen(sql)));
}

/* i: integer, t: text, d: double. */
static void bind_columns(const char *kinds)
{
    memset(columns, 0, sizeof columns);
    for (int i = 0; kinds[i]; i++) {
        columns[i].buffer = &cells[i];
        columns[i].buffer_length = sizeof cells[i];
        columns[i].length = &lengths[i];
        columns[i].buffer_type = kinds[i] == 'i'   ? MYSQL_TYPE_LONGLONG
                                 : kinds[i] == 'd' ? MYSQL_TYPE_DOUBLE
                                                   : MYSQL_TYPE_STRING;
    }
    must(mysql_stmt_bind_result(stmt, columns));
}

static int read_rows(int n_columns)
{
    int n = 0;
    while (mysql_stmt_fetch(stmt) == 0) {
        for (int i = 0; i < n_columns; i++) floor_seen += cells[i].i + (int64_t)lengths[i];
        n++;
    }
    must((int)mysql_stmt_errno(stmt));
    return n;
}

static double gets(int count)
{
    int64_t key = 0;
    MYSQL_BIND param = {.buffer = &key, .buffer_type = MYSQL_TYPE_LONGLONG};
    prepare("SELECT " FLOOR_TRACK " FROM track t WHERE t.id = ?");
    must(mysql_stmt_bind_param(stmt, &param));
    double start = floor_now();
    for (int i = 0; i < count; i++) {
        key = floor_key(i);
        must(mysql_stmt_execute(stmt));
        bind_columns("iitid");
        must(mysql_stmt_store_result(stmt));
        read_rows(5);
        must(mysql_stmt_free_result(stmt));
    }
    return (floor_now() - start) / count;
}

static double rows(const char *sql, const char *kinds, int count)
{
    int64_t n = 0;
    prepare(sql);
    double start = floor_now();
    for (int i = 0; i < count; i++) {
        must(mysql_stmt_execute(stmt));
        bind_columns(kinds);
        must(mysql_stmt_store_result(stmt));
        n += read_rows((int)strlen(kinds));
        must(mysql_stmt_free_result(stmt));
    }
    return (floor_now() - start) / (double)(n ? n : 1);
}

/* count statements of n_rows rows each. */
static double inserts(int count, unsigned n_rows)
{
    static int64_t album[FLOOR_BULK], position[FLOOR_BULK];
    static double rating[FLOOR_BULK];
    static char *title[FLOOR_BULK];
    static unsigned long title_len[FLOOR_BULK];
    static char text[] = FLOOR_TITLE;
    MYSQL_BIND params[4] = {
        {.buffer = album, .buffer_type = MYSQL_TYPE_LONGLONG},
        {.buffer = n_rows > 1 ? (void *)title : text,
         .length = title_len,
         .buffer_type = MYSQL_TYPE_STRING},
        {.buffer = position, .buffer_type = MYSQL_TYPE_LONGLONG},
        {.buffer = rating, .buffer_type = MYSQL_TYPE_DOUBLE},
    };
    for (int i = 0; i < FLOOR_BULK; i++) {
        album[i] = 1;
        position[i] = i;
        rating[i] = i * 0.5;
        title[i] = text;
        title_len[i] = sizeof text - 1;
    }
    prepare("INSERT INTO scratch (album, title, position, rating) VALUES (?, ?, ?, ?)");
    if (n_rows > 1) must(mysql_stmt_attr_set(stmt, STMT_ATTR_ARRAY_SIZE, &n_rows));
    must(mysql_stmt_bind_param(stmt, params));
    must(mysql_stmt_execute(stmt)); /* the first warms up */
    double start = floor_now();
    for (int i = 0; i < count; i++) must(mysql_stmt_execute(stmt));
    return (floor_now() - start) / count / n_rows;
}

/* count statements of 1,000 rows with a parameter a value, which give the keys back. */
static double values(int count)
{
    static char sql[128 + FLOOR_BULK * 16];
    static MYSQL_BIND params[4 * FLOOR_BULK];
    static int64_t number[FLOOR_BULK];
    static double rating[FLOOR_BULK];
    static char text[] = FLOOR_TITLE;
    int64_t one = 1;
    char *to = sql + sprintf(sql, "INSERT INTO scratch (album, title, position, rating) VALUES ");
    for (int i = 0; i < FLOOR_BULK; i++) {
        to += sprintf(to, "%s(?,?,?,?)", i ? "," : "");
        number[i] = i;
        rating[i] = i * 0.5;
        params[4 * i] = (MYSQL_BIND){.buffer = &one, .buffer_type = MYSQL_TYPE_LONGLONG};
        params[4 * i + 1] = (MYSQL_BIND){
            .buffer = text, .buffer_length = sizeof text - 1, .buffer_type = MYSQL_TYPE_STRING};
        params[4 * i + 2] = (MYSQL_BIND){.buffer = &number[i], .buffer_type = MYSQL_TYPE_LONGLONG};
        params[4 * i + 3] = (MYSQL_BIND){.buffer = &rating[i], .buffer_type = MYSQL_TYPE_DOUBLE};
    }
    strcpy(to, " RETURNING id");
    prepare(sql);
    must(mysql_stmt_bind_param(stmt, params));
    double start = 0;
    for (int i = -1; i < count; i++) {
        if (i == 0) start = floor_now();
        must(mysql_stmt_execute(stmt));
        bind_columns("i");
        must(mysql_stmt_store_result(stmt));
        if (read_rows(1) != FLOOR_BULK) floor_fail("a key is missing");
        must(mysql_stmt_free_result(stmt));
    }
    return (floor_now() - start) / count / FLOOR_BULK;
}

/* The number of the thread that serves this connection. */
static void find_server(void)
{
    const char sql[] = "SELECT tid FROM information_schema.processlist WHERE id = connection_id()";
    MYSQL_RES *result = mysql_query(db, sql) ? NULL : mysql_store_result(db);
    MYSQL_ROW row = result ? mysql_fetch_row(result) : NULL;
    if (!row) floor_fail(mysql_error(db));
    floor_serve(row[0]);
    mysql_free_result(result);
}

int main(int argc, char **argv)
{
    if (argc < 7) floor_fail("usage: floor_mariadb HOST PORT USER DATABASE WORKLOAD COUNT");
    const char *work = argv[5];
    int count = (int)strtol(argv[6], NULL, 10);
    double ns = 0;
    db = mysql_init(NULL);
    if (!db || !mysql_real_connect(db, argv[1], argv[3], getenv("FLOOR_PASSWORD"), argv[4],
                                   (unsigned)strtoul(argv[2], NULL, 10), NULL, 0))
        floor_fail(db ? mysql_error(db) : "out of memory");
    find_server();
    if (!strcmp(work, "get"))
        ns = gets(count);
    else if (!strcmp(work, "all"))
        ns = rows("SELECT " FLOOR_TRACK " FROM track t", "iitid", count);
    else if (!strcmp(work, "related"))
        ns = rows("SELECT " FLOOR_TRACK ", a.id, a.name FROM track t"
                  " JOIN album a ON a.id = t.album",
                  "iitidit", count);
    else if (!strcmp(work, "create"))
        ns = inserts(count, 1);
    else if (!strcmp(work, "bulk"))
        ns = inserts(count, FLOOR_BULK);
    else if (!strcmp(work, "bulk-values"))
        ns = values(count);
    else
        floor_fail("no such workload");
    printf("%.1f\n", ns);
    mysql_stmt_close(stmt);
    mysql_close(db);
    return 0;
}
