/* open.c - a connection's life: what the URL says, connecting, settings, cancel, closing.
 *
 * Connector/C has no timeouts of its own unless told, reads the environment, prefers the socket
 * for "localhost", answers LOCAL INFILE and would send a password in the clear to a server that
 * asks for it: every option that matters is set here.  Connecting runs through the same
 * `…_start`, `…_cont` as all else, so that a listener that never speaks costs the time that was
 * given and no more.  Only looking up a host's name is out of our hands.
 */
#include "mariadb.h"
#include <fcntl.h>
#include <mysqld_error.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

enum {
    DEFAULT_PORT = 3306,
    DEFAULT_TIMEOUT_MS = 10000,
    STACK_BYTES = 256 * 1024 /* of a suspended call; TLS and name lookups need room */
};

/* No more than these are good enough to show a password's proof to whoever answers. */
#define AUTH_PLUGINS \
    "mysql_native_password,client_ed25519,caching_sha2_password,sha256_password,parsec"

/* Strict: nothing is rounded or cut without an error.  No ANSI_QUOTES, no NO_BACKSLASH_ESCAPES:
 * quotes and escapes mean what they mean by default.  A key of 0 is 0, not the next number. */
#define SQL_MODE                                                          \
    "STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE," \
    "ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO"

const char *const maria_options[] = {"unix_socket",
                                     "ssl",
                                     "ssl_ca",
                                     "ssl_cert",
                                     "ssl_key",
                                     "charset",
                                     "lock_wait_timeout",
                                     "innodb_lock_wait_timeout",
                                     NULL};

/* ---- what the URL says ------------------------------------------------------------------------- */

static void target_unref(maria_target *target)
{
    if (!target || __atomic_sub_fetch(&target->refs, 1, __ATOMIC_ACQ_REL)) return;
    if (target->password) explicit_bzero(target->password, strlen(target->password));
    char *const texts[] = {target->host,     target->socket, target->user,     target->password,
                           target->database, target->ssl_ca, target->ssl_cert, target->ssl_key};
    for (size_t i = 0; i < ORM_COUNT(texts); i++) orm_dealloc(texts[i]);
    orm_dealloc(target);
}

static orm_status text_set(char **to, const char *text, size_t len, orm_error *err)
{
    orm_dealloc(*to);
    *to = orm_strdup_n(text, len);
    return *to ? ORM_OK : orm_fail_nomem(err);
}

static orm_status option_fail(orm_str name, const char *expected, orm_error *err)
{
    return orm_fail(err, ORM_ECONFIG, "URL option %.*s: expected %s", (int)name.len, name.ptr,
                    expected);
}

static bool is_text(orm_str text, const char *wanted)
{
    return strlen(wanted) == text.len && strncasecmp(wanted, text.ptr, text.len) == 0;
}

static orm_status ssl_set(maria_target *target, orm_str name, orm_str value, orm_error *err)
{
    static const struct {
        const char *word;
        uint8_t ssl;
    } words[] = {{"disable", SSL_OFF},  {"false", SSL_OFF},        {"off", SSL_OFF},
                 {"on", SSL_VERIFIED},  {"require", SSL_REQUIRED}, {"verify-full", SSL_VERIFIED},
                 {"true", SSL_VERIFIED}};
    for (size_t i = 0; i < ORM_COUNT(words); i++) {
        if (!is_text(value, words[i].word)) continue;
        target->ssl = words[i].ssl;
        return ORM_OK;
    }
    return option_fail(name, "disable, require or verify-full", err);
}

static orm_status seconds_set(uint32_t *to, orm_str name, orm_str value, orm_error *err)
{
    uint32_t seconds = 0;
    bool good = value.len > 0 && value.len < 9;
    for (size_t i = 0; good && i < value.len; i++) {
        good = value.ptr[i] >= '0' && value.ptr[i] <= '9';
        seconds = seconds * 10 + (uint32_t)(value.ptr[i] - '0');
    }
    if (!good) return option_fail(name, "a whole number of seconds", err);
    *to = seconds;
    return ORM_OK;
}

