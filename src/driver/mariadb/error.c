/* error.c - MariaDB's error numbers as classes of error.
 *
 * The class comes from the number alone.  Names of tables, columns and constraints are taken from
 * the server's message, which is the only place that has them (its language is set to English
 * when the connection is made): they are information and decide nothing.  Messages that quote
 * the values of a row are written anew, without them.
 */
#include "mariadb.h"
#include <errmsg.h>
#include <mysqld_error.h>
#include <stdio.h>

enum {
    LOST = ORM_ERROR_DISCONNECT,
    AGAIN = ORM_ERROR_RETRYABLE
};

/* X(number, class, flags).  Numbers that the header of an older client library lacks stand as
 * such. */
#define MARIADB_CODE_MAP(X)                                                 \
    X(ER_DUP_ENTRY, ORM_EUNIQUE, 0)                                         \
    X(ER_DUP_ENTRY_WITH_KEY_NAME, ORM_EUNIQUE, 0)                           \
    X(ER_DUP_KEY, ORM_EUNIQUE, 0)                                           \
    X(1859, ORM_EUNIQUE, 0) /* … in an index made of a computed column */ \
    X(ER_ROW_IS_REFERENCED, ORM_EFOREIGNKEY, 0)                             \
    X(ER_NO_REFERENCED_ROW, ORM_EFOREIGNKEY, 0)                             \
    X(ER_ROW_IS_REFERENCED_2, ORM_EFOREIGNKEY, 0)                           \
    X(ER_NO_REFERENCED_ROW_2, ORM_EFOREIGNKEY, 0)                           \
    X(1761, ORM_EFOREIGNKEY, 0) /* a cascade meets a unique key */          \
    X(1762, ORM_EFOREIGNKEY, 0)                                             \
    X(ER_BAD_NULL_ERROR, ORM_ENOTNULL, 0)                                   \
    X(ER_NO_DEFAULT_FOR_FIELD, ORM_ENOTNULL, 0)                             \
    X(4025, ORM_ECHECK, 0)                                                  \
    X(3819, ORM_ECHECK, 0) /* MySQL */                                      \
    X(ER_WARN_DATA_OUT_OF_RANGE, ORM_EDATA, 0)                              \
    X(WARN_DATA_TRUNCATED, ORM_EDATA, 0)                                    \
    X(ER_TRUNCATED_WRONG_VALUE, ORM_EDATA, 0)                               \
    X(ER_TRUNCATED_WRONG_VALUE_FOR_FIELD, ORM_EDATA, 0)                     \
    X(ER_DIVISION_BY_ZERO, ORM_EDATA, 0)                                    \
    X(ER_DATA_TOO_LONG, ORM_EDATA, 0)                                       \
    X(ER_DATA_OUT_OF_RANGE, ORM_EDATA, 0)                                   \
    X(ER_DATETIME_FUNCTION_OVERFLOW, ORM_EDATA, 0)                          \
    X(ER_CANNOT_CONVERT_CHARACTER, ORM_EDATA, 0)                            \
    X(ER_INVALID_CHARACTER_STRING, ORM_EDATA, 0)                            \
    X(ER_NET_PACKET_TOO_LARGE, ORM_EDATA, 0)                                \
    X(ER_REGEXP_ERROR, ORM_EDATA, 0)                                        \
    X(ER_WRONG_VALUE, ORM_EDATA, 0)                                         \
    X(CR_CONNECTION_ERROR, ORM_ECONNECT, LOST | AGAIN)                      \
    X(CR_CONN_HOST_ERROR, ORM_ECONNECT, LOST | AGAIN)                       \
    X(CR_UNKNOWN_HOST, ORM_ECONNECT, LOST | AGAIN)                          \
    X(CR_SOCKET_CREATE_ERROR, ORM_ECONNECT, LOST | AGAIN)                   \
    X(ER_CON_COUNT_ERROR, ORM_ECONNECT, LOST | AGAIN)                       \
    X(ER_TOO_MANY_USER_CONNECTIONS, ORM_ECONNECT, LOST | AGAIN)             \
    X(ER_HOST_IS_BLOCKED, ORM_ECONNECT, LOST)                               \
    X(ER_HOST_NOT_PRIVILEGED, ORM_EAUTH, LOST)                              \
    X(ER_BAD_DB_ERROR, ORM_ECONNECT, LOST)                                  \
    X(ER_HANDSHAKE_ERROR, ORM_ECONNECT, LOST | AGAIN)                       \
    X(CR_VERSION_ERROR, ORM_ECONNECT, LOST)                                 \
    X(ER_ACCESS_DENIED_ERROR, ORM_EAUTH, LOST)                              \
    X(ER_ACCESS_DENIED_NO_PASSWORD_ERROR, ORM_EAUTH, LOST)                  \
    X(ER_DBACCESS_DENIED_ERROR, ORM_EAUTH, 0)                               \
    X(ER_TABLEACCESS_DENIED_ERROR, ORM_EAUTH, 0)                            \
    X(ER_COLUMNACCESS_DENIED_ERROR, ORM_EAUTH, 0)                           \
    X(ER_SPECIFIC_ACCESS_DENIED_ERROR, ORM_EAUTH, 0)                        \
    X(ER_MUST_CHANGE_PASSWORD_LOGIN, ORM_EAUTH, LOST)                       \
    X(4151, ORM_EAUTH, LOST) /* the account is locked */                    \
    X(CR_AUTH_PLUGIN_CANNOT_LOAD, ORM_EAUTH, LOST)                          \
    X(CR_SSL_CONNECTION_ERROR, ORM_ETLS, LOST)                              \
    X(ER_CONNECTION_KILLED, ORM_ECONNLOST, LOST | AGAIN)                    \
    X(ER_SERVER_SHUTDOWN, ORM_ECONNLOST, LOST | AGAIN)                      \
    X(ER_NEW_ABORTING_CONNECTION, ORM_ECONNLOST, LOST | AGAIN)              \
    X(ER_NET_READ_ERROR, ORM_ECONNLOST, LOST | AGAIN)                       \
    X(ER_NET_READ_INTERRUPTED, ORM_ECONNLOST, LOST | AGAIN)                 \
    X(ER_NET_ERROR_ON_WRITE, ORM_ECONNLOST, LOST | AGAIN)                   \
    X(ER_NET_WRITE_INTERRUPTED, ORM_ECONNLOST, LOST | AGAIN)                \
    X(CR_SERVER_GONE_ERROR, ORM_ECONNLOST, LOST | AGAIN)                    \
    X(CR_SERVER_LOST, ORM_ECONNLOST, LOST | AGAIN)                          \
    X(CR_COMMANDS_OUT_OF_SYNC, ORM_ECONNLOST, LOST)                         \
    X(2045, ORM_ECONNLOST, LOST | AGAIN)                                    \
    X(2055, ORM_ECONNLOST, LOST | AGAIN)                                    \
    X(4031, ORM_ECONNLOST, LOST | AGAIN) /* idle for too long: MySQL */     \
    X(CR_MALFORMED_PACKET, ORM_EINTERNAL, LOST)                             \
    X(ER_LOCK_WAIT_TIMEOUT, ORM_ELOCKTIMEOUT, AGAIN)                        \
    X(3572, ORM_ELOCKTIMEOUT, AGAIN) /* NOWAIT: MySQL */                    \
    X(ER_LOCK_DEADLOCK, ORM_EDEADLOCK, AGAIN)                               \
    X(ER_CHECKREAD, ORM_ESERIALIZATION, AGAIN)                              \
    X(1969, ORM_EQUERYTIMEOUT, 0)                                           \
    X(3024, ORM_EQUERYTIMEOUT, 0) /* MySQL */                               \
    X(ER_QUERY_INTERRUPTED, ORM_ECANCELLED, 0)                              \
    X(ER_DISK_FULL, ORM_EDISKFULL, 0)                                       \
    X(ER_RECORD_FILE_FULL, ORM_EDISKFULL, 0)                                \
    X(ER_ERROR_ON_WRITE, ORM_EDISKFULL, 0)                                  \
    X(ER_TOO_MANY_CONCURRENT_TRXS, ORM_ESERVERBUSY, AGAIN)                  \
    X(ER_MAX_PREPARED_STMT_COUNT_REACHED, ORM_ESERVERBUSY, 0)               \
    X(ER_USER_LIMIT_REACHED, ORM_ESERVERBUSY, 0)                            \
    X(ER_GET_ERRNO, ORM_EOPERATIONAL, 0)                                    \
    X(ER_CRASHED_ON_USAGE, ORM_EINTERNAL, 0)                                \
    X(ER_NOT_KEYFILE, ORM_EINTERNAL, 0)                                     \
    X(ER_OPTION_PREVENTS_STATEMENT, ORM_EOPERATIONAL, 0)                    \
    X(ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, ORM_EOPERATIONAL, 0)        \
    X(1836, ORM_EOPERATIONAL, 0)                                            \
    X(ER_BAD_FIELD_ERROR, ORM_ENOCOLUMN, 0)                                 \
    X(ER_KEY_COLUMN_DOES_NOT_EXIST, ORM_ENOCOLUMN, 0)                       \
    X(ER_NO_SUCH_TABLE, ORM_ENOTABLE, 0)                                    \
    X(ER_BAD_TABLE_ERROR, ORM_ENOTABLE, 0)                                  \
    X(ER_UNKNOWN_TABLE, ORM_ENOTABLE, 0)                                    \
    X(ER_PARSE_ERROR, ORM_ESYNTAX, 0)                                       \
    X(ER_EMPTY_QUERY, ORM_EPROGRAMMING, 0)                                  \
    X(ER_PS_MANY_PARAM, ORM_ETOOCOMPLEX, 0)                                 \
    X(ER_TOO_MANY_TABLES, ORM_ETOOCOMPLEX, 0)                               \
    X(ER_STACK_OVERRUN_NEED_MORE, ORM_ETOOCOMPLEX, 0)                       \
    X(ER_NEED_REPREPARE, ORM_ECACHEDSTMT, AGAIN)                            \
    X(ER_UNKNOWN_STMT_HANDLER, ORM_ECACHEDSTMT, AGAIN)                      \
    X(CR_NEW_STMT_METADATA, ORM_ECACHEDSTMT, 0)                             \
    X(ER_NOT_SUPPORTED_YET, ORM_ENOTSUPPORTED, 0)                           \
    X(ER_UNSUPPORTED_PS, ORM_ENOTSUPPORTED, 0)                              \
    X(ER_FEATURE_DISABLED, ORM_ENOTSUPPORTED, 0)                            \
    X(ER_OUTOFMEMORY, ORM_ENOMEM, 0)                                        \
    X(ER_OUT_OF_SORTMEMORY, ORM_ENOMEM, 0)                                  \
    X(CR_OUT_OF_MEMORY, ORM_ENOMEM, LOST)

