/* open.c - a connection's life: opening with every setting read back, checkpoints, closing.
 *
 * Settings and why: foreign keys are enforced; a misspelt "name" is an error and no string
 * (DQS off); schemas of foreign files run no functions of ours that could do harm, nor change
 * SQLite's own tables (trusted_schema off, defensive); no extension and no second file can be
 * brought in (load_extension off, ATTACH limit 0, which also makes VACUUM fail); a path is
 * never a URI.
 */
#include "sqlite.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

/* The write-ahead log grows to this before a checkpoint is worth while. */
enum {
    WAL_BYTES = 4 * 1024 * 1024
};

typedef struct option {
    const char *name;          /* of the URL's option, and of the pragma */
    const char *const *values; /* what it may be, NULL at the end */
    const char *value;         /* chosen; NULL = left as it is */
    const char *read_back;     /* what the pragma then answers */
    bool explicit_;            /* the caller's wish, not our default */
} option;

enum {
    OPTION_JOURNAL_MODE,
    OPTION_SYNCHRONOUS,
    OPTION_FOREIGN_KEYS,
    OPTION_COUNT
};

static const char *const journal_modes[] = {"delete", "truncate", "persist", "memory", "wal", NULL};
static const char *const synchronous_modes[] = {"off", "normal", "full", "extra", NULL};
static const char *const switches[] = {"off", "on", "false", "true", "0", "1", "no", "yes", NULL};
static const char *const digits[] = {"0", "1", "2", "3"};

const char *const sqlite_options[] = {"journal_mode", "synchronous", "foreign_keys", NULL};

/* ---- options ------------------------------------------------------------------------------ */

static orm_status option_refuse(const option *self, orm_str value, orm_error *err)
{
    char known[80] = "";
    size_t len = 0;
    for (int i = 0; self->values[i] && len < sizeof(known); i++) {
        sqlite3_snprintf((int)(sizeof(known) - len), known + len, "%s%s", i ? ", " : "",
                         self->values[i]);
        len = strlen(known);
    }
    return orm_fail(err, ORM_ECONFIG, "option %s='%.*s': expected one of %s", self->name,
                    (int)(value.len < 40 ? value.len : 40), value.ptr, known);
}

static orm_status option_set(option *self, orm_str value, orm_error *err)
{
    for (int i = 0; self->values[i]; i++) {
        if (strlen(self->values[i]) != value.len ||
            sqlite3_strnicmp(self->values[i], value.ptr, (int)value.len) != 0)
            continue;
        self->value = self->values[i];
        self->explicit_ = true;
        /* the pragma answers journal_mode by name, the others by number */
        if (self->values == journal_modes)
            self->read_back = self->values[i];
        else
            self->read_back = digits[self->values == switches ? i % 2 : i];
        return ORM_OK;
    }
    return option_refuse(self, value, err);
}

static orm_status options_read(option *options, const orm_conn_config *config, orm_error *err)
{
    for (size_t i = 0; i < config->n_options; i++) {
        orm_str name = config->option_names[i];
        option *found = NULL;
        for (size_t k = 0; k < OPTION_COUNT; k++)
            if (strlen(options[k].name) == name.len &&
                memcmp(options[k].name, name.ptr, name.len) == 0)
                found = &options[k];
        if (!found)
            return orm_fail(err, ORM_ECONFIG,
                            "unknown option '%.*s'; expected journal_mode, synchronous or "
                            "foreign_keys",
                            (int)(name.len < 40 ? name.len : 40), name.ptr);
        ORM_TRY(option_set(found, config->option_values[i], err));
    }
    return ORM_OK;
}

/* ---- settings ----------------------------------------------------------------------------- */

