/* engine.h - inside src/engine only: who holds what, and what happens on which thread.
 *
 *   db        configuration and schema of one database; shared between threads
 *   root      an engine proper: descriptors, lanes, queues, operations; one thread
 *   tx        a transaction or savepoint; a handle of the same public type as the engine
 *   op        one operation of the caller, from its finisher to its end
 *   task      one statement on its way: plan, bound parameters, where its rows go
 *   lane      a connection with its prepared statements, and what it is doing
 *   pool      worker threads: each takes a lane, does the lane's work and gives it back
 *   crew      a few threads for jobs that cannot be stopped: connecting, cancelling
 *
 * THREADS  Everything belongs to the engine's thread but a lane that was submitted to the pool:
 * until it is back, the worker alone touches the lane, the tasks of its operations, their
 * arenas, batches and `outcome`.  The engine's thread may only set the lane's budget.stop.
 *
 * ONE PATH (run.c)  Inline, handed over, grouped and blocking differ only in who calls
 * orm_op_run on which lane and with what budget.
 */
#ifndef ORM_ENGINE_H
#define ORM_ENGINE_H
#include "../sql/plan.h"
#include <orm/driver.h>
#include <pthread.h>

typedef struct orm_root orm_root;
typedef struct orm_tx orm_tx;
typedef struct orm_lane orm_lane;
typedef struct orm_batch orm_batch;
typedef struct orm_attempt orm_attempt;
typedef struct orm_crew orm_crew;

#define ORM_NS_PER_US 1000ull
#define ORM_NS_PER_MS 1000000ull

/* ---- limits ---- */
enum {
    ORM_MAX_READERS = 5,              /* connections for reads: one inline, four more */
    ORM_MAX_WORKERS = 4,              /* of an embedded database; servers: one per connection */
    ORM_CONNECTORS = 2,               /* threads that connect; attempts at a time */
    ORM_MAX_CANCELS = 256,            /* that wait for the one thread that sends them */
    ORM_MAX_CONNECTIONS = 1000,       /* that a pool may be asked for */
    ORM_INLINE_PARAMS = 8,            /* bound in the operation itself, without allocating */
    ORM_SHARED_READS = 64,            /* reads of one shared read transaction */
    ORM_GROUP_INLINE = 256,           /* writes of one group on the caller's thread, */
    ORM_GROUP_MAX = 1024,             /* and on a worker */
    ORM_BULK_INLINE = 200,            /* rows of insert_many on the caller's thread */
    ORM_REPLAY_CHUNK = 2000,          /* rows given to a sink before looking at the clock */
    ORM_FREE_OPS = 256                /* kept for reuse */
};
#define ORM_SHARED_NS (1 * ORM_NS_PER_MS)     /* a shared read may be this old */
#define ORM_QUICK_NS (100 * ORM_NS_PER_US)    /* a plan that runs in this time may run inline, */
#define ORM_QUICK_ROW_NS (5 * ORM_NS_PER_US)  /* plus this for each row */
#define ORM_GRACE_NS (100 * ORM_NS_PER_MS)    /* a worker has, beyond the deadline, to notice it */
#define ORM_SETTLE_NS (2000 * ORM_NS_PER_MS)  /* a server has, to end what it was told to end */
#define ORM_CANCEL_NS (2000 * ORM_NS_PER_MS)  /* … to hear of it */
#define ORM_CLOSE_NS (400 * ORM_NS_PER_MS)    /* closing waits for the threads of a server */
#define ORM_PATIENCE_NS (50 * ORM_NS_PER_MS)  /* before it is told again, doubled each time */
#define ORM_NAP_NS (20 * ORM_NS_PER_MS)       /* a waiting worker looks at its budget's stop */
#define ORM_IDLE_SECONDS 5                    /* then a worker thread ends */

/* ---- db.c ---- */
struct orm_db {
    volatile int refs;
    char *url;                        /* redacted */
    char *database;                   /* path, or the name of the shared memory */
    char *host, *user, *password;     /* servers; NULL = the URL does not say */
    uint16_t port;
    const orm_driver *driver;
    const struct orm_dialect *dialect;
    bool memory;
    orm_options options;              /* defaults filled in */
    orm_str *names, *values;          /* options left for the driver */
    size_t n_driver_options;
    pthread_mutex_t mutex;            /* guards anchor */
    orm_conn *anchor;                 /* memory: keeps the data while no engine is open */
    orm_arena arena;
};
void orm_db_config(const orm_db *db, orm_conn_config *out);
/* Memory databases: opens the connection that keeps them, once. */
orm_status orm_db_anchor(orm_db *db, orm_error *err);