typedef struct code_entry {
    unsigned number;
    orm_status status;
    uint16_t flags;
} code_entry;

static const code_entry *code_find(unsigned number)
{
    static const code_entry map[] = {
#define MARIADB_CODE_ENTRY(n, s, f) {n, s, f},
        MARIADB_CODE_MAP(MARIADB_CODE_ENTRY)
#undef MARIADB_CODE_ENTRY
    };
    /* the rest of the client library's own: what it could not make sense of */
    static const code_entry client = {0, ORM_EINTERNAL, LOST};
    static const code_entry unknown = {0, ORM_EPROGRAMMING, 0};
    for (size_t i = 0; i < ORM_COUNT(map); i++)
        if (map[i].number == number) return &map[i];
    return number >= CR_MIN_ERROR && number < 3000 ? &client : &unknown;
}

orm_status maria_class(unsigned number)
{
    return code_find(number)->status;
}

/* ---- names out of messages ------------------------------------------------------------------- */

/* Copies what stands between `open` (searched from `at`) and `close`; returns what follows. */
static const char *name_between(const char *at, const char *open, char close,
                                char field[ORM_NAME_BYTES])
{
    const char *begin = at ? strstr(at, open) : NULL;
    if (!begin) return NULL;
    begin += strlen(open);
    const char *end = strchr(begin, close);
    if (!end) return NULL;
    orm_error_set_name(field, begin, (size_t)(end - begin));
    return end + 1;
}