/* Runs one statement; its first value is copied to `answer` ("" when there is none). */
static orm_status ask(orm_conn *conn, const char *sql, char answer[32], orm_error *err)
{
    sqlite3_stmt *handle = NULL;
    int code = sqlite3_prepare_v3(conn->db, sql, -1, 0, &handle, NULL);
    answer[0] = '\0';
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(handle);
        if (code != SQLITE_ROW || answer[0]) continue;
        const unsigned char *text = sqlite3_column_text(handle, 0);
        sqlite3_snprintf(32, answer, "%s", text ? (const char *)text : "");
    }
    orm_status status = code == SQLITE_DONE ? ORM_OK : sqlite_fail(conn, code, err);
    sqlite3_finalize(handle);
    return status;
}

static orm_status setting_apply(orm_conn *conn, const option *self, orm_error *err)
{
    char sql[80], answer[32];
    if (!self->value) return ORM_OK;
    sqlite3_snprintf(sizeof(sql), sql, "PRAGMA %s = %s", self->name, self->value);
    ORM_TRY(ask(conn, sql, answer, err));
    sqlite3_snprintf(sizeof(sql), sql, "PRAGMA %s", self->name);
    ORM_TRY(ask(conn, sql, answer, err));
    if (self->explicit_ && sqlite3_stricmp(answer, self->read_back) != 0)
        return orm_fail(err, ORM_ECONFIG, "%s=%s did not take: SQLite answers '%s'", self->name,
                        self->value, answer);
    return ORM_OK;
}

/* The switches of sqlite3_db_config, each with the answer that must come back. */
static orm_status hardening_apply(orm_conn *conn, orm_error *err)
{
    static const struct {
        int verb, on;
        const char *name;
    } settings[] = {
        {SQLITE_DBCONFIG_DQS_DML, 0, "dqs_dml"},
        {SQLITE_DBCONFIG_DQS_DDL, 0, "dqs_ddl"},
        {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, "trusted_schema"},
        {SQLITE_DBCONFIG_DEFENSIVE, 1, "defensive"},
        {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, "load_extension"},
    };
    for (size_t i = 0; i < ORM_COUNT(settings); i++) {
        int now = -1;
        int code = sqlite3_db_config(conn->db, settings[i].verb, settings[i].on, &now);
        if (code != SQLITE_OK) return sqlite_fail(conn, code, err);
        if (now != settings[i].on)
            return orm_fail(err, ORM_ECONFIG, "%s=%d did not take: SQLite answers %d",
                            settings[i].name, settings[i].on, now);
    }
    sqlite3_limit(conn->db, SQLITE_LIMIT_ATTACHED, 0);
    if (sqlite3_limit(conn->db, SQLITE_LIMIT_ATTACHED, -1) != 0)
        return orm_fail(err, ORM_ECONFIG, "the limit of attached databases did not take");
    return ORM_OK;
}

static int on_wal_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    orm_conn *conn = arg;
    conn->wal_pages = pages;
    return SQLITE_OK;
}

static orm_status wal_setup(orm_conn *conn, orm_error *err)
{
    char answer[32];
    ORM_TRY(ask(conn, "PRAGMA page_size", answer, err));
    long page = strtol(answer, NULL, 10);
    conn->wal_limit = (int)(WAL_BYTES / (page > 0 ? page : 4096));
    /* replaces SQLite's own hook: no automatic checkpoint on the caller's thread */
    sqlite3_wal_hook(conn->db, on_wal_commit, conn);
    return ORM_OK;
}

/* What the engine may do on the caller's thread, from the settings as they are. */
static orm_status traits_read(orm_conn *conn, orm_error *err)
{
    char answer[32];
    ORM_TRY(ask(conn, "PRAGMA journal_mode", answer, err));
    if (strcmp(answer, "wal") == 0) conn->traits |= ORM_TRAIT_CONCURRENT;
    ORM_TRY(ask(conn, "PRAGMA synchronous", answer, err));
    if (answer[0] >= '2') conn->traits |= ORM_TRAIT_DURABLE;
    return ORM_OK;
}