/* ---- lists of operations; an operation is in at most one ---- */
typedef struct orm_queue {
    orm_op *first, *last;
    size_t count;
} orm_queue;
void orm_queue_push(orm_queue *list, orm_op *op);
void orm_queue_push_front(orm_queue *list, orm_op *op);
orm_op *orm_queue_pop(orm_queue *list);        /* NULL when empty */
void orm_queue_remove(orm_op *op);            /* from whatever list it is in */

/* ---- tasks and lanes (lane.c) ---- */
typedef struct orm_task {
    orm_plan *plan;                   /* a reference; NULL: none yet */
    const orm_value *params;
    size_t n_params;
    orm_row_target target;
    orm_exec_info info;               /* once it has ended */
    orm_stmt *stmt;                   /* while it runs */
    uint64_t began_ns;                /* when someone observes */
    bool started;                     /* between the driver's start and reset */
    bool once;                        /* stmt is not kept */
    bool again;                       /* prepared anew since its table has changed */
    /* When all rows have come, before the statement is let go; or NULL. */
    orm_status (*at_end)(void *self, orm_error *err);
} orm_task;

typedef struct orm_prepared {
    uint64_t serial;
    uint32_t epoch;                   /* root->epoch when it was prepared */
    orm_stmt *stmt;
} orm_prepared;

typedef struct orm_note {             /* one observed statement */
    char *sql;                        /* owned */
    size_t len;
    uint64_t duration_ns;
    int64_t rows;
    uint32_t params;
    int32_t status;
} orm_note;

enum { ORM_WORK_OPS, ORM_WORK_MAINTAIN, ORM_WORK_CLOSE, ORM_WORK_SETTLE, ORM_WORK_RENEW };
enum { ORM_CONTROL_BEGIN, ORM_CONTROL_BEGIN_WRITE, ORM_CONTROL_COMMIT, ORM_CONTROL_ROLLBACK,
       ORM_CONTROL_SAVEPOINT, ORM_CONTROL_RELEASE, ORM_CONTROL_UNDO, /* a script's */
       ORM_CONTROL_COUNT };

struct orm_lane {
    orm_lane *next;                   /* in the pool's lists */
    orm_root *root;
    const orm_driver *driver;
    orm_conn *conn;                   /* NULL: not opened yet */
    orm_prepared *prepared;           /* by the plan's slot */
    orm_stmt *control[ORM_CONTROL_COUNT];
    orm_budget budget;
    orm_op *ops;                      /* what it runs, by lane_next: one, or a group */
    orm_tx *tx;                       /* the transaction that holds it */
    orm_error error;                  /* of opening it */
    orm_status opened;                /* result of the last attempt */
    uint8_t work;                     /* ORM_WORK_… */
    bool busy;                        /* runs something, or carries a live statement */
    bool on_worker, inline_;          /* inline_: what runs now runs on the engine's thread */
    bool observed;
    bool dirty;                       /* wrote since it was last maintained */
    bool shared;                      /* in the shared read transaction */
    uint32_t shared_reads;
    uint64_t shared_since_ns, shared_counter;
    volatile uint64_t *counter;       /* the driver's write counter, or NULL */
    orm_note *notes;
    size_t n_notes, max_notes;
    /* ---- text of our own that waits for a server: the next call of control or exec goes on
     * with it ---- */
    orm_task text;
    orm_plan text_plan;
    /* ---- servers ---- */
    uint32_t slot, generation;        /* of the pool, and which connection it is: the descriptor's
                                         mark in the epoll */
    int fd;                           /* that the epoll watches; -1 = none */
    uint32_t events;                  /* … for these */
    orm_op *waiting;                  /* whose statement waits for the server */
    uint64_t since_ns;                /* when it was handed out, or came back; of an embedded
                                         database: when it went to a worker */
    uint64_t expires_ns;              /* the connection is to be replaced; 0 = never */
    orm_attempt *attempt;             /* that makes its connection: a reference; NULL = none */
    bool traced;                      /* the session may not be as it was opened */
};
orm_lane *orm_lane_new(orm_root *root);
/* Embedded databases: opens the connection when there is none; may block. */
orm_status orm_lane_open(orm_lane *lane);
void orm_lane_close(orm_lane *lane);  /* the connection; may block */
void orm_lane_free(orm_lane *lane);   /* may block; NULL is accepted */
/* The budget of what comes next: absolute times of orm_now_ns, 0 = never (lock: at once). */
void orm_lane_arm(orm_lane *lane, uint64_t yield_ns, uint64_t deadline_ns, uint64_t lock_ns);
/* The one function that drives a statement: finds or prepares it, starts it, steps it.
 * ORM_DONE: it has ended and is reset.  ORM_PENDING: the budget says yield; call again. */
