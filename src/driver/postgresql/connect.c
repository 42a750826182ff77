/* connect.c - a connection's life: opening, its settings, its state, closing.
 *
 * libpq's own timeout does not hold for connecting step by step, so that open polls the socket
 * itself, against one deadline for everything up to the last setting.  (Resolving a name may take
 * longer: it happens inside libpq.  The engine opens on a thread that it can leave.)
 *
 * With prepare=off the connection may be a pooler's, which hands each transaction to any session:
 * only settings that poolers carry along are made (client_encoding, datestyle, timezone,
 * standard_conforming_strings).
 *
 * Settings and why: client_encoding is UTF-8, the only text the library has; dates in ISO form,
 * the session in UTC, so that no text depends on the server's country; strings without
 * backslash escapes; the server's own time limit where the URL sets one.
 */
#include "postgresql.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CONNECT_TIMEOUT_MS = 10000,
    MAX_WORDS = 20
};

enum {
    OPTION_HOST,
    OPTION_TIMEOUT,
    OPTION_NAME,
    OPTION_PREPARE,
    OPTION_BINDING,
    OPTION_SSL,
    OPTION_ROOT,
    OPTION_CERT,
    OPTION_KEY,
    OPTION_COUNT
};
/* The words of TLS in this library's spelling and in libpq's. */
#define PG_OPTIONS(X)                      \
    X("host", OPTION_HOST)                 \
    X("statement_timeout", OPTION_TIMEOUT) \
    X("application_name", OPTION_NAME)     \
    X("prepare", OPTION_PREPARE)           \
    X("channel_binding", OPTION_BINDING)   \
    X("ssl", OPTION_SSL)                   \
    X("sslmode", OPTION_SSL)               \
    X("ssl_ca", OPTION_ROOT)               \
    X("sslrootcert", OPTION_ROOT)          \
    X("ssl_cert", OPTION_CERT)             \
    X("sslcert", OPTION_CERT)              \
    X("ssl_key", OPTION_KEY)               \
    X("sslkey", OPTION_KEY)
#define PG_OPTION_NAME(name, slot) name,
#define PG_OPTION_SLOT(name, slot) slot,
const char *const pg_options[] = {PG_OPTIONS(PG_OPTION_NAME) NULL};
static const int option_slots[] = {PG_OPTIONS(PG_OPTION_SLOT)};

typedef struct settings {
    const char *options[OPTION_COUNT]; /* of the URL, terminated; NULL = absent */
    const char *ssl;                   /* libpq's word */
    char timeout[16];                  /* statement_timeout; "" = the server's own */
    char port[8];
    bool unprepared; /* prepare=off */
} settings;

/* ---- options ------------------------------------------------------------------------------ */

static orm_status ssl_read(settings *to, orm_error *err)
{
    static const char *const words[][2] = {
        {"off", "disable"},     {"disable", "disable"},     {"prefer", "prefer"},
        {"require", "require"}, {"verify-ca", "verify-ca"}, {"verify-full", "verify-full"},
        {"on", "verify-full"},  {"true", "verify-full"},    {"false", "disable"},
    };
    const char *value = to->options[OPTION_SSL];
    bool named = to->options[OPTION_ROOT] || to->options[OPTION_CERT] || to->options[OPTION_KEY];
    to->ssl = named ? "verify-full" : "prefer"; /* who names certificates wants them looked at */
    for (size_t i = 0; value && i < ORM_COUNT(words); i++) {
        if (strcmp(words[i][0], value) != 0) continue;
        to->ssl = words[i][1];
        return ORM_OK;
    }
    if (!value) return ORM_OK;
    return orm_fail(err, ORM_ECONFIG,
                    "option ssl: expected off, prefer, require, verify-ca or verify-full");
}

/* Whom to trust when the URL does not say: whom the system trusts.  libpq before 16 would look for a
 * file in the user's home and for nothing else. */
