/* error.c - SQLSTATE as classes of error.
 *
 * The class comes from the code alone.  Names come from the fields of the answer; a missing
 * table or column, for which there is no field, is read in the statement at the place that the
 * server points at, and the column of a violated key in the detail: names are information and
 * decide nothing.
 */
#include "postgresql.h"

#include <stdlib.h>

/* X(code or beginning of codes, class, flags): the longest that fits counts. */
#define PG_CODE_MAP(X)                                                    \
    X("08", ORM_ECONNLOST, ORM_ERROR_DISCONNECT)                          \
    X("08001", ORM_ECONNECT, ORM_ERROR_DISCONNECT)                        \
    X("08004", ORM_ECONNECT, ORM_ERROR_DISCONNECT)                        \
    X("08007", ORM_ECOMMITUNKNOWN, ORM_ERROR_DISCONNECT)                  \
    X("08P01", ORM_EINTERNAL, ORM_ERROR_DISCONNECT)                       \
    X("0A", ORM_ENOTSUPPORTED, 0)                                         \
    X("21", ORM_EPROGRAMMING, 0)                                          \
    X("22", ORM_EDATA, 0)                                                 \
    X("23", ORM_EINTEGRITY, 0)                                            \
    X("23001", ORM_EFOREIGNKEY, 0)                                        \
    X("23502", ORM_ENOTNULL, 0)                                           \
    X("23503", ORM_EFOREIGNKEY, 0)                                        \
    X("23505", ORM_EUNIQUE, 0)                                            \
    X("23514", ORM_ECHECK, 0)                                             \
    X("23P01", ORM_EEXCLUSION, 0)                                         \
    X("25", ORM_EOPERATIONAL, 0)                                          \
    X("25P02", ORM_EROLLEDBACK, 0)                                        \
    X("25P03", ORM_ECONNLOST, ORM_ERROR_DISCONNECT)                       \
    X("26000", ORM_ECACHEDSTMT, ORM_ERROR_RETRYABLE)                      \
    X("28", ORM_EAUTH, ORM_ERROR_DISCONNECT)                              \
    X("3D000", ORM_ECONNECT, 0)                                           \
    X("3F000", ORM_ENOTABLE, 0)                                           \
    X("40", ORM_EOPERATIONAL, ORM_ERROR_RETRYABLE)                        \
    X("40001", ORM_ESERIALIZATION, ORM_ERROR_RETRYABLE)                   \
    X("40002", ORM_EINTEGRITY, 0)                                         \
    X("40003", ORM_ECOMMITUNKNOWN, 0)                                     \
    X("40P01", ORM_EDEADLOCK, ORM_ERROR_RETRYABLE)                        \
    X("42", ORM_EPROGRAMMING, 0)                                          \
    X("42601", ORM_ESYNTAX, 0)                                            \
    X("42703", ORM_ENOCOLUMN, 0)                                          \
    X("42P01", ORM_ENOTABLE, 0)                                           \
    X("42P05", ORM_ECACHEDSTMT, ORM_ERROR_RETRYABLE)                      \
    X("44", ORM_ECHECK, 0)                                                \
    X("53", ORM_ESERVERBUSY, ORM_ERROR_RETRYABLE)                         \
    X("53100", ORM_EDISKFULL, 0)                                          \
    X("53200", ORM_EOPERATIONAL, ORM_ERROR_RETRYABLE)                     \
    X("53300", ORM_ECONNECT, ORM_ERROR_RETRYABLE)                         \
    X("54", ORM_ETOOCOMPLEX, 0)                                           \
    X("55", ORM_EOPERATIONAL, 0)                                          \
    X("55P03", ORM_ELOCKTIMEOUT, ORM_ERROR_RETRYABLE)                     \
    X("57", ORM_EOPERATIONAL, 0)                                          \
    X("57014", ORM_ECANCELLED, 0)                                         \
    X("57P01", ORM_ECONNLOST, ORM_ERROR_DISCONNECT | ORM_ERROR_RETRYABLE) \
    X("57P02", ORM_ECONNLOST, ORM_ERROR_DISCONNECT | ORM_ERROR_RETRYABLE) \
    X("57P03", ORM_ECONNECT, ORM_ERROR_DISCONNECT | ORM_ERROR_RETRYABLE)  \
    X("57P04", ORM_ECONNLOST, ORM_ERROR_DISCONNECT)                       \
    X("57P05", ORM_ECONNLOST, ORM_ERROR_DISCONNECT | ORM_ERROR_RETRYABLE) \
    X("58", ORM_EOPERATIONAL, 0)                                          \
    X("F0", ORM_EINTERNAL, 0)                                             \
    X("XX", ORM_EINTERNAL, 0)