orm_status orm_lane_step(orm_lane *lane, orm_task *task, orm_error *err);
/* Its first part alone: the prepared statement. */
orm_status orm_lane_find(orm_lane *lane, orm_task *task, orm_error *err);
void orm_lane_abandon(orm_lane *lane, orm_task *task);
/* Statements of transaction control, and other text without rows; to their end. */
orm_status orm_lane_control(orm_lane *lane, int control, orm_error *err);
orm_status orm_lane_exec(orm_lane *lane, const char *sql, size_t len, orm_error *err);
/* What begins a transaction or a savepoint: where the driver can, it travels with the next
 * statement. */
orm_status orm_lane_begin(orm_lane *lane, const char *sql, size_t len, orm_error *err);
/* The same with a budget of its own: undoes what was told to stop. */
orm_status orm_lane_undo(orm_lane *lane, const char *sql, size_t len, orm_error *err);
void orm_lane_undo_script(orm_lane *lane);
bool orm_lane_has_text(const orm_lane *lane); /* such a statement waits for the server */
bool orm_lane_in_transaction(const orm_lane *lane);
/* The transaction that was begun is gone; one that has failed is not. */
bool orm_lane_has_lost(const orm_lane *lane);
/* Rolls back when a transaction is open. */
void orm_lane_rollback(orm_lane *lane);
/* Engine's thread: tells the observer what the lane has noted. */
void orm_lane_tell(orm_lane *lane);
void orm_lane_end_shared(orm_lane *lane);
/* Tells the server to end what was left running, reads to its end, rolls back what no transaction
 * holds; closes the connection when that cannot be done in time.  On a worker. */
void orm_lane_settle(orm_lane *lane);

/* ---- sockets (socket.c): descriptors of server connections ---- */
/* On a worker: until the connection can go on, or the budget may have something to say. */
void orm_socket_wait(const orm_lane *lane, orm_status want, const orm_budget *budget);
/* Engine's thread: the engine's descriptor is readable when the connection can go on. */
void orm_socket_watch(orm_lane *lane, orm_status want);
void orm_socket_forget(orm_lane *lane);
bool orm_socket_is_readable(const orm_lane *lane);
/* Goes on with what waited for a server. */
void orm_socket_poll(orm_root *root, uint64_t until_ns);

/* ---- threads for what cannot be stopped (crew.c) ---- */
typedef struct orm_job {              /* the first member of what it is a job of */
    struct orm_job *next;
    volatile int refs;                /* 1 to begin with: who asks */
    bool left, done;                  /* left (atomic): nobody wants it any more */
    void (*run)(struct orm_job *job); /* on a thread of the crew, once */
    void (*free)(struct orm_job *job);/* on the thread that had the last reference */
} orm_job;
/* With `tells`, jobs that are done wait for orm_crew_collect and orm_crew_fd says so; else whoever
 * asked waits for its own.  `name`, of its threads: a literal of at most 15 bytes.  NULL: out of
 * memory or descriptors. */
orm_crew *orm_crew_new(const char *name, uint32_t max_threads, uint32_t max_queued, bool tells);
/* Its threads end when they have done what is queued, or with `drops` what they have begun.  They
 * are waited for until then, and then left to themselves. */
