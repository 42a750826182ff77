/* worker.c - a small pool of threads for what may not run on the caller's.
 *
 * The unit of work is the lane.  Threads start when there is work and no idle one, end after a
 * few idle seconds, block every signal and know nothing of the caller: a lane that is done goes
 * into a list, and one write to the engine's event descriptor says so.
 */
#include "engine.h"
#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum {
    WORKER_NONE,
    WORKER_RUNS,
    WORKER_ENDED
};

orm_status orm_pool_init(orm_pool *pool, uint32_t max_workers, int event_fd, orm_error *err)
{
    memset(pool, 0, sizeof *pool);
    pool->event_fd = event_fd;
    pool->max_workers = max_workers;
    pool->workers = orm_alloc0(max_workers * sizeof *pool->workers);
    if (!pool->workers) return orm_fail_nomem(err);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    int failed = pthread_mutex_init(&pool->mutex, NULL);
    if (!failed) {
        failed = pthread_cond_init(&pool->cond, &attr);
        if (failed) pthread_mutex_destroy(&pool->mutex);
    }
    pthread_condattr_destroy(&attr);
    if (!failed) return ORM_OK;
    orm_dealloc(pool->workers);
    return orm_fail_nomem(err);
}

static void put_done(orm_pool *pool, orm_lane *lane)
{
    lane->next = NULL;
    if (pool->done_last)
        pool->done_last->next = lane;
    else
        pool->done_first = lane;
    pool->done_last = lane;
    if (__atomic_load_n(&pool->signalled, __ATOMIC_RELAXED)) return;
    __atomic_store_n(&pool->signalled, true, __ATOMIC_RELAXED);
    uint64_t one = 1;
    while (write(pool->event_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

/* Waits for work; false: this thread shall end.  The mutex is held. */
static bool wait_for_work(orm_pool *pool)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ORM_IDLE_SECONDS;
    pool->n_idle++;
    int rc = 0;
    while (!pool->first && !pool->stop && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&pool->cond, &pool->mutex, &until);
    pool->n_idle--;
    return pool->first != NULL;
}

static void *worker_main(void *arg)
{
    orm_pool *pool = arg;
    (void)pthread_setname_np(pthread_self(), "orm-worker");
    pthread_mutex_lock(&pool->mutex);
    while (pool->first || wait_for_work(pool)) {
        orm_lane *lane = pool->first;
        pool->first = lane->next;
        if (!pool->first) pool->last = NULL;
        pthread_mutex_unlock(&pool->mutex);
        orm_lane_work(lane);
        pthread_mutex_lock(&pool->mutex);
        put_done(pool, lane);
    }
    pool->n_running--;
    for (uint32_t i = 0; i < pool->max_workers; i++)
        if (pool->workers[i].state == WORKER_RUNS &&
            pthread_equal(pool->workers[i].thread, pthread_self()))
            pool->workers[i].state = WORKER_ENDED;
    if (pool->stop) pthread_cond_broadcast(&pool->cond);
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* Starts one more thread; the mutex is held.  False: none could be started. */
static bool start_worker(orm_pool *pool)
{
    uint32_t slot = 0;
    while (slot < pool->max_workers && pool->workers[slot].state == WORKER_RUNS) slot++;
    if (slot == pool->max_workers) return false;
    /* A thread that has ended needs the mutex no more, so that this cannot wait for long. */
    if (pool->workers[slot].state == WORKER_ENDED) pthread_join(pool->workers[slot].thread, NULL);
    pool->workers[slot].state = WORKER_NONE;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&pool->workers[slot].thread, NULL, worker_main, pool) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!started) return false;
    pool->workers[slot].state = WORKER_RUNS;
    pool->n_running++;
    return true;
}

void orm_submit(orm_lane *lane)
{
    orm_pool *pool = &lane->root->pool;
    lane->next = NULL;
    orm_socket_forget(lane);
    if (!lane->root->server) lane->since_ns = orm_now_ns();
    lane->on_worker = true;
    lane->inline_ = false;
    lane->observed = lane->root->observer != NULL;
    pthread_mutex_lock(&pool->mutex);
    if (pool->last)
        pool->last->next = lane;
    else
        pool->first = lane;
    pool->last = lane;
    bool served = true;
    if (pool->n_idle == 0 || pool->first != lane)
        served = start_worker(pool) || pool->n_running > 0;
    if (!served) {
        /* No thread can be had: better late on this thread than never. */
        pool->first = pool->last = NULL;
        pthread_mutex_unlock(&pool->mutex);
        orm_lane_work(lane);
        pthread_mutex_lock(&pool->mutex);
        put_done(pool, lane);
    }
    pthread_cond_signal(&pool->cond);
    pthread_mutex_unlock(&pool->mutex);
}

orm_lane *orm_pool_collect(orm_pool *pool)
{
    if (!__atomic_load_n(&pool->signalled, __ATOMIC_RELAXED)) return NULL;
    pthread_mutex_lock(&pool->mutex);
    orm_lane *first = orm_pool_take_done(pool);
    __atomic_store_n(&pool->signalled, false, __ATOMIC_RELAXED);
    uint64_t count;
    while (read(pool->event_fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
    pthread_mutex_unlock(&pool->mutex);
    return first;
}

/* Waits until every thread has ended, or the time is over.  The mutex is held. */
static bool wait_for_end(orm_pool *pool, uint64_t patience_ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + patience_ns;
    until.tv_sec += (time_t)(ns / 1000000000u);
    until.tv_nsec = (long)(ns % 1000000000u);
    int rc = 0;
    while (pool->n_running && rc != ETIMEDOUT) {
        if (patience_ns)
            rc = pthread_cond_timedwait(&pool->cond, &pool->mutex, &until);
        else
            (void)pthread_cond_wait(&pool->cond, &pool->mutex);
    }
    return pool->n_running == 0;
}

bool orm_pool_stop(orm_pool *pool, uint64_t patience_ns)
{
    pthread_mutex_lock(&pool->mutex);
    pool->stop = true;
    pthread_cond_broadcast(&pool->cond);
    bool all = wait_for_end(pool, patience_ns);
    if (!all) pool->event_fd = -1; /* the number may soon be another's */
    for (uint32_t i = 0; i < pool->max_workers; i++) {
        if (pool->workers[i].state != WORKER_RUNS) continue;
        (void)pthread_detach(pool->workers[i].thread);
        pool->workers[i].state = WORKER_NONE;
    }
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->max_workers; i++)
        if (pool->workers[i].state == WORKER_ENDED) pthread_join(pool->workers[i].thread, NULL);
    if (!all) return false;
    pthread_cond_destroy(&pool->cond);
    pthread_mutex_destroy(&pool->mutex);
    orm_dealloc(pool->workers);
    pool->workers = NULL;
    return true;
}

orm_lane *orm_pool_take_done(orm_pool *pool)
{
    orm_lane *first = pool->done_first;
    pool->done_first = pool->done_last = NULL;
    return first;
}