typedef struct code_entry {
    const char *code;
    orm_status status;
    uint16_t flags;
} code_entry;

static const code_entry *code_find(const char *sqlstate)
{
    static const code_entry map[] = {
#define PG_CODE_ENTRY(code, status, flags) {code, status, flags},
        PG_CODE_MAP(PG_CODE_ENTRY)
#undef PG_CODE_ENTRY
    };
    static const code_entry unknown = {"", ORM_EDATABASE, 0};
    const code_entry *best = &unknown;
    for (size_t i = 0; i < ORM_COUNT(map); i++) {
        size_t len = strlen(map[i].code);
        if (len > strlen(best->code) && strncmp(sqlstate, map[i].code, len) == 0) best = &map[i];
    }
    return best;
}

orm_status pg_class(const char *sqlstate)
{
    return code_find(sqlstate)->status;
}

/* ---- names -------------------------------------------------------------------------------- */

/* The identifier at `at`, the last of those joined by dots: item."no such" -> no such. */
static size_t identifier_read(const char *at, const char **out)
{
    size_t len;
    for (;;) {
        bool quoted = *at == '"';
        if (quoted) at++;
        len = quoted ? strcspn(at, "\"") : strcspn(at, " \t\r\n,;.()[]\"'+-*/<>=~!@#%^&|`?:");
        *out = at;
        at += len;
        if (quoted && *at) at++;
        if (*at != '.') return len;
        at++;
    }
}

/* The server counts characters, from 1. */
static void error_add_missing(orm_error *err, const PGresult *result, const char *sql)
{
    const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION), *name;
    if (!position || !sql) return;
    long left = strtol(position, NULL, 10) - 1;
    for (; *sql && left > 0; left--) {
        sql++;
        while (((unsigned char)*sql & 0xC0) == 0x80) sql++;
    }
    size_t len = identifier_read(sql, &name);
    orm_error_set_name(err->status == ORM_ENOTABLE ? err->table : err->column, name, len);
}

/* The detail of a violated key: `Key (name)=(x) already exists.`; the first of its columns. */
static void error_add_key(orm_error *err, const PGresult *result)
{
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    const char *open = detail ? strchr(detail, '(') : NULL;
    const char *close = open ? strstr(open, ")=(") : NULL;
    if (!close) return;
    const char *comma = memchr(open, ',', (size_t)(close - open));
    const char *name = open + 1, *end = comma ? comma : close;
    if (*name == '"' && end - name > 2) {
        name++;
        end--;
    }
    orm_error_set_name(err->column, name, (size_t)(end - name));
}

static void error_set_field(char field[ORM_NAME_BYTES], const PGresult *result, int code)
{
    const char *name = PQresultErrorField(result, code);
    if (name) orm_error_set_name(field, name, strlen(name));
}

static void error_add_names(orm_error *err, const PGresult *result, const char *sql)
{
    error_set_field(err->table, result, PG_DIAG_TABLE_NAME);
    error_set_field(err->column, result, PG_DIAG_COLUMN_NAME);
    error_set_field(err->constraint, result, PG_DIAG_CONSTRAINT_NAME);
    if (err->status == ORM_ENOTABLE || err->status == ORM_ENOCOLUMN)
        error_add_missing(err, result, sql);
    else if (!err->column[0] && strncmp(err->sqlstate, "23", 2) == 0)
        error_add_key(err, result);
}

/* ---- filling ------------------------------------------------------------------------------ */

static void error_set_code(orm_error *err, const code_entry *entry, const char *sqlstate)
{
    memcpy(err->backend, "postgresql", sizeof "postgresql");
    memcpy(err->sqlstate, sqlstate, 5);
    err->sqlstate[5] = '\0';
    err->flags = entry->flags;
}

/* The connection itself is gone; nobody knows what became of the statement. */
static orm_status fail_lost(orm_conn *conn, orm_error *err)
{
    conn->broken = true;
    orm_fail(err, ORM_ECONNLOST, "the connection to the server was lost");
    if (err) {
        memcpy(err->backend, "postgresql", sizeof "postgresql");
        err->flags = ORM_ERROR_DISCONNECT | ORM_ERROR_RETRYABLE;
    }
    return ORM_ECONNLOST;
}