static void root_find(settings *to)
{
    static const char *const bundles[] = {"/etc/ssl/certs/ca-certificates.crt",
                                          "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};
    if (to->options[OPTION_ROOT] || strncmp(to->ssl, "verify", 6) != 0) return;
    if (PQlibVersion() >= 160000) to->options[OPTION_ROOT] = "system";
    for (size_t i = 0; i < ORM_COUNT(bundles) && !to->options[OPTION_ROOT]; i++)
        if (access(bundles[i], R_OK) == 0) to->options[OPTION_ROOT] = bundles[i];
}

static orm_status binding_read(const settings *to, orm_error *err)
{
    const char *value = to->options[OPTION_BINDING];
    if (!value || strcmp(value, "require") == 0 || strcmp(value, "prefer") == 0 ||
        strcmp(value, "disable") == 0)
        return ORM_OK;
    return orm_fail(err, ORM_ECONFIG,
                    "option channel_binding: expected require, prefer or disable");
}

/* In the form that the server gives it back in: the largest unit that is whole. */
static orm_status timeout_read(settings *to, orm_error *err)
{
    static const struct {
        unsigned long ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "min"}, {1000, "s"}, {1, "ms"}};
    const char *value = to->options[OPTION_TIMEOUT];
    size_t len = value ? strlen(value) : 0, i = 0;
    if (!value) return ORM_OK;
    if (len == 0 || len > 9 || strspn(value, "0123456789") != len || strtoul(value, NULL, 10) == 0)
        return orm_fail(err, ORM_ECONFIG,
                        "option statement_timeout: expected milliseconds above 0");
    unsigned long ms = strtoul(value, NULL, 10);
    while (ms % units[i].ms) i++;
    snprintf(to->timeout, sizeof to->timeout, "%lu%s", ms / units[i].ms, units[i].unit);
    return ORM_OK;
}

/* Behind a pooler each transaction may run in another session of the server: what a session would
 * have to keep cannot be asked for. */
static orm_status prepare_read(settings *to, bool read_only, orm_error *err)
{
    static const char *const words[] = {"on", "off", "true", "false", "1", "0"};
    const char *value = to->options[OPTION_PREPARE];
    size_t i = 0;
    if (!value) return ORM_OK;
    while (i < ORM_COUNT(words) && strcmp(words[i], value) != 0) i++;
    if (i == ORM_COUNT(words))
        return orm_fail(err, ORM_ECONFIG, "option prepare: expected on or off");
    to->unprepared = i % 2;
    if (to->unprepared && (read_only || to->timeout[0]))
        return orm_fail(err, ORM_ECONFIG,
                        "prepare=off: %s needs a session of its own; set it for the role or the "
                        "database on the server",
                        read_only ? "mode=ro" : "statement_timeout");
    return ORM_OK;
}

static orm_status options_read(settings *to, const orm_conn_config *config, orm_error *err)
{
    for (size_t i = 0; i < config->n_options; i++) {
        orm_str name = config->option_names[i];
        int found = -1;
        for (int k = 0; pg_options[k]; k++) {
            if (strlen(pg_options[k]) == name.len && memcmp(pg_options[k], name.ptr, name.len) == 0)
                found = option_slots[k];
        }
        if (found < 0)
            return orm_fail(err, ORM_ECONFIG, "unknown option '%.*s'",
                            (int)(name.len < 40 ? name.len : 40), name.ptr);
        to->options[found] = config->option_values[i].ptr;
    }
    if (config->port) snprintf(to->port, sizeof to->port, "%u", config->port);
    ORM_TRY(ssl_read(to, err));
    root_find(to);
    ORM_TRY(binding_read(to, err));
    ORM_TRY(timeout_read(to, err));
    return prepare_read(to, config->read_only, err);
}

/* ---- waiting ------------------------------------------------------------------------------ */

/* ORM_OK: something has happened on the socket. */
static orm_status wait_for(PGconn *pg, short events, uint64_t deadline, orm_error *err)
{
    for (;;) {
        uint64_t now = orm_now_ns();
        struct pollfd wait = {.fd = PQsocket(pg), .events = events};
        int left_ms = now < deadline ? (int)((deadline - now) / 1000000u) + 1 : 0;
        int n = poll(&wait, 1, left_ms);
        if (n > 0) return ORM_OK;
        if (n < 0 && errno == EINTR) continue;
        if (n == 0 && orm_now_ns() < deadline) continue;
        orm_fail(err, ORM_ECONNECT, "cannot connect: the server did not answer in time");
        if (err) {
            memcpy(err->backend, "postgresql", sizeof "postgresql");
            err->flags = ORM_ERROR_DISCONNECT;
        }
        return ORM_ECONNECT;
    }
}