static orm_status option_set(maria_target *target, orm_str name, orm_str value, orm_error *err)
{
    char **text = is_text(name, "unix_socket") ? &target->socket
                  : is_text(name, "ssl_ca")    ? &target->ssl_ca
                  : is_text(name, "ssl_cert")  ? &target->ssl_cert
                  : is_text(name, "ssl_key")   ? &target->ssl_key
                                               : NULL;
    if (text) return text_set(text, value.ptr, value.len, err);
    if (is_text(name, "ssl")) return ssl_set(target, name, value, err);
    if (is_text(name, "charset"))
        return is_text(value, "utf8mb4") ? ORM_OK : option_fail(name, "utf8mb4", err);
    if (is_text(name, "lock_wait_timeout"))
        return seconds_set(&target->lock_wait_s, name, value, err);
    if (is_text(name, "innodb_lock_wait_timeout"))
        return seconds_set(&target->innodb_lock_wait_s, name, value, err);
    return orm_fail(err, ORM_ECONFIG, "unknown option '%.*s'", (int)(name.len < 40 ? name.len : 40),
                    name.ptr);
}

static orm_status target_fill(maria_target *target, const orm_conn_config *config, orm_error *err)
{
    const char *host = config->host ? config->host : "";
    const char *user = config->user ? config->user : "";
    const char *password = config->password ? config->password : "";
    target->port = config->port ? config->port : DEFAULT_PORT;
    target->timeout_ms = config->connect_timeout_ms ? config->connect_timeout_ms
                                                    : DEFAULT_TIMEOUT_MS;
    target->read_only = config->read_only;
    target->lock_wait_s = target->innodb_lock_wait_s = (config->busy_timeout_ms + 999) / 1000;
    if (host[0] == '/')
        ORM_TRY(text_set(&target->socket, host, strlen(host), err));
    else if (host[0])
        ORM_TRY(text_set(&target->host, host, strlen(host), err));
    else
        ORM_TRY(text_set(&target->host, "127.0.0.1", strlen("127.0.0.1"), err));
    ORM_TRY(text_set(&target->user, user, strlen(user), err));
    ORM_TRY(text_set(&target->password, password, strlen(password), err));
    ORM_TRY(text_set(&target->database, config->database, strlen(config->database), err));
    for (size_t i = 0; i < config->n_options; i++)
        ORM_TRY(option_set(target, config->option_names[i], config->option_values[i], err));
    if (target->ssl == SSL_OFF && (target->ssl_ca || target->ssl_cert || target->ssl_key))
        target->ssl = SSL_VERIFIED; /* who names certificates wants them looked at */
    return ORM_OK;
}

/* ---- connecting -------------------------------------------------------------------------------- */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

/* mysql_init would do this by itself, but not safely in several threads at once. */
static void library_init(void)
{
    mysql_server_init(0, NULL, NULL);
}

static bool options_set(MYSQL *mysql, const maria_target *target)
{
    const size_t stack = STACK_BYTES, max_packet = (size_t)1 << 30;
    const unsigned off = 0;
    const my_bool no = 0, yes = 1, verify = target->ssl == SSL_VERIFIED;
    const unsigned protocol = target->socket ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
    int failed = mysql_options(mysql, MYSQL_OPT_NONBLOCK, &stack) |
                 mysql_options(mysql, MYSQL_OPT_PROTOCOL, &protocol) |
                 mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4") |
                 mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &off) |
                 mysql_options(mysql, MYSQL_OPT_RECONNECT, &no) |
                 mysql_options(mysql, MYSQL_REPORT_DATA_TRUNCATION, &yes) |
                 mysql_options(mysql, MYSQL_OPT_MAX_ALLOWED_PACKET, &max_packet) |
                 mysql_options(mysql, MARIADB_OPT_RESTRICTED_AUTH, AUTH_PLUGINS) |
                 mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
    if (target->ssl == SSL_OFF) return !failed;
    failed |= mysql_options(mysql, MYSQL_OPT_SSL_ENFORCE, &yes);
    if (target->ssl_ca) failed |= mysql_options(mysql, MYSQL_OPT_SSL_CA, target->ssl_ca);
    if (target->ssl_cert) failed |= mysql_options(mysql, MYSQL_OPT_SSL_CERT, target->ssl_cert);
    if (target->ssl_key) failed |= mysql_options(mysql, MYSQL_OPT_SSL_KEY, target->ssl_key);
    return !failed;
}

static orm_status fail_late(const maria_target *target, orm_error *err)
{
    orm_fail(err, ORM_ECONNECT, "the server did not answer within %u ms", target->timeout_ms);
    if (err) {
        err->flags = ORM_ERROR_DISCONNECT | ORM_ERROR_RETRYABLE;
        memcpy(err->backend, MARIADB_NAME, sizeof(MARIADB_NAME));
    }
    return ORM_ECONNECT;
}