/* Codes that mean different things by who says so: the server's function is part of the code. */
static code_entry code_refine(const code_entry *entry, const char *sqlstate, const PGresult *result)
{
    code_entry out = *entry;
    const char *routine = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);
    if (!routine) return out;
    if (strcmp(sqlstate, "0A000") == 0 && strcmp(routine, "RevalidateCachedQuery") == 0) {
        out.status = ORM_ECACHEDSTMT;
        out.flags = ORM_ERROR_RETRYABLE;
    }
    /* a type that a statement was prepared with is gone: it was dropped, perhaps made anew */
    if (strcmp(sqlstate, "XX000") == 0 &&
        (strncmp(routine, "getType", 7) == 0 || strcmp(routine, "lookup_type_cache") == 0)) {
        out.status = ORM_ECACHEDSTMT;
        out.flags = ORM_ERROR_RETRYABLE;
    }
    /* several statements in one text: no mistake in any of them */
    if (strcmp(sqlstate, "42601") == 0 && strcmp(routine, "exec_parse_message") == 0)
        out.status = ORM_EPROGRAMMING;
    return out;
}

/* A name that was given here, and that the session does not know or has already: it is not the
 * session that the name was given in. */
static const char pooler_hint[] =
    "; behind a pooler of transactions or statements (PgBouncer) use the option prepare=off";

static bool is_name_lost(const char *sqlstate)
{
    return strcmp(sqlstate, "26000") == 0 || strcmp(sqlstate, "42P05") == 0;
}

orm_status pg_fail(orm_conn *conn, const PGresult *result, const char *sql, orm_error *err)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (!sqlstate || strlen(sqlstate) != 5) {
        if (PQstatus(conn->pg) != CONNECTION_OK) return fail_lost(conn, err);
        conn->broken = true; /* libpq itself has failed: out of memory, or a broken protocol */
        return orm_fail(err, ORM_EINTERNAL, "the answer of the server could not be read");
    }
    code_entry entry = code_refine(code_find(sqlstate), sqlstate, result);
    if (entry.flags & ORM_ERROR_DISCONNECT) conn->broken = true;
    if (!err) return entry.status;
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    orm_fail(err, entry.status, "%s%s", message ? message : "unknown error",
             is_name_lost(sqlstate) ? pooler_hint : "");
    error_set_code(err, &entry, sqlstate);
    error_add_names(err, result, sql);
    return entry.status;
}

/* ---- connecting --------------------------------------------------------------------------- */

/* libpq keeps no result of a failed attempt, but a verbose message has the code in a fixed
 * place: `FATAL:  28P01: password …`.  Returns the text behind it. */
static const char *verbose_find_code(const char *message, char sqlstate[6])
{
    for (const char *p = strstr(message, ":  "); p; p = strstr(p + 1, ":  ")) {
        const char *code = p + 3;
        if (strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 || code[5] != ':') continue;
        memcpy(sqlstate, code, 5);
        sqlstate[5] = '\0';
        return code + 6 + strspn(code + 6, " ");
    }
    return NULL;
}

orm_status pg_fail_connect(PGconn *pg, const char *password, bool in_tls, orm_error *err)
{
    char sqlstate[6] = "";
    const char *message = PQerrorMessage(pg);
    const char *text = verbose_find_code(message, sqlstate);
    static const code_entry plain = {"", ORM_ECONNECT, ORM_ERROR_DISCONNECT};
    code_entry entry = text ? *code_find(sqlstate) : plain;
    if (!text && in_tls) entry.status = ORM_ETLS;
    if (entry.status == ORM_ECONNLOST) entry.status = ORM_ECONNECT;
    if (!text) text = message;
    /* one line, and never the password */
    size_t len = strcspn(text, "\n");
    bool has_secret = password && password[0] && strstr(text, password);
    if (has_secret || len == 0) {
        text = "the server refused the connection";
        len = strlen(text);
    }
    orm_fail(err, entry.status, "cannot connect: %.*s", (int)(len < 180 ? len : 180), text);
    if (err) {
        error_set_code(err, &entry, sqlstate[0] ? sqlstate : "\0\0\0\0\0");
        err->flags |= ORM_ERROR_DISCONNECT;
    }
    return entry.status;
}