static orm_status connect_poll(PGconn *pg, const char *password, uint64_t deadline, orm_error *err)
{
    PostgresPollingStatusType polling = PGRES_POLLING_WRITING;
    bool in_tls = false;
    while (polling != PGRES_POLLING_OK) {
        if (polling == PGRES_POLLING_FAILED) return pg_fail_connect(pg, password, in_tls, err);
        ORM_TRY(wait_for(pg, polling == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline, err));
        in_tls = PQstatus(pg) == CONNECTION_SSL_STARTUP;
        polling = PQconnectPoll(pg);
    }
    return ORM_OK;
}

/* ---- the session -------------------------------------------------------------------------- */

/* One query by one round trip, still outside of pipeline mode; its first row is *out. */
static orm_status ask(orm_conn *conn, const char *sql, uint64_t deadline, PGresult **out,
                      orm_error *err)
{
    *out = NULL;
    if (!PQsendQuery(conn->pg, sql)) return pg_fail(conn, NULL, NULL, err);
    for (;;) {
        int unsent = PQflush(conn->pg);
        if (unsent < 0 || !PQconsumeInput(conn->pg)) return pg_fail(conn, NULL, NULL, err);
        while (!PQisBusy(conn->pg)) {
            PGresult *result = PQgetResult(conn->pg);
            if (!result) return *out ? ORM_OK : pg_fail(conn, NULL, NULL, err);
            PQclear(*out);
            *out = result;
        }
        ORM_TRY(wait_for(conn->pg, unsent ? POLLIN | POLLOUT : POLLIN, deadline, err));
    }
}

typedef struct setting {
    const char *name, *value; /* NULL: left as the server has it */
} setting;

/* One statement makes them all; it answers what holds then. */
static void settings_write(orm_buf *sql, const setting *all, size_t n)
{
    const char *comma = "SELECT ";
    for (size_t i = 0; i < n; i++) {
        if (!all[i].value) continue;
        orm_buf_addf(sql, "%sset_config('%s', '%s', false)", comma, all[i].name, all[i].value);
        comma = ", ";
    }
}

static orm_status settings_compare(const PGresult *answer, const setting *all, size_t n,
                                   orm_error *err)
{
    int column = 0;
    for (size_t i = 0; i < n; i++) {
        if (!all[i].value) continue;
        const char *now = PQgetvalue(answer, 0, column++);
        if (strcmp(now, all[i].value) != 0)
            return orm_fail(err, ORM_ECONFIG, "%s = %s did not take: the server answers '%.40s'",
                            all[i].name, all[i].value, now);
    }
    return ORM_OK;
}

static orm_status session_setup(orm_conn *conn, const settings *to, bool read_only,
                                uint64_t deadline, orm_error *err)
{
    const setting all[] = {
        {"datestyle", "ISO, YMD"},
        {"intervalstyle", to->unprepared ? NULL : "postgres"},
        {"timezone", "UTC"},
        {"standard_conforming_strings", "on"},
        {"statement_timeout", to->timeout[0] ? to->timeout : NULL},
        {"default_transaction_read_only", read_only ? "on" : NULL},
    };
    PGresult *answer = NULL;
    settings_write(&conn->setup, all, ORM_COUNT(all));
    orm_status status = orm_buf_status(&conn->setup, err);
    if (status >= 0) status = ask(conn, conn->setup.ptr, deadline, &answer, err);
    if (status >= 0 && PQresultStatus(answer) != PGRES_TUPLES_OK)
        status = pg_fail(conn, answer, NULL, err);
    if (status >= 0) status = settings_compare(answer, all, ORM_COUNT(all), err);
    PQclear(answer);
    return status;
}