/* Ends the handle at once, also with a call suspended: the socket is shut down first, so that
 * no farewell can block. */
static void mysql_end(MYSQL *mysql, bool is_dead)
{
    if (!mysql) return;
    my_socket fd = mysql_get_socket(mysql);
    if (is_dead && fd != (my_socket)-1) shutdown((int)fd, SHUT_RDWR);
    mysql_close(mysql);
}

static orm_status handshake(MYSQL *mysql, const maria_target *target, uint64_t deadline,
                            orm_error *err)
{
    MYSQL *connected = NULL;
    int waits = mysql_real_connect_start(
        &connected, mysql, target->socket ? NULL : target->host, target->user, target->password,
        target->database, target->socket ? 0 : target->port, target->socket, CLIENT_FOUND_ROWS);
    bool is_late = false, is_greeted = target->ssl == SSL_OFF;
    while (waits) {
        int came = wait_blocking(mysql, waits, deadline);
        if (came == MYSQL_WAIT_TIMEOUT) is_late = true;
        /* As soon as it is connected: what has come by then the library reads without a pause. */
        if (!is_greeted && !is_late) {
            orm_status status = maria_greeting_check((int)mysql_get_socket(mysql), deadline, err);
            if (status < 0) return status;
            if (status == ORM_WANT_READ) return fail_late(target, err);
            is_greeted = status == ORM_OK;
        }
        waits = mysql_real_connect_cont(&connected, mysql, came);
    }
    if (!connected) return is_late ? fail_late(target, err) : maria_fail_connect(mysql, err);
    if (target->ssl != SSL_OFF && !mysql_get_ssl_cipher(mysql))
        return orm_fail(err, ORM_ETLS, "the server made no encrypted connection");
    fcntl((int)mysql_get_socket(mysql), F_SETFD, FD_CLOEXEC);
    return ORM_OK;
}

static orm_status connect_to(const maria_target *target, uint64_t deadline, MYSQL **out,
                             orm_error *err)
{
    pthread_once(&library_once, library_init);
    MYSQL *mysql = mysql_init(NULL);
    if (!mysql) return orm_fail_nomem(err);
    orm_status status = options_set(mysql, target)
                            ? handshake(mysql, target, deadline, err)
                            : orm_fail(err, ORM_ECONFIG, "the client library refuses an option: %s",
                                       mysql_error(mysql));
    if (status < 0) {
        mysql_end(mysql, true);
        return status;
    }
    *out = mysql;
    return ORM_OK;
}

/* One statement, waited for. */
static orm_status run(MYSQL *mysql, const maria_target *target, const char *sql, uint64_t deadline,
                      orm_error *err)
{
    int failed = 0;
    int waits = mysql_real_query_start(&failed, mysql, sql, strlen(sql));
    while (waits) {
        int came = wait_blocking(mysql, waits, deadline);
        if (came == MYSQL_WAIT_TIMEOUT) return fail_late(target, err);
        waits = mysql_real_query_cont(&failed, mysql, came);
    }
    return failed ? maria_fail_connect(mysql, err) : ORM_OK;
}

static orm_status run_rows(MYSQL *mysql, const maria_target *target, const char *sql,
                           uint64_t deadline, MYSQL_RES **out, orm_error *err)
{
    MYSQL_RES *rows = NULL;
    ORM_TRY(run(mysql, target, sql, deadline, err));
    int waits = mysql_store_result_start(&rows, mysql);
    while (waits) {
        int came = wait_blocking(mysql, waits, deadline);
        if (came == MYSQL_WAIT_TIMEOUT) return fail_late(target, err);
        waits = mysql_store_result_cont(&rows, mysql, came);
    }
    if (!rows) return maria_fail_connect(mysql, err);
    *out = rows;
    return ORM_OK;
}

/* ---- settings ---------------------------------------------------------------------------------- */

typedef struct setting {
    const char *name, *value; /* as SHOW VARIABLES says it */
    bool found;
} setting;

/* Both are lists: the server answers in an order of its own. */
static bool same_words(const char *a, const char *b)
{
    if (strlen(a) != strlen(b)) return false;
    for (const char *at = a; *at;) {
        size_t n = strcspn(at, ",");
        bool found = false;
        for (const char *in = b; *in && !found;) {
            size_t m = strcspn(in, ",");
            found = m == n && strncmp(in, at, n) == 0;
            in += m + (in[m] == ',');
        }
        if (!found) return false;
        at += n + (at[n] == ',');
    }
    return true;
}