void orm_crew_close(orm_crew *crew, bool drops, uint64_t until_ns);
int orm_crew_fd(const orm_crew *crew);
uint32_t orm_crew_threads(orm_crew *crew);
/* Takes a reference; false: the queue is full, no thread can be had, or the crew is closed. */
bool orm_crew_add(orm_crew *crew, orm_job *job);
/* Whether it ended by then. */
bool orm_crew_wait(orm_crew *crew, orm_job *job, uint64_t deadline_ns);
/* Gives up the caller's reference: it need not be begun, and is never collected. */
void orm_crew_leave(orm_crew *crew, orm_job *job);
/* Jobs that are done, by next, each with the crew's reference; some may have been left. */
orm_job *orm_crew_collect(orm_crew *crew);
void orm_job_unref(orm_job *job);
bool orm_job_is_left(const orm_job *job);

/* ---- connecting (connect.c): engine's thread, servers only ---- */
/* An attempt to connect, not before that time; orm_server_connected hears of it.  False: there is
 * no memory or no thread. */
bool orm_connect_begin(orm_lane *lane, uint64_t not_before_ns);
void orm_connect_collect(orm_root *root);     /* attempts that have ended */
/* Gives up those past their time; when the next will be, 0 = never. */
uint64_t orm_connect_check(orm_root *root, uint64_t now);
void orm_connect_stop(orm_root *root);        /* leaves all of them */

/* ---- cancelling (cancel.c) ---- */
/* On a worker: tells the server to end what the lane runs, and waits until it has taken it.  Below
 * 0: that is not known, and the connection has to be closed. */
orm_status orm_lane_cancel(orm_lane *lane);

/* ---- the pool of a server (server.c) ---- */
orm_status orm_server_init(orm_root *root, orm_error *err);
void orm_server_dispatch(orm_op *op);
void orm_server_next(orm_root *root);         /* those that wait for a connection */
bool orm_server_is_free(const orm_root *root);
/* … or one that is being connected, or could be. */
bool orm_server_has_room(const orm_root *root);
void orm_server_release(orm_lane *lane);
/* Ends a statement that waits for the server: its operation gets `status`, the connection is
 * settled first. */
void orm_server_stop(orm_op *op, orm_status status);
/* The statement has ended though it runs on: a worker settles the connection, then the operation
 * ends with `status`. */
void orm_server_settle(orm_op *op, orm_lane *lane, orm_status status);
/* An attempt for this lane has ended: it has its connection, or `opened` and `error` say why not. */
void orm_server_connected(orm_lane *lane);

/* ---- who holds the connections (holders.c) ---- */
/* The error of one that has waited in vain, or that need not begin to wait in `queue`. */
orm_status orm_fail_acquire(orm_op *op);
orm_status orm_fail_crowded(orm_op *op, const orm_queue *queue);

/* ---- what SQL of the caller leaves in a session (session.c) ---- */
bool orm_sql_leaves_traces(const char *sql, size_t len);
/* Where DDL commits the transaction around it: whether this text would. */
bool orm_sql_commits(const char *sql, size_t len);
/* On a worker: the session is again what it was, or the connection is closed. */
void orm_lane_renew(orm_lane *lane);

/* ---- reads by key that share a statement (together.c) ---- */
/* Whether it is to wait for the end of this turn: another of its plan was sent in it. */
bool orm_together_waits(const orm_op *op);
/* What is to be sent for an operation that was taken from the queue: itself, or a statement for
 * it and those of the queue that ask the same for other keys. */
orm_op *orm_together(orm_op *first);

/* ---- plans (plans.c) ---- */
typedef struct orm_plans {
    struct orm_plan **slots;          /* by slot; NULL = free */
    uint32_t *table;                  /* slot + 1 by hash; 0 = empty */
    uint8_t *used;                    /* for the clock hand */
    uint32_t n_slots, mask, count, hand;
    uint64_t serial;
} orm_plans;
orm_status orm_plans_init(orm_plans *plans, uint32_t size, orm_error *err);
void orm_plans_dispose(orm_plans *plans);
/* The plan of that shape (a new reference), or NULL. */
orm_plan *orm_plans_find(orm_plans *plans, uint64_t key, const uint64_t *words, size_t n);
/* Keeps a reference; makes room by dropping one that was not used lately. */
void orm_plans_add(orm_plans *plans, orm_plan *plan);
/* Finds or compiles.  A reference. */
orm_status orm_plans_get(orm_root *root, int kind, const orm_query *query, const orm_write *write,
                         orm_plan **out, orm_error *err);
