/* diagnose.c - what SQLITE_ERROR was about.
 *
 * SQLite has one code for a missing table, a missing column and a mistake of syntax, and tells
 * them apart only in English.  Here they are told apart by asking again: the SQL is read as
 * tokens, and small probes are prepared (never run).
 *
 *   The error has a place in the text.  The token there is replaced: the parser stops at a
 *   mistake of syntax whatever stands there, while a missing column has gone once the name is
 *   a NULL.
 *   The error has no place.  The tables that the statement names, and the columns that INSERT
 *   and UPDATE name, are looked up one by one.
 */
#include "sqlite.h"

enum {
    TOKEN_END,
    TOKEN_WORD,
    TOKEN_QUOTED,
    TOKEN_OTHER
};

typedef struct token {
    int kind;
    size_t at, len; /* in the text, quotes included */
} token;

typedef struct reader {
    orm_conn *conn;
    const char *sql;
    size_t len, at;
    token now;
    token first; /* the statement's first word */
    bool no_memory;
} reader;

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || (c & 0x80);
}

static void skip_blank(reader *r)
{
    while (r->at < r->len) {
        const char *p = r->sql + r->at;
        size_t left = r->len - r->at;
        if (*p == ' ' || (*p >= '\t' && *p <= '\r')) {
            r->at++;
        } else if (left > 1 && p[0] == '-' && p[1] == '-') {
            while (r->at < r->len && r->sql[r->at] != '\n') r->at++;
        } else if (left > 1 && p[0] == '/' && p[1] == '*') {
            r->at += 2;
            while (r->len - r->at > 1 && !(r->sql[r->at] == '*' && r->sql[r->at + 1] == '/'))
                r->at++;
            r->at = r->len - r->at > 1 ? r->at + 2 : r->len;
        } else {
            return;
        }
    }
}

/* The end of a quoted token that starts at `at`; a doubled quote is part of it. */
static size_t quoted_end(const reader *r, size_t at, char close)
{
    for (size_t i = at + 1; i < r->len; i++) {
        if (r->sql[i] != close) continue;
        if (close != ']' && i + 1 < r->len && r->sql[i + 1] == close)
            i++;
        else
            return i + 1;
    }
    return r->len;
}

static void next_token(reader *r)
{
    skip_blank(r);
    r->now = (token){TOKEN_END, r->at, 0};
    if (r->at >= r->len) return;
    char c = r->sql[r->at];
    size_t end = r->at + 1;
    if (c == '"' || c == '`' || c == '[' || c == '\'') {
        r->now.kind = c == '\'' ? TOKEN_OTHER : TOKEN_QUOTED;
        end = quoted_end(r, r->at, c == '[' ? ']' : c);
    } else if (is_name_char(c)) {
        r->now.kind = c >= '0' && c <= '9' ? TOKEN_OTHER : TOKEN_WORD;
        while (end < r->len && is_name_char(r->sql[end])) end++;
    } else {
        r->now.kind = TOKEN_OTHER;
    }
    r->now.len = end - r->at;
    r->at = end;
}

static void rewind_to(reader *r, size_t at)
{
    r->at = at;
    next_token(r);
}

static bool token_is(const reader *r, token t, const char *word)
{
    size_t n = strlen(word);
    return t.kind != TOKEN_QUOTED && t.len == n &&
           sqlite3_strnicmp(r->sql + t.at, word, (int)n) == 0;
}

static bool now_is(const reader *r, const char *word)
{
    return token_is(r, r->now, word);
}

static bool is_name(const reader *r)
{
    return r->now.kind == TOKEN_WORD || r->now.kind == TOKEN_QUOTED;
}

/* The name that a token stands for; false when it is longer than an error can hold. */
static bool token_name(const reader *r, token t, char out[ORM_NAME_BYTES])
{
    const char *p = r->sql + t.at;
    size_t n = 0, len = t.len;
    char close = 0;
    if (t.kind == TOKEN_QUOTED) {
        close = *p == '[' ? ']' : *p;
        p++;
        len = len > 1 ? len - 2 : 0;
    }
    for (size_t i = 0; i < len; i++) {
        if (n + 1 >= ORM_NAME_BYTES) return false;
        out[n++] = p[i];
        if (close && close != ']' && p[i] == close) i++;
    }
    out[n] = '\0';
    return true;
}

/* ---- probes ------------------------------------------------------------------------------- */

/* Prepares a text made by sqlite3_mprintf, and frees it.  Returns SQLite's code; *offset is the
 * place of its error. */
static int probe(reader *r, char *sql, int *offset)
{
    if (!sql) {
        r->no_memory = true;
        return SQLITE_NOMEM;
    }
    sqlite3_stmt *handle = NULL;
    int code = sqlite3_prepare_v3(r->conn->db, sql, -1, 0, &handle, NULL);
    if (offset) *offset = sqlite3_error_offset(r->conn->db);
    sqlite3_finalize(handle);
    sqlite3_free(sql);
    if (code == SQLITE_NOMEM) r->no_memory = true;
    return code;
}