/* Keeps what stands behind the last dot; what stood before it goes to `before`, if given. */
static void name_split(char name[ORM_NAME_BYTES], char before[ORM_NAME_BYTES])
{
    char *dot = strrchr(name, '.');
    if (!dot) return;
    if (before) orm_error_set_name(before, name, (size_t)(dot - name));
    memmove(name, dot + 1, strlen(dot + 1) + 1);
}

/* The key's name stands at the end, behind a value that may hold any text. */
static void name_last_quoted(const char *message, char field[ORM_NAME_BYTES])
{
    const char *end = strrchr(message, '\'');
    const char *begin = end;
    while (begin && begin > message && begin[-1] != '\'') begin--;
    if (begin && begin > message) orm_error_set_name(field, begin, (size_t)(end - begin));
}

/* (`db`.`item`, CONSTRAINT `fk` FOREIGN KEY (`peer`) … */
static void names_of_reference(orm_error *err, const char *message)
{
    const char *at = name_between(message, "`.`", '`', err->table);
    at = name_between(at, "CONSTRAINT `", '`', err->constraint);
    name_between(at, "(`", '`', err->column);
}

static void error_add_names(orm_error *err, const char *message)
{
    switch (err->status) {
    case ORM_EUNIQUE:
        name_last_quoted(message, err->constraint);
        name_split(err->constraint, err->table);
        break;
    case ORM_EFOREIGNKEY: names_of_reference(err, message); break;
    case ORM_ECHECK: {
        const char *at = name_between(message, "CONSTRAINT `", '`', err->constraint);
        name_between(at, "`.`", '`', err->table);
        name_split(err->constraint, NULL);
        break;
    }
    case ORM_ENOTABLE:
        name_between(message, "'", '\'', err->table);
        name_split(err->table, NULL);
        break;
    case ORM_ENOTNULL: name_between(message, "'", '\'', err->column); break;
    case ORM_ENOCOLUMN:
        name_between(message, "'", '\'', err->column);
        name_split(err->column, err->table);
        break;
    case ORM_EDATA:
        if (!name_between(message, "for column '", '\'', err->column)) {
            const char *at = name_between(message, "`.`", '`', err->table);
            name_between(at, "`", '`', err->column);
        }
        break;
    default: break;
    }
}