/* A plan of SQL as it stands; kept when it is not very long. */
orm_status orm_plans_get_raw(orm_root *root, const char *sql, size_t len, orm_plan **out,
                             orm_error *err);
orm_plan *orm_plan_new_raw(const char *sql, size_t len, uint64_t key, const uint64_t *words,
                           size_t n_words);
/* What a plan's runs have shown. */
bool orm_plan_is_quick(const orm_plan *plan);
void orm_plan_note_overflow(orm_plan *plan);
void orm_plan_note_run(orm_plan *plan, uint64_t ns, uint64_t rows);

/* ---- operations (op.c) ---- */
enum {                                /* orm_op.state */
    ORM_OP_NEW,                       /* not started */
    ORM_OP_QUEUED,                    /* waits for a lane, or its turn in its transaction */
    ORM_OP_RUNNING,                   /* on a lane */
    ORM_OP_WAITING,                   /* on a lane, for the server's answer */
    ORM_OP_LIVE,                      /* its statement is open; goes on in the next turn */
    ORM_OP_REPLAY,                    /* the statement has ended, rows go to the sink */
    ORM_OP_ENDED,                     /* complete; its callback is to be called */
    ORM_OP_OVER                       /* complete and told */
};
typedef orm_status (*orm_run_fn)(orm_op *op, orm_lane *lane);

struct orm_op {
    orm_op *next, *prev;              /* in `list` */
    orm_queue *list;
    orm_op *pending_next, *pending_prev;
    orm_op *lane_next;                /* in the lane's ops */
    orm_op **seat;                    /* among reads that go together; NULL = it goes alone */
    orm_root *root;                   /* a reference; NULL: failed before it began */
    orm_tx *tx;                       /* a reference, or NULL */
    orm_lane *lane;                   /* that runs it */
    orm_run_fn run;                   /* on the lane's thread: DONE, PENDING or an error */
    orm_status (*prepare)(orm_op *op);/* engine's thread, at start: plans and parameters */
    /* Engine's thread, after `run` has ended with `status`: the status of the operation, or
     * ORM_PENDING when it has prepared another phase to be dispatched. */
    orm_status (*after)(orm_op *op, orm_status status);
    void (*dispose)(orm_op *op);      /* of what `script` holds; or NULL */
    void *script;                     /* state of a compound operation, in the arena */
    orm_done_fn fn;
    void *user;
    orm_query *query;
    const orm_model *model;
    const orm_model_def *def;         /* rows of C structs */
    void *row;
    orm_write write;
    orm_value *values;                /* owned, in the arena */
    size_t n_values;
    orm_task task;                    /* its (first) statement */
    orm_sink *sink;                   /* NULL: rows are dropped */
    orm_result *result;               /* owned, the sink of C structs */
    orm_batch *batch;                 /* rows on their way to the sink */
    const void *caller;
    uint64_t deadline_ns, acquire_ns; /* 0 = not started; acquire only while it waits */
    uint64_t spent_ns;                /* on a worker, for the plan's history */
    size_t mark;                      /* rows of the sink before this phase */
    uint32_t timeout_ms;
    int32_t status;                   /* public: ORM_PENDING, ORM_OK or < 0 */
    int32_t outcome;                  /* what `run` returned; the lane's until it is back */
    uint64_t rows;
    int64_t number;
    const orm_error *verdict;         /* when not NULL: the error to show */
    uint8_t kind, state;
    bool writes;                      /* needs the writer */
    bool alone;                       /* not to be grouped with others */
    bool slow;                        /* never on the caller's thread */
    bool quick;                       /* known to be short */
    bool blocking;                    /* several statements at one go: on a server, on a worker */
    bool held;                        /* the caller has it */
    bool starting;                    /* inside orm_start */
    bool always_call;                 /* orm_then */
    bool cancelled, abandoned;        /* abandoned: complete for the caller, a lane still has it */
    bool sink_begun, own_layout;
    bool grouped;                     /* runs in a group: never interrupted */
    bool ends_tx;                     /* commit, rollback */
    bool watched;                     /* in root->pending */
    bool rerouted;                    /* raw SQL that writes, met on a reader: not run yet */
    bool drops_rows;                  /* raw SQL without a sink */
    bool only_reads;                  /* raw SQL, once its lane knows it (atomic) */
    bool unwanted;                    /* freed by the caller: a read need not run (atomic) */
    const orm_layout *rows_layout;    /* of the rows, when they are not the task's */
    const orm_model *kept_model;      /* a reference, where neither query nor plan holds one */
    /* ---- below: kept when the operation is reused ---- */
    orm_arena arena;
    orm_value params[ORM_INLINE_PARAMS];
    orm_error error;
    orm_layout layout;                /* raw SQL: built from the statement */
    bool fixed;                       /* the static operation of "out of memory" */
};
/* A new operation on an engine or transaction; checks thread, fork and state: then it is a
 * failed operation.  Never NULL. */