static bool table_is_missing(reader *r, const char *table)
{
    return probe(r, sqlite3_mprintf("SELECT 1 FROM \"%w\"", table), NULL) == SQLITE_ERROR;
}

static bool column_is_missing(reader *r, const char *table, const char *column)
{
    char *sql = sqlite3_mprintf("SELECT \"%w\" FROM \"%w\"", column, table);
    return probe(r, sql, NULL) == SQLITE_ERROR;
}

/* Does the text still fail at the same place when [at, end) is replaced? */
static bool still_fails(reader *r, size_t at, size_t end, const char *by)
{
    int offset = -1;
    char *sql = sqlite3_mprintf("%.*s%s%.*s", (int)at, r->sql, by, (int)(r->len - end),
                                r->sql + end);
    return probe(r, sql, &offset) == SQLITE_ERROR && offset == (int)at;
}

/* A keyword that is never a name: FROM is one, KEY is not. */
static bool is_reserved(reader *r, token t)
{
    const char *word = r->sql + t.at;
    if (t.kind == TOKEN_QUOTED || !sqlite3_keyword_check(word, (int)t.len)) return false;
    return probe(r, sqlite3_mprintf("SELECT NULL AS %.*s", (int)t.len, word), NULL) == SQLITE_ERROR;
}

/* ---- the tables of a statement ------------------------------------------------------------- */

typedef bool (*table_fn)(reader *r, const char *table, void *arg);

/* Is this name a common table expression: `name AS (`, `name(…) AS`? */
static bool is_cte(reader *r, const char *wanted)
{
    if (!token_is(r, r->first, "with")) return false;
    size_t back = r->now.at;
    bool found = false;
    char name[ORM_NAME_BYTES];
    rewind_to(r, 0);
    while (r->now.kind != TOKEN_END && !found) {
        bool same = is_name(r) && token_name(r, r->now, name) && sqlite3_stricmp(name, wanted) == 0;
        next_token(r);
        if (!same) continue;
        if (now_is(r, "(")) {
            found = true;
        } else if (now_is(r, "as")) {
            next_token(r);
            found = now_is(r, "(") || now_is(r, "not") || now_is(r, "materialized");
        }
    }
    rewind_to(r, back);
    return found;
}

static void skip_parentheses(reader *r)
{
    int depth = 0;
    do {
        if (now_is(r, "(")) depth++;
        if (now_is(r, ")")) depth--;
        next_token(r);
    } while (depth > 0 && r->now.kind != TOKEN_END);
}

/* The reader stands at the name of a table, maybe behind its schema's.  list_follows: what may
 * stand in parentheses behind it are columns.  True: fn said stop. */
static bool visit_table(reader *r, bool list_follows, table_fn fn, void *arg)
{
    token name = r->now;
    next_token(r);
    while (now_is(r, ".")) {
        next_token(r);
        name = r->now;
        next_token(r);
    }
    char text[ORM_NAME_BYTES];
    if (now_is(r, "(") && !list_follows) { /* a table-valued function and its arguments */
        skip_parentheses(r);
        return false;
    }
    if (!token_name(r, name, text) || is_cte(r, text)) return false;
    return fn(r, text, arg);
}

/* Behind FROM: tables with their aliases, separated by commas. */
static bool visit_from(reader *r, table_fn fn, void *arg)
{
    for (;;) {
        if (!is_name(r)) return false;
        if (visit_table(r, false, fn, arg)) return true;
        if (now_is(r, "as")) next_token(r);
        size_t alias = r->now.at;
        if (is_name(r)) next_token(r);
        if (!now_is(r, ",")) {
            rewind_to(r, alias);
            return false;
        }
        next_token(r);
    }
}

static bool visit_tables(reader *r, table_fn fn, void *arg)
{
    bool ddl = token_is(r, r->first, "drop") || token_is(r, r->first, "alter");
    bool create = token_is(r, r->first, "create");
    token before = r->first;
    rewind_to(r, 0);
    while (r->now.kind != TOKEN_END) {
        token word = r->now;
        next_token(r);
        bool from = (token_is(r, word, "from") && !token_is(r, before, "distinct")) ||
                    token_is(r, word, "join");
        bool target = token_is(r, word, "into") || token_is(r, word, "update") ||
                      (ddl && token_is(r, word, "table")) || (create && token_is(r, word, "on"));
        before = word;
        if (from && visit_from(r, fn, arg)) return true;
        if (target && now_is(r, "or")) { /* UPDATE OR REPLACE t */
            next_token(r);
            next_token(r);
        }
        if (target && is_name(r) && visit_table(r, true, fn, arg)) return true;
    }
    return false;
}

