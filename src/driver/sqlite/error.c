/* error.c - SQLite's result codes as classes of error.
 *
 * The class comes from the code, with one exception (is_foreign_key).  The names of a violated
 * constraint are taken from SQLite's message, which is the only place that has them: they are
 * information and decide nothing.
 */
#include "sqlite.h"

/* X(code, class, flags, broken): extended codes where they matter, primary codes for the rest.
 * broken: only a new connection can help. */
#define SQLITE_CODE_MAP(X)                                           \
    X(SQLITE_CONSTRAINT_UNIQUE, ORM_EUNIQUE, 0, false)               \
    X(SQLITE_CONSTRAINT_PRIMARYKEY, ORM_EUNIQUE, 0, false)           \
    X(SQLITE_CONSTRAINT_ROWID, ORM_EUNIQUE, 0, false)                \
    X(SQLITE_CONSTRAINT_FOREIGNKEY, ORM_EFOREIGNKEY, 0, false)       \
    X(SQLITE_CONSTRAINT_NOTNULL, ORM_ENOTNULL, 0, false)             \
    X(SQLITE_CONSTRAINT_CHECK, ORM_ECHECK, 0, false)                 \
    X(SQLITE_CONSTRAINT_DATATYPE, ORM_EDATA, 0, false)               \
    X(SQLITE_CONSTRAINT, ORM_EINTEGRITY, 0, false)                   \
    X(SQLITE_TOOBIG, ORM_EDATA, 0, false)                            \
    X(SQLITE_MISMATCH, ORM_EDATA, 0, false)                          \
    X(SQLITE_RANGE, ORM_EDATA, 0, false)                             \
    X(SQLITE_CANTOPEN, ORM_ECONNECT, 0, true)                        \
    X(SQLITE_NOTADB, ORM_EINTERNAL, 0, true)                         \
    X(SQLITE_CORRUPT, ORM_EINTERNAL, 0, true)                        \
    X(SQLITE_IOERR_CORRUPTFS, ORM_EINTERNAL, 0, true)                \
    X(SQLITE_INTERNAL, ORM_EINTERNAL, 0, true)                       \
    X(SQLITE_AUTH, ORM_EAUTH, 0, false)                              \
    X(SQLITE_PERM, ORM_EOPERATIONAL, 0, false)                       \
    X(SQLITE_BUSY, ORM_ELOCKTIMEOUT, ORM_ERROR_RETRYABLE, false)     \
    X(SQLITE_LOCKED, ORM_ELOCKTIMEOUT, ORM_ERROR_RETRYABLE, false)   \
    X(SQLITE_PROTOCOL, ORM_ELOCKTIMEOUT, ORM_ERROR_RETRYABLE, false) \
    X(SQLITE_INTERRUPT, ORM_ECANCELLED, 0, false)                    \
    X(SQLITE_ABORT, ORM_EOPERATIONAL, 0, false)                      \
    X(SQLITE_FULL, ORM_EDISKFULL, 0, false)                          \
    X(SQLITE_IOERR_NOMEM, ORM_ENOMEM, 0, false)                      \
    X(SQLITE_IOERR, ORM_EOPERATIONAL, 0, true)                       \
    X(SQLITE_READONLY_DBMOVED, ORM_EOPERATIONAL, 0, true)            \
    X(SQLITE_READONLY, ORM_EOPERATIONAL, 0, false)                   \
    X(SQLITE_NOLFS, ORM_EOPERATIONAL, 0, false)                      \
    X(SQLITE_SCHEMA, ORM_ECACHEDSTMT, ORM_ERROR_RETRYABLE, false)    \
    X(SQLITE_NOMEM, ORM_ENOMEM, 0, false)                            \
    X(SQLITE_MISUSE, ORM_EMISUSE, 0, false)                          \
    X(SQLITE_ERROR, ORM_EPROGRAMMING, 0, false)

typedef struct code_entry {
    int code;
    orm_status status;
    uint16_t flags;
    bool broken;
} code_entry;

static const code_entry *code_find(int code)
{
    static const code_entry map[] = {
#define SQLITE_CODE_ENTRY(c, s, f, b) {c, s, f, b},
        SQLITE_CODE_MAP(SQLITE_CODE_ENTRY)
#undef SQLITE_CODE_ENTRY
    };
    static const code_entry unknown = {0, ORM_EDATABASE, 0, false};
    for (int wanted = code;; wanted = code & 0xff) {
        for (size_t i = 0; i < ORM_COUNT(map); i++)
            if (map[i].code == wanted) return &map[i];
        if (wanted == (code & 0xff)) return &unknown;
    }
}

orm_status sqlite_class(int code)
{
    return code_find(code)->status;
}

/* "UNIQUE constraint failed: album.name, album.year" -> album, name;
 * "CHECK constraint failed: positive" -> positive;
 * "UNIQUE constraint failed: index 'folded'" -> folded. */
static void error_add_names(orm_error *err, const char *message)
{
    static const char index_word[] = "index '";
    const char *colon = strstr(message, ": ");
    if (!colon) return;
    const char *name = colon + 2;
    size_t len = strlen(name);
    if (err->status == ORM_ECHECK) {
        orm_error_set_name(err->constraint, name, len);
        return;
    }
    if (strncmp(name, index_word, sizeof(index_word) - 1) == 0) {
        name += sizeof(index_word) - 1;
        len = strlen(name);
        orm_error_set_name(err->constraint, name, len ? len - 1 : 0);
        return;
    }
    const char *dot = strchr(name, '.');
    if (!dot) return;
    const char *comma = strstr(dot, ", ");
    const char *end = comma ? comma : name + len;
    orm_error_set_name(err->table, name, (size_t)(dot - name));
    orm_error_set_name(err->column, dot + 1, (size_t)(end - dot - 1));
}

/* A foreign key that RESTRICTs is a trigger inside SQLite, and so is its code.  Where the file has
 * no triggers it was a foreign key; where it has some, it may have been either. */
static bool is_foreign_key(orm_conn *conn, int code)
{
    static const char sql[] = "SELECT 1 FROM sqlite_schema WHERE type = 'trigger' UNION ALL "
                              "SELECT 1 FROM sqlite_temp_schema WHERE type = 'trigger' LIMIT 1";
    sqlite3_stmt *stmt = NULL;
    if (code != SQLITE_CONSTRAINT_TRIGGER) return false;
    if (sqlite3_prepare_v2(conn->db, sql, -1, &stmt, NULL) != SQLITE_OK) return false;
    bool none = sqlite3_step(stmt) == SQLITE_DONE;
    sqlite3_finalize(stmt);
    return none;
}

orm_status sqlite_fail(orm_conn *conn, int code, orm_error *err)
{
    const code_entry *entry = code_find(code);
    if (entry->broken) conn->broken = true;
    if (!err) return entry->status;
    const char *message = sqlite3_errmsg(conn->db);
    /* some calls fail without setting the connection's error */
    if (sqlite3_extended_errcode(conn->db) != code) message = sqlite3_errstr(code);
    orm_fail(err, entry->status, "%s", message ? message : "unknown error");
    err->native = code;
    err->flags = entry->flags;
    memcpy(err->backend, "sqlite", sizeof("sqlite"));
    if ((code & 0xff) == SQLITE_CONSTRAINT) error_add_names(err, message ? message : "");
    if (is_foreign_key(conn, code)) err->status = ORM_EFOREIGNKEY;
    return err->status;
}