orm_op *orm_op_new(orm_engine *engine, int kind);
/* Memory for one operation, for later; NULL: there is none.  Keeping it gives it to the next
 * operation that is made, so that this one cannot fail for want of memory. */
orm_op *orm_op_reserve(orm_root *root);
void orm_op_keep(orm_op *op, orm_root *root);
orm_op *orm_op_fail(orm_op *op, orm_status status, const char *format, ...) ORM_PRINTF(3, 4);
/* Takes the query; false when the operation has failed. */
bool orm_op_take_query(orm_op *op, orm_query *query);
/* Takes values: those without a release function are copied into the operation's arena. */
bool orm_op_take_values(orm_op *op, orm_value *values, size_t n, orm_value **out);
/* The same with the fields that the values are for; n_rows rows of n values. */
bool orm_op_take_write(orm_op *op, const orm_model *model, const uint16_t *fields, size_t n,
                       orm_value *values, size_t n_rows);
bool orm_op_set_sink(orm_op *op, orm_sink *sink, const orm_model *model);
/* Prepares and dispatches. */
void orm_op_begin(orm_op *op);
/* Engine's thread: `run` has ended on its lane, which is free again. */
void orm_op_ended(orm_op *op, orm_status status);
/* Engine's thread: complete. */
void orm_op_complete(orm_op *op, orm_status status);
/* Complete for the caller though a worker still has it: outcome unknown when it writes. */
void orm_op_abandon(orm_op *op);
void orm_op_destroy(orm_op *op);
bool orm_op_is_over(const orm_op *op);
/* Forgets the rows of this phase: the statement is run again. */
void orm_op_rewind(orm_op *op);
/* Where rows go in the coming run: straight into the sink, or into a batch. */
orm_status orm_op_aim(orm_op *op, bool direct);
/* Gives rows of the batch to the sink until `until_ns`; ORM_PENDING: more are left. */
orm_status orm_op_replay(orm_op *op, uint64_t until_ns);
/* Finds the plan and binds the parameters of a statement.  Parameters lie in `room` when they
 * fit, else in the arena. */
orm_status orm_op_bind(orm_op *op, orm_task *task, int kind, const orm_query *query,
                       const orm_write *write, const orm_value *values, orm_value *room,
                       size_t n_room);
void orm_task_dispose(orm_task *task);
/* The run function of plain statements. */
orm_status orm_run_statement(orm_op *op, orm_lane *lane);
/* Runs an operation on a lane, within its transaction if it has one. */
orm_status orm_op_run(orm_op *op, orm_lane *lane);

/* ---- batch.c: rows that wait ---- */
orm_batch *orm_batch_new(void);
void orm_batch_free(orm_batch *batch);
orm_status orm_batch_add(orm_batch *batch, const orm_cell *cells, size_t n, orm_error *err);
void orm_batch_clear(orm_batch *batch);
const orm_cell *orm_batch_next(orm_batch *batch); /* NULL at the end */

/* ---- result.c: rows of C structs ---- */
orm_result *orm_result_new(const orm_model *model);
orm_sink *orm_result_sink(orm_result *result);
/* Relation `field` of the root: what is there to load, and the sink that receives it. */
orm_status orm_result_collect(orm_result *result, const orm_field *field, orm_arena *arena,
                              orm_value **keys, size_t *n, orm_error *err);
orm_sink *orm_result_load_sink(orm_result *result, const orm_field *field, orm_error *err);
void orm_result_load_finish(orm_result *result);
const orm_model *orm_result_model(const orm_result *result);