/* These quote a row's values: they are said again without. */
static void message_without_values(orm_error *err, unsigned number)
{
    enum {
        SHOWN = 160
    };
    const char *name = err->status == ORM_EUNIQUE ? err->constraint : err->column;
    int n = (int)orm_utf8_cut(name, strlen(name), SHOWN);
    if (err->status == ORM_EUNIQUE)
        snprintf(err->message, sizeof(err->message), "duplicate entry for key '%.*s'", n, name);
    else if (err->status == ORM_EDATA &&
             (number == ER_TRUNCATED_WRONG_VALUE || number == ER_TRUNCATED_WRONG_VALUE_FOR_FIELD ||
              number == ER_WRONG_VALUE || number == ER_DATA_OUT_OF_RANGE ||
              number == ER_INVALID_CHARACTER_STRING || number == ER_CANNOT_CONVERT_CHARACTER))
        snprintf(err->message, sizeof(err->message),
                 n ? "the column '%.*s' cannot hold the value"
                   : "the value cannot be converted%.*s",
                 n, name);
}

/* ---- the answer ------------------------------------------------------------------------------ */

static orm_status fill(const code_entry *entry, unsigned number, const char *message,
                       const char *sqlstate, orm_error *err)
{
    if (!err) return entry->status;
    orm_fail(err, entry->status, "%s", message[0] ? message : "unknown error");
    err->native = (int32_t)number;
    err->flags = entry->flags;
    memcpy(err->backend, MARIADB_NAME, sizeof(MARIADB_NAME));
    if (strlen(sqlstate) == 5) memcpy(err->sqlstate, sqlstate, 6);
    error_add_names(err, message);
    message_without_values(err, number);
    return entry->status;
}

orm_status maria_fail(orm_conn *conn, MYSQL_STMT *handle, orm_error *err)
{
    unsigned number = handle ? mysql_stmt_errno(handle) : mysql_errno(conn->mysql);
    const code_entry *entry = code_find(number);
    if (entry->flags & LOST || entry->status == ORM_ECONNLOST) conn->broken = true;
    return fill(entry, number, handle ? mysql_stmt_error(handle) : mysql_error(conn->mysql),
                handle ? mysql_stmt_sqlstate(handle) : mysql_sqlstate(conn->mysql), err);
}

orm_status maria_fail_connect(MYSQL *mysql, orm_error *err)
{
    unsigned number = mysql_errno(mysql);
    const code_entry *entry = code_find(number);
    code_entry failed = {number, entry->status, entry->flags};
    if (failed.status == ORM_ECONNLOST) failed.status = ORM_ECONNECT;
    return fill(&failed, number, mysql_error(mysql), mysql_sqlstate(mysql), err);
}