/* Everything that DISCARD ALL does, but for what the driver has prepared. */
static const char discard[] =
    "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; DISCARD TEMP; "
    "DISCARD SEQUENCES; SELECT pg_advisory_unlock_all(); ";

orm_status pg_renew(orm_conn *conn, orm_error *err)
{
    uint64_t deadline = orm_now_ns() + ORM_CANCEL_MS * 1000000ull;
    PGresult *answer = NULL;
    orm_buf sql;
    if (!PQexitPipelineMode(conn->pg)) return pg_fail(conn, NULL, NULL, err);
    orm_buf_init(&sql, 0);
    orm_buf_addf(&sql, "%s%s", discard, conn->setup.ptr);
    orm_status status = orm_buf_status(&sql, err);
    if (status >= 0) status = ask(conn, sql.ptr, deadline, &answer, err);
    orm_buf_dispose(&sql);
    if (status >= 0 && PQresultStatus(answer) != PGRES_TUPLES_OK)
        status = pg_fail(conn, answer, NULL, err);
    PQclear(answer);
    if (status >= 0 && !PQenterPipelineMode(conn->pg)) status = pg_fail(conn, NULL, NULL, err);
    return status;
}

static orm_status session_check(orm_conn *conn, orm_error *err)
{
    const char *encoding = PQparameterStatus(conn->pg, "client_encoding");
    if (!encoding || strcmp(encoding, "UTF8") != 0)
        return orm_fail(err, ORM_ECONFIG, "client_encoding = UTF8 did not take");
    if (PQserverVersion(conn->pg) < 120000)
        return orm_fail(err, ORM_ENOTSUPPORTED, "PostgreSQL %d is too old; expected 12 or newer",
                        PQserverVersion(conn->pg) / 10000);
    return ORM_OK;
}

/* ---- opening ------------------------------------------------------------------------------ */

/* Prints nothing: libpq would write to stderr. */
static void notice_ignore(void *arg, const PGresult *result)
{
    (void)arg, (void)result;
}

/* Every word is given, so that no variable of the environment decides it.  What the URL does not
 * say (a host, a user) is left to libpq. */
static PGconn *connect_start(const orm_conn_config *config, const settings *to)
{
    const char *host = to->options[OPTION_HOST] ? to->options[OPTION_HOST] : config->host;
    const char *name = to->options[OPTION_NAME], *binding = to->options[OPTION_BINDING];
    const struct {
        const char *word, *value;
    } all[] = {
        {"host", host},
        {"port", to->port[0] ? to->port : "5432"},
        {"dbname", config->database},
        {"user", config->user},
        {"password", config->password},
        {"sslmode", to->ssl},
        {"sslrootcert", to->options[OPTION_ROOT]},
        {"sslcert", to->options[OPTION_CERT]},
        {"sslkey", to->options[OPTION_KEY]},
        {"channel_binding", binding ? binding : "prefer"},
        {"application_name", name ? name : "liborm"},
        {"client_encoding", "UTF8"},
        {"passfile", "/dev/null"},
        {"gssencmode", "disable"},
        {"target_session_attrs", "any"},
        {"keepalives", "1"},
        {"connect_timeout", "0"},
    };
    const char *words[MAX_WORDS], *values[MAX_WORDS];
    size_t n = 0;
    for (size_t i = 0; i < ORM_COUNT(all); i++) {
        if (!all[i].value || !all[i].value[0]) continue;
        words[n] = all[i].word;
        values[n++] = all[i].value;
    }
    words[n] = values[n] = NULL;
    return PQconnectStartParams(words, values, 0); /* 0: a database named like a URL is a name */
}