/* ---- scheduling ---- */
void orm_dispatch(orm_op *op);               /* run.c: to a lane, inline or on a worker */
bool orm_may_inline(const orm_op *op);
void orm_run_on(orm_op *op, orm_lane *lane); /* run.c: inline when it may, else submits */
void orm_submit(orm_lane *lane);             /* worker.c: hands the lane to the pool */
void orm_lane_work(orm_lane *lane);          /* run.c, on a worker: runs its operations */
void orm_lane_back(orm_lane *lane);          /* run.c: engine's thread, after a worker */
void orm_live_step(orm_op *op, uint64_t until_ns);  /* run.c: goes on with a live statement */
void orm_live_end(orm_op *op);               /* run.c: abandons it, frees the lane */
void orm_lane_release(orm_lane *lane);       /* run.c: nobody uses it any more */
orm_lane *orm_reader_take(orm_root *root, bool inline_); /* read.c: NULL = wait */
void orm_wait_for_lane(orm_op *op, orm_queue *queue);     /* run.c: with the acquire timeout */
bool orm_reader_is_free(const orm_root *root);
void orm_read_dispatch(orm_op *op);
void orm_read_next(orm_root *root);
void orm_read_prepare(orm_lane *lane, uint64_t now);        /* read.c: shared transaction */
void orm_write_dispatch(orm_op *op);         /* writer.c */
void orm_write_flush(orm_root *root);        /* writer.c: end of turn */
orm_status orm_group_run(orm_lane *lane);    /* writer.c: lane->ops in one transaction */
bool orm_writer_is_free(const orm_root *root);

/* ---- transactions (tx.c) ---- */
struct orm_engine {
    uint32_t magic;
    bool is_tx;
    orm_root *root;
};
struct orm_tx {
    orm_engine head;
    uint32_t refs;
    orm_tx *parent;                   /* a reference; NULL: on the engine itself */
    orm_tx *top;                      /* the outermost; itself when it has no parent */
    uint32_t level;                   /* 0 = BEGIN, above: savepoint "orm_<level>" */
    uint8_t state;                    /* ORM_TX_… */
    uint8_t isolation;                /* ORM_ISOLATION_… */
    bool isolated;                    /* the level was asked for; as begun */
    bool readonly, begun;             /* begun belongs to the lane while something runs */
    bool lost;                        /* the backend rolled it back; as begun */
    bool closed;                      /* the handle is gone */
    bool stepping;                    /* top: the queue is being worked off */
    bool stalled;                     /* top: … and goes on in the next turn */
    orm_tx *next_stalled;
    const void *caller;
    uint64_t since_ns;                /* when it got its lane */
    orm_op *reserve;                  /* of the rollback with which its handle goes */
    /* top only: */
    orm_lane *lane;
    orm_op *active;                   /* runs, or waits for the lane */
    orm_queue queue;                   /* wait for their turn */
    char cause[sizeof ((orm_error *)0)->message]; /* why the server accepts nothing but its end */
    bool again;                       /* … and whether all of it may succeed another time; as begun */
};
void orm_tx_dispatch(orm_op *op);
void orm_tx_granted(orm_op *op, orm_lane *lane);
void orm_tx_op_over(orm_op *op);             /* engine's thread: the next one's turn */
void orm_tx_resume(orm_root *root);          /* the queues that stopped for the time */
orm_status orm_tx_enter(orm_tx *tx, orm_lane *lane, orm_error *err); /* lane's thread */
/* The same, behind a statement that failed: what is left of the transaction? */
void orm_tx_note_failure(orm_tx *tx, const orm_lane *lane, orm_status status, orm_error *err);
void orm_tx_unref(orm_tx *tx);
void orm_tx_close(orm_tx *tx);

/* ---- scripts (script.c): several statements that run as one, on the lane's thread ---- */
/* All of `body` or nothing; the body may be called a second time, from its start. */
orm_status orm_script_run(orm_op *op, orm_lane *lane, orm_run_fn body);
orm_status orm_script_step(orm_lane *lane, orm_task *task, orm_error *err); /* to its end */

/* ---- worker.c ---- */
typedef struct orm_pool {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    orm_lane *first, *last;           /* to be done */
    orm_lane *done_first, *done_last; /* done */
    struct orm_worker {
        pthread_t thread;
        uint8_t state;                /* 0 none, 1 runs, 2 has ended */
    } *workers;
    uint32_t max_workers, n_running, n_idle;
    bool stop, signalled;
    int event_fd;
} orm_pool;
orm_status orm_pool_init(orm_pool *pool, uint32_t max_workers, int event_fd, orm_error *err);
/* Runs what is queued and joins the threads.  With a patience (0 = for ever) those that are not
 * back by then are left to themselves: false, and pool and lanes must outlive them. */