static orm_status session_setup(orm_conn *conn, const option *options, orm_error *err)
{
    char answer[32];
    ORM_TRY(hardening_apply(conn, err));
    int code = functions_install(conn->db);
    if (code != SQLITE_OK) return sqlite_fail(conn, code, err);
    for (size_t i = 0; i < OPTION_COUNT; i++) ORM_TRY(setting_apply(conn, &options[i], err));
    ORM_TRY(wal_setup(conn, err));
    ORM_TRY(traits_read(conn, err));
    /* reads the schema: what is no database shows here, and prepare finds it loaded */
    return ask(conn, "SELECT 1 FROM sqlite_schema LIMIT 1", answer, err);
}

/* ---- opening ------------------------------------------------------------------------------ */

/* SQLite gives these names a meaning of their own; in front of a path they are plain text. */
static const char *path_prefix(const orm_conn_config *config)
{
    const char *path = config->database;
    if (config->memory) return "";
    return strncmp(path, "file:", 5) == 0 || path[0] == ':' ? "./" : "";
}

static const char *open_reason(const char *path, bool create, int number)
{
    struct stat info;
    bool is_there = stat(path, &info) == 0;
    if (is_there && S_ISDIR(info.st_mode)) return "it is a directory";
    switch (number ? number : errno) {
    case ENOENT: return create ? "its directory does not exist" : "there is no such file";
    case ENOTDIR: return "a part of its path is not a directory";
    case EACCES:
    case EPERM: return "permission denied";
    case EROFS: return "the file system is read-only";
    case EMFILE:
    case ENFILE: return "too many open files";
    case ENAMETOOLONG: return "the path is too long";
    default: return "SQLite cannot open it";
    }
}

static orm_status open_fail(orm_conn *conn, const orm_conn_config *config, const char *path,
                            int code, orm_error *err)
{
    if (!conn->db) return orm_fail_nomem(err);
    int number = sqlite3_system_errno(conn->db);
    int native = sqlite3_extended_errcode(conn->db);
    orm_status status = sqlite_fail(conn, native ? native : code, err);
    if (status != ORM_ECONNECT || !err) return status;
    int code_kept = err->native;
    orm_fail(err, status, "cannot open the database '%s': %s", config->database,
             open_reason(path, config->create && !config->read_only, number));
    err->native = code_kept;
    memcpy(err->backend, "sqlite", sizeof("sqlite"));
    return status;
}

static orm_status open_handle(orm_conn *conn, const orm_conn_config *config, const char *path,
                              orm_error *err)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_PRIVATECACHE;
    if (config->memory) flags |= SQLITE_OPEN_URI;
    if (config->read_only)
        flags |= SQLITE_OPEN_READONLY;
    else
        flags |= SQLITE_OPEN_READWRITE | (config->create ? SQLITE_OPEN_CREATE : 0);
    int code = sqlite3_open_v2(path, &conn->db, flags, NULL);
    if (code != SQLITE_OK) return open_fail(conn, config, path, code, err);
    return ORM_OK;
}

/* Which file is it?  Asked of the path that SQLite resolved; never by opening it ourselves. */
static orm_status file_find(orm_conn *conn, const orm_conn_config *config, orm_error *err)
{
    uint64_t device = 0, inode;
    if (config->memory) {
        inode = orm_hash_bytes(config->database, strlen(config->database), 0);
    } else {
        struct stat info;
        const char *full = sqlite3_db_filename(conn->db, "main");
        if (!full || stat(full, &info) != 0)
            return orm_fail(err, ORM_ECONNECT, "the database '%s' has vanished while it was opened",
                            config->database);
        device = (uint64_t)info.st_dev;
        inode = (uint64_t)info.st_ino;
    }
    return file_acquire(device, inode, &conn->file, err);
}