static orm_status setting_compare(orm_conn *conn, setting *settings, size_t n, const char *name,
                                  const char *value, orm_error *err)
{
    if (strcmp(name, "max_allowed_packet") == 0) conn->max_packet = strtoull(value, NULL, 10);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(settings[i].name, name) != 0) continue;
        settings[i].found = true;
        if (same_words(settings[i].value, value)) return ORM_OK;
        return orm_fail(err, ORM_ECONFIG, "%s=%s did not take: the server answers '%s'", name,
                        settings[i].value, value);
    }
    return ORM_OK;
}

static orm_status settings_verify(orm_conn *conn, setting *settings, size_t n, uint64_t deadline,
                                  orm_error *err)
{
    orm_buf sql;
    MYSQL_RES *rows = NULL;
    orm_buf_init(&sql, 0);
    orm_buf_adds(&sql, "SHOW SESSION VARIABLES WHERE Variable_name IN ('max_allowed_packet'");
    for (size_t i = 0; i < n; i++) orm_buf_addf(&sql, ", '%s'", settings[i].name);
    orm_buf_addc(&sql, ')');
    orm_status status = orm_buf_status(&sql, err);
    if (status >= 0) status = run_rows(conn->mysql, conn->target, sql.ptr, deadline, &rows, err);
    orm_buf_dispose(&sql);
    MYSQL_ROW row;
    while (status >= 0 && (row = mysql_fetch_row(rows)) != NULL)
        if (row[0] && row[1]) status = setting_compare(conn, settings, n, row[0], row[1], err);
    if (rows) mysql_free_result(rows);
    for (size_t i = 0; status >= 0 && i < n; i++)
        if (!settings[i].found)
            status = orm_fail(err, ORM_ECONFIG, "the server knows no setting '%s'",
                              settings[i].name);
    return status;
}

static orm_status settings_make(orm_conn *conn, uint64_t deadline, orm_error *err)
{
    char lock_wait[16], innodb_lock_wait[16];
    const maria_target *target = conn->target;
    snprintf(lock_wait, sizeof(lock_wait), "%u", target->lock_wait_s);
    snprintf(innodb_lock_wait, sizeof(innodb_lock_wait), "%u", target->innodb_lock_wait_s);
    setting settings[] = {
        {"sql_mode", SQL_MODE, false},
        {"time_zone", "+00:00", false},
        {"character_set_client", "utf8mb4", false},
        {"character_set_connection", "utf8mb4", false},
        {"character_set_results", "utf8mb4", false},
        {"lc_messages", "en_US", false}, /* names are read out of messages */
        {"autocommit", "ON", false},
        {"foreign_key_checks", "ON", false},
        {"unique_checks", "ON", false},
        {"sql_auto_is_null", "OFF", false},
        {"sql_safe_updates", "OFF", false},
        {"big_tables", "OFF", false},
        {"lock_wait_timeout", lock_wait, false},
        {"innodb_lock_wait_timeout", innodb_lock_wait, false},
    };
    orm_buf sql;
    orm_buf_init(&sql, 0);
    for (size_t i = 0; i < ORM_COUNT(settings); i++) {
        bool number = settings[i].value[0] >= '0' && settings[i].value[0] <= '9';
        orm_buf_addf(&sql, "%s%s = %s%s%s", i ? ", " : "SET SESSION ", settings[i].name,
                     number ? "" : "'", settings[i].value, number ? "" : "'");
    }
    orm_status status = orm_buf_status(&sql, err);
    if (status >= 0) status = run(conn->mysql, target, sql.ptr, deadline, err);
    orm_buf_dispose(&sql);
    if (status >= 0 && target->read_only)
        status = run(conn->mysql, target, "SET SESSION TRANSACTION READ ONLY", deadline, err);
    ORM_TRY(status);
    return settings_verify(conn, settings, ORM_COUNT(settings), deadline, err);
}

/* ---- opening and closing ----------------------------------------------------------------------- */