static orm_status conn_setup(orm_conn *conn, const orm_conn_config *config, const settings *to,
                             orm_error *err)
{
    uint32_t ms = config->connect_timeout_ms ? config->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    uint64_t deadline = orm_now_ns() + (uint64_t)ms * 1000000u;
    conn->pg = connect_start(config, to);
    if (!conn->pg) return orm_fail_nomem(err);
    PQsetErrorVerbosity(conn->pg, PQERRORS_VERBOSE); /* the code is in the message then */
    PQsetNoticeReceiver(conn->pg, notice_ignore, NULL);
    if (PQstatus(conn->pg) == CONNECTION_BAD)
        return pg_fail_connect(conn->pg, config->password, false, err);
    ORM_TRY(connect_poll(conn->pg, config->password, deadline, err));
    PQsetErrorVerbosity(conn->pg, PQERRORS_DEFAULT);
    if (PQsetnonblocking(conn->pg, 1) != 0) return pg_fail(conn, NULL, NULL, err);
    ORM_TRY(session_check(conn, err));
    ORM_TRY(session_setup(conn, to, config->read_only, deadline, err));
    if (!PQenterPipelineMode(conn->pg)) return pg_fail(conn, NULL, NULL, err);
    conn->base.fd = PQsocket(conn->pg);
    return ORM_OK;
}

/* libpq keeps a result in malloc's memory, megabytes for some thousand rows, and glibc gives the end
 * of its heap back to the system when more than 128 KiB of it are free: then every result of that
 * kind begins with a page fault for each 4 KiB.  By itself glibc keeps twice the largest block that
 * it has mapped and got back; it is shown one.  Where the program has set the threshold, or malloc
 * is another, nothing changes. */
static void heap_keep(void)
{
    enum {
        SHOWN = 4 << 20
    };
    orm_dealloc(orm_alloc(SHOWN));
}

orm_status pg_open(const orm_conn_config *config, orm_conn **out, orm_error *err)
{
    settings to = {.port = ""};
    if (!PQisthreadsafe())
        return orm_fail(err, ORM_ECONFIG, "this libpq was built without support for threads");
    if (!config->database || !config->database[0])
        return orm_fail(err, ORM_ECONFIG, "the URL names no database");
    ORM_TRY(options_read(&to, config, err));
    orm_conn *conn = orm_alloc0(sizeof *conn);
    if (!conn) return orm_fail_nomem(err);
    conn->base.driver = &orm_postgresql_driver;
    conn->base.fd = -1;
    conn->unprepared = to.unprepared;
    conn->nonce = (uint32_t)orm_hash_mix(orm_now_ns(),
                                         (uint64_t)(uintptr_t)conn ^ (uint64_t)getpid());
    orm_buf_init(&conn->dropped, 0);
    orm_buf_init(&conn->leads, 0);
    orm_buf_init(&conn->setup, 0);
    orm_status status = conn_setup(conn, config, &to, err);
    if (status < 0) {
        pg_close(conn);
        return status;
    }
    heap_keep();
    *out = conn;
    return ORM_OK;
}

void pg_close(orm_conn *conn)
{
    if (!conn) return;
    while (conn->statements) pg_finalize(conn, conn->statements);
    PQfinish(conn->pg);
    orm_buf_dispose(&conn->dropped);
    orm_buf_dispose(&conn->leads);
    orm_buf_dispose(&conn->setup);
    orm_dealloc(conn);
}

/* ---- state -------------------------------------------------------------------------------- */

/* While an answer is awaited, what the server said last; what leads has begun its transaction. */
int pg_state(const orm_conn *conn)
{
    if (conn->broken || PQstatus(conn->pg) != CONNECTION_OK) return ORM_CONN_BROKEN;
    if (conn->ignored && !conn->running) return ORM_CONN_BUSY;
    switch (PQtransactionStatus(conn->pg)) {
    case PQTRANS_IDLE: return conn->leads.len ? ORM_CONN_IN_TX : ORM_CONN_IDLE;
    case PQTRANS_INTRANS: return ORM_CONN_IN_TX;
    case PQTRANS_INERROR: return ORM_CONN_FAILED_TX;
    case PQTRANS_ACTIVE:
        return conn->running && !conn->running->was_in_tx ? ORM_CONN_IDLE : ORM_CONN_IN_TX;
    default: return ORM_CONN_BROKEN;
    }
}

size_t pg_max_params(const orm_conn *conn)
{
    (void)conn;
    return PG_MAX_PARAMS;
}