static orm_status conn_setup(orm_conn *conn, const orm_conn_config *config, const char *path,
                             option *options, orm_error *err)
{
    struct stat info;
    bool is_new = !config->memory && !config->read_only &&
                  (stat(path, &info) != 0 || info.st_size == 0);
    if (is_new && !options[OPTION_JOURNAL_MODE].value)
        options[OPTION_JOURNAL_MODE].value = options[OPTION_JOURNAL_MODE].read_back = "wal";
    ORM_TRY(open_handle(conn, config, path, err));
    budget_install(conn);
    ORM_TRY(file_find(conn, config, err));
    orm_budget budget = {.lock_deadline_ns = orm_now_ns() +
                                             (uint64_t)config->busy_timeout_ms * 1000000u};
    budget_enter(conn, &budget, NULL, false);
    orm_status status = session_setup(conn, options, err);
    budget_leave(conn);
    return status;
}

orm_status sqlite_open(const orm_conn_config *config, orm_conn **out, orm_error *err)
{
    option options[OPTION_COUNT] = {
        [OPTION_JOURNAL_MODE] = {"journal_mode", journal_modes, NULL, NULL, false},
        [OPTION_SYNCHRONOUS] = {"synchronous", synchronous_modes, "full", "2", true},
        [OPTION_FOREIGN_KEYS] = {"foreign_keys", switches, "on", "1", true},
    };
    if (!config->database || !config->database[0])
        return orm_fail(err, ORM_ECONFIG, "the database has no name; expected a path");
    if (!sqlite3_threadsafe())
        return orm_fail(err, ORM_ECONFIG, "this SQLite was built without support for threads");
    ORM_TRY(options_read(options, config, err));

    orm_conn *conn = orm_alloc0(sizeof(*conn));
    orm_buf path;
    orm_buf_init(&path, 0);
    orm_buf_adds(&path, path_prefix(config));
    orm_buf_adds(&path, config->database);
    orm_status status = conn ? orm_buf_status(&path, err) : orm_fail_nomem(err);
    if (status >= 0) {
        conn->base.driver = &orm_sqlite_driver;
        conn->base.fd = -1;
        status = conn_setup(conn, config, path.ptr, options, err);
    }
    orm_buf_dispose(&path);
    if (status < 0) {
        sqlite_close(conn);
        return status;
    }
    *out = conn;
    return ORM_OK;
}

void sqlite_close(orm_conn *conn)
{
    if (!conn) return;
    while (conn->statements) sqlite_finalize(conn, conn->statements);
    sqlite3_close_v2(conn->db);
    file_release(conn->file);
    orm_dealloc(conn);
}

/* ---- state and housekeeping ---------------------------------------------------------------- */

int sqlite_state(const orm_conn *conn)
{
    if (conn->broken) return ORM_CONN_BROKEN;
    return sqlite3_get_autocommit(conn->db) ? ORM_CONN_IDLE : ORM_CONN_IN_TX;
}

size_t sqlite_max_params(const orm_conn *conn)
{
    return (size_t)sqlite3_limit(conn->db, SQLITE_LIMIT_VARIABLE_NUMBER, -1);
}

/* Counted from the last look, not from zero: while a reader keeps the log from being emptied,
 * every commit would ask again. */
bool sqlite_wants_maintenance(const orm_conn *conn)
{
    int since = conn->wal_pages < conn->checked_pages ? 0 : conn->checked_pages;
    return conn->wal_pages - since >= conn->wal_limit;
}

/* PASSIVE: waits for nobody and disturbs nobody.  What it leaves, the next one takes. */
void sqlite_maintain(orm_conn *conn)
{
    if (!sqlite_wants_maintenance(conn)) return;
    conn->checked_pages = conn->wal_pages;
    sqlite3_wal_checkpoint_v2(conn->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

uint32_t sqlite_traits(const orm_conn *conn)
{
    return conn->traits;
}

volatile uint64_t *sqlite_write_counter(orm_conn *conn)
{
    return &conn->file->commits;
}