static orm_status conn_setup(orm_conn *conn, const orm_conn_config *config, orm_error *err)
{
    uint64_t began = orm_now_ns();
    conn->base.driver = &orm_mariadb_driver;
    conn->base.fd = -1;
    conn->target = orm_alloc0(sizeof(*conn->target));
    if (!conn->target) return orm_fail_nomem(err);
    conn->target->refs = 1;
    ORM_TRY(target_fill(conn->target, config, err));
    uint64_t deadline = began + (uint64_t)conn->target->timeout_ms * 1000000u;
    ORM_TRY(connect_to(conn->target, deadline, &conn->mysql, err));
    conn->thread = mysql_thread_id(conn->mysql);
    ORM_TRY(settings_make(conn, deadline, err));
    conn->base.fd = (int)mysql_get_socket(conn->mysql);
    return ORM_OK;
}

orm_status maria_open(const orm_conn_config *config, orm_conn **out, orm_error *err)
{
    if (!config->database || !config->database[0])
        return orm_fail(err, ORM_ECONFIG, "the database has no name");
    orm_conn *conn = orm_alloc0(sizeof(*conn));
    if (!conn) return orm_fail_nomem(err);
    orm_status status = conn_setup(conn, config, err);
    if (status < 0) {
        conn->broken = true;
        maria_close(conn);
        return status;
    }
    *out = conn;
    return ORM_OK;
}

/* The handle goes first: a statement's handle without a connection is freed without a word to
 * the server. */
void maria_close(orm_conn *conn)
{
    if (!conn) return;
    bool is_dead = conn->broken || conn->call != CALL_NONE;
    mysql_end(conn->mysql, is_dead);
    conn->call = CALL_NONE;
    conn->owner = NULL;
    if (conn->left && conn->left_closes) mysql_stmt_close(conn->left);
    conn->left = NULL;
    while (conn->statements) maria_finalize(conn, conn->statements);
    target_unref(conn->target);
    orm_dealloc(conn);
}

size_t maria_max_params(const orm_conn *conn)
{
    (void)conn;
    return MARIADB_MAX_PARAMS;
}

/* ---- renewing ---------------------------------------------------------------------------------- */

/* The server forgets all of the session, and with it what was prepared. */
orm_status maria_renew(orm_conn *conn, orm_error *err)
{
    int failed = 0;
    uint64_t deadline = orm_now_ns() + ORM_CANCEL_MS * 1000000ull;
    int waits = mysql_reset_connection_start(&failed, conn->mysql);
    while (waits) {
        int came = wait_blocking(conn->mysql, waits, deadline);
        if (came == MYSQL_WAIT_TIMEOUT) conn->broken = true;
        waits = mysql_reset_connection_cont(&failed, conn->mysql, came);
    }
    if (conn->broken) return fail_late(conn->target, err);
    if (failed) return maria_fail(conn, NULL, err);
    for (orm_stmt *stmt = conn->statements; stmt; stmt = stmt->next) stmt_forget(stmt);
    return settings_make(conn, deadline, err);
}

/* ---- cancel ------------------------------------------------------------------------------------ */

typedef struct maria_kill {
    orm_kill kill;
    maria_target *target; /* a reference */
    unsigned long thread;
} maria_kill;

static orm_status kill_send(orm_kill *kill, orm_error *err)
{
    maria_kill *self = (maria_kill *)(void *)kill;
    char sql[48];
    MYSQL *mysql = NULL;
    uint64_t deadline = orm_now_ns() + ORM_CANCEL_MS * 1000000ull;
    ORM_TRY(connect_to(self->target, deadline, &mysql, err));
    snprintf(sql, sizeof(sql), "KILL QUERY %lu", self->thread);
    orm_status status = run(mysql, self->target, sql, deadline, err);
    bool is_gone = status < 0 && mysql_errno(mysql) == ER_NO_SUCH_THREAD;
    /* also when the answer was lost: it may have been sent */
    __atomic_add_fetch(&self->target->kills, 1, __ATOMIC_ACQ_REL);
    mysql_end(mysql, status < 0);
    return is_gone ? ORM_OK : status;
}

static void kill_free(orm_kill *kill)
{
    maria_kill *self = (maria_kill *)(void *)kill;
    target_unref(self->target);
    orm_dealloc(self);
}

orm_status maria_cancel(orm_conn *conn, orm_kill **out, orm_error *err)
{
    maria_kill *self = orm_alloc0(sizeof(*self));
    if (!self) return orm_fail_nomem(err);
    *self = (maria_kill){.kill = {.send = kill_send, .free = kill_free},
                         .target = conn->target,
                         .thread = conn->thread};
    __atomic_add_fetch(&self->target->refs, 1, __ATOMIC_RELAXED);
    *out = &self->kill;
    return ORM_OK;
}