static bool is_missing_table(reader *r, const char *table, void *arg)
{
    orm_error *err = arg;
    if (!table_is_missing(r, table)) return false;
    orm_error_set_name(err->table, table, strlen(table));
    return true;
}

static bool has_column(reader *r, const char *table, void *arg)
{
    return !column_is_missing(r, table, arg);
}

/* ---- the columns that a write names -------------------------------------------------------- */

/* INSERT INTO t (a, b …: the first that t lacks.  The reader stands behind the parenthesis. */
static bool find_insert_column(reader *r, const char *table, char column[ORM_NAME_BYTES])
{
    while (is_name(r)) {
        if (token_name(r, r->now, column) && column_is_missing(r, table, column)) return true;
        next_token(r);
        if (!now_is(r, ",")) return false;
        next_token(r);
    }
    return false;
}

/* UPDATE t SET a = …, b = …: the first that t lacks.  The reader stands behind SET. */
static bool find_update_column(reader *r, const char *table, char column[ORM_NAME_BYTES])
{
    int depth = 0;
    bool is_target = true;
    for (; r->now.kind != TOKEN_END; next_token(r)) {
        if (is_target && is_name(r) && token_name(r, r->now, column) &&
            column_is_missing(r, table, column))
            return true;
        if (depth == 0 && now_is(r, "where")) return false;
        is_target = depth == 0 && now_is(r, ",");
        if (now_is(r, "(")) depth++;
        if (now_is(r, ")")) depth--;
    }
    return false;
}

/* A write's target and the column that it lacks. */
static bool find_write_column(reader *r, char table[ORM_NAME_BYTES], char column[ORM_NAME_BYTES])
{
    rewind_to(r, 0);
    while (r->now.kind != TOKEN_END && !now_is(r, "into") && !now_is(r, "update")) next_token(r);
    bool update = now_is(r, "update");
    next_token(r);
    if (now_is(r, "or")) {
        next_token(r);
        next_token(r);
    }
    token name = r->now;
    next_token(r);
    while (now_is(r, ".")) {
        next_token(r);
        name = r->now;
        next_token(r);
    }
    if (!token_name(r, name, table)) return false;
    while (update && r->now.kind != TOKEN_END && !now_is(r, "set")) next_token(r);
    if (!update && !now_is(r, "(")) return false;
    next_token(r);
    return update ? find_update_column(r, table, column) : find_insert_column(r, table, column);
}

/* ---- the answer ---------------------------------------------------------------------------- */

/* The error has a place: its token, or a name with its qualifiers. */
static orm_status diagnose_place(reader *r, size_t offset, orm_error *err)
{
    rewind_to(r, offset);
    if (!is_name(r) || is_reserved(r, r->now)) return ORM_ESYNTAX;
    size_t at = r->now.at, end = at + r->now.len;
    token column = r->now, table = {TOKEN_END, 0, 0};
    next_token(r);
    while (now_is(r, ".")) {
        next_token(r);
        if (!is_name(r)) break;
        table = column;
        column = r->now;
        end = r->now.at + r->now.len;
        next_token(r);
    }
    bool call = now_is(r, "(");
    /* where a new name is wanted (CREATE TABLE …), NULL is none but another name helps */
    if (still_fails(r, at, end, "NULL"))
        return still_fails(r, at, end, "orm_probe") ? ORM_ESYNTAX : ORM_EPROGRAMMING;
    char name[ORM_NAME_BYTES];
    if (call || !token_name(r, column, name)) return ORM_EPROGRAMMING;
    /* a name that some table has was ambiguous, not missing */
    if (table.kind == TOKEN_END && visit_tables(r, has_column, name)) return ORM_EPROGRAMMING;
    orm_error_set_name(err->column, name, strlen(name));
    if (table.kind != TOKEN_END && token_name(r, table, name))
        orm_error_set_name(err->table, name, strlen(name));
    return ORM_ENOCOLUMN;
}

static orm_status diagnose_names(reader *r, orm_error *err)
{
    char table[ORM_NAME_BYTES], column[ORM_NAME_BYTES];
    if (visit_tables(r, is_missing_table, err)) return ORM_ENOTABLE;
    if (find_write_column(r, table, column)) {
        orm_error_set_name(err->table, table, strlen(table));
        orm_error_set_name(err->column, column, strlen(column));
        return ORM_ENOCOLUMN;
    }
    return ORM_EPROGRAMMING;
}

orm_status sqlite_diagnose(orm_conn *conn, const char *sql, size_t len, int offset, orm_error *err)
{
    orm_error scratch;
    if (!err) {
        err = &scratch;
        orm_error_clear(err);
    }
    reader r = {.conn = conn, .sql = sql, .len = len};
    next_token(&r);
    r.first = r.now;
    orm_status status = offset >= 0 && (size_t)offset < len
                            ? diagnose_place(&r, (size_t)offset, err)
                            : diagnose_names(&r, err);
    if (r.no_memory) return orm_fail_nomem(err);
    err->status = status;
    return status;
}