bool orm_pool_stop(orm_pool *pool, uint64_t patience_ns);
orm_lane *orm_pool_take_done(orm_pool *pool); /* the same as collect, without the descriptor */
orm_lane *orm_pool_collect(orm_pool *pool);  /* lanes that are back, in order */

/* ---- timer.c ---- */
void orm_timer_watch(orm_op *op);            /* it is pending: its deadlines count */
void orm_timer_forget(orm_op *op);
void orm_timer_check(orm_root *root);        /* ends what is past its deadline */
void orm_timer_at(orm_root *root, uint64_t when); /* look then, at the latest */

/* ---- engine.c ---- */
struct orm_root {
    orm_engine head;
    uint32_t refs;
    bool closed, single, no_inline, shared_reads;
    const void *owner;                /* the thread's mark; NULL: nobody yet */
    uint32_t generation;              /* of forks */
    orm_db *db;
    orm_schema *schema;               /* of orm_connect */
    const orm_driver *driver;
    const struct orm_dialect *dialect;
    int epoll_fd, event_fd, timer_fd;
    uint64_t query_timeout_ns, acquire_timeout_ns, busy_timeout_ns, inline_ns;
    uint32_t traits;                  /* of the connections; known once one is open */
    orm_pool pool;
    orm_plans plans;
    volatile uint32_t epoch;          /* advances when no prepared statement is to be trusted */
    orm_lane *writer, *readers[ORM_MAX_READERS];
    uint32_t n_readers;
    bool server;                      /* lanes are a pool, statements wait on descriptors */
    orm_lane **lanes;                 /* of a server: n_lanes of them, room for max_lanes */
    uint32_t n_lanes, max_lanes, min_lanes;
    orm_crew *connectors, *canceller;
    uint32_t n_attempts;              /* lanes that are being connected */
    uint32_t connect_failures;        /* in a row */
    uint64_t connect_after_ns;        /* not before */
    uint64_t lifetime_ns, idle_ns;
    uint32_t max_waiting;             /* operations in a queue; 0 = any number */
    orm_queue read_queue, write_queue; /* wait for a lane; of a server the first alone */
    orm_queue live;                    /* ORM_OP_LIVE and ORM_OP_REPLAY */
    orm_queue ended;                   /* callbacks to call */
    orm_op *pending, *pending_last;   /* started and not complete, oldest first */
    orm_op *free_ops;
    uint32_t n_free, n_ops;
    orm_tx *stalled;                  /* transactions whose queue goes on in the next turn */
    uint64_t until_ns;                /* queues are worked off until then; 0 = to their end */
    uint64_t timer_ns;                /* armed for; 0 = not */
    orm_defer_fn defer;
    void *defer_user;
    orm_observer_fn observer;
    void *observer_user;
    const void *caller, *last_writer; /* last_writer: whose write ran in this turn */
    bool wrote;                       /* a write ran in this turn */
    uint32_t turn_reads;
    const orm_plan *turn_plan;        /* of the read by key that was sent in this turn; not held */
    uint64_t turn_ns;
    bool deferred;                    /* the end of this turn is arranged for */
    bool self_wake;                   /* … by the event descriptor */
    bool wanted;                      /* … to be arranged for when processing ends */
    uint32_t driving, processing, in_callback;
    orm_engine_stats stats;
};
/* ORM_OK, or why this thread may not use the engine now. */
orm_status orm_root_check(orm_root *root, orm_error *err);
void orm_root_ref(orm_root *root);
void orm_root_unref(orm_root *root);
/* The end of this turn has something to do. */
void orm_root_want_turn(orm_root *root);
void orm_root_end_shared(orm_root *root);
void orm_root_end_turn(orm_root *root);
bool orm_root_has_work(const orm_root *root);/* that needs no event, callbacks aside */
bool orm_root_is_late(const orm_root *root); /* this turn has taken its time */
/* One round of work without callbacks; until_ns bounds rows and live statements. */
void orm_root_pump(orm_root *root, uint64_t until_ns);

#endif
