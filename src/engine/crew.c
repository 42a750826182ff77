/* crew.c - a few threads for calls that nobody can stop: connecting and cancelling.
 *
 * Looking up a name or waiting for a server that was stopped takes as long as it takes, and no
 * client library can be called off it.  So each such call is a job that owns all that it needs;
 * whoever asked for it holds a reference, the crew another.  A job that comes too late is left:
 * the thread that has it ends it some time later, alone.  Nothing ever waits for it.
 *
 * Threads start when there is work and no idle one, end after a few idle seconds, and hold a
 * reference of the crew, which may thus outlive its engine.  Those that end while the crew is
 * closed are joined, for what client libraries keep for a thread is gone only then: a process
 * that exits meanwhile would take the libraries away from under it.
 */
#include "engine.h"
#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_THREADS = 4
};

struct orm_crew {
    const char *name;
    pthread_mutex_t mutex;
    uint32_t refs; /* the engine's, and one for each thread */
    pthread_cond_t work, done;
    orm_job *first, *last; /* not begun */
    orm_job *done_first, *done_last;
    uint32_t n_queued, max_queued, n_threads, max_threads, n_idle;
    int event_fd; /* says that jobs are done; -1: who asked waits for its own */
    bool closed, signalled;
    bool joins; /* who closes waits for threads to end, and joins these: */
    pthread_t ended[MOST_THREADS];
    uint32_t n_ended;
};

/* The mutex is held, and let go of. */
static void crew_unref(orm_crew *crew)
{
    bool last = --crew->refs == 0;
    pthread_mutex_unlock(&crew->mutex);
    if (!last) return;
    pthread_cond_destroy(&crew->work);
    pthread_cond_destroy(&crew->done);
    pthread_mutex_destroy(&crew->mutex);
    orm_dealloc(crew);
}

orm_crew *orm_crew_new(const char *name, uint32_t max_threads, uint32_t max_queued, bool tells)
{
    pthread_condattr_t attr;
    orm_crew *crew = orm_alloc0(sizeof *crew);
    if (!crew) return NULL;
    crew->event_fd = tells ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1;
    if (tells && crew->event_fd < 0) {
        orm_dealloc(crew);
        return NULL;
    }
    crew->refs = 1;
    crew->name = name;
    crew->max_threads = max_threads < MOST_THREADS ? max_threads : MOST_THREADS;
    crew->max_queued = max_queued;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&crew->mutex, NULL);
    pthread_cond_init(&crew->work, &attr);
    pthread_cond_init(&crew->done, &attr);
    pthread_condattr_destroy(&attr);
    return crew;
}

int orm_crew_fd(const orm_crew *crew)
{
    return crew->event_fd;
}

void orm_job_unref(orm_job *job)
{
    if (__atomic_sub_fetch(&job->refs, 1, __ATOMIC_ACQ_REL) == 0) job->free(job);
}

bool orm_job_is_left(const orm_job *job)
{
    return __atomic_load_n(&job->left, __ATOMIC_RELAXED);
}

static bool wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t when_ns)
{
    struct timespec until = {.tv_sec = (time_t)(when_ns / 1000000000u),
                             .tv_nsec = (long)(when_ns % 1000000000u)};
    return pthread_cond_timedwait(cond, mutex, &until) != ETIMEDOUT;
}

/* ---- its threads --------------------------------------------------------------------------- */

static void push(orm_job **first, orm_job **last, orm_job *job)
{
    job->next = NULL;
    if (*last)
        (*last)->next = job;
    else
        *first = job;
    *last = job;
}

static orm_job *take_first(orm_crew *crew)
{
    orm_job *job = crew->first;
    crew->first = job->next;
    if (!crew->first) crew->last = NULL;
    crew->n_queued--;
    return job;
}

/* The mutex is held; it is let go of where a job's last reference may close a connection. */
static void end_job(orm_crew *crew, orm_job *job)
{
    job->done = true;
    pthread_cond_broadcast(&crew->done);
    if (crew->event_fd < 0 || crew->closed || orm_job_is_left(job)) {
        pthread_mutex_unlock(&crew->mutex);
        orm_job_unref(job);
        pthread_mutex_lock(&crew->mutex);
        return;
    }
    push(&crew->done_first, &crew->done_last, job);
    if (crew->signalled) return;
    __atomic_store_n(&crew->signalled, true, __ATOMIC_RELAXED);
    uint64_t one = 1;
    while (write(crew->event_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

/* False: this thread shall end.  The mutex is held. */
static bool wait_for_work(orm_crew *crew)
{
    uint64_t until = orm_now_ns() + ORM_IDLE_SECONDS * 1000 * ORM_NS_PER_MS;
    crew->n_idle++;
    while (!crew->first && !crew->closed && wait_until(&crew->work, &crew->mutex, until)) {
    }
    crew->n_idle--;
    return crew->first != NULL;
}

static void *crew_main(void *arg)
{
    orm_crew *crew = arg;
    (void)pthread_setname_np(pthread_self(), crew->name);
    pthread_mutex_lock(&crew->mutex);
    while (crew->first || wait_for_work(crew)) {
        orm_job *job = take_first(crew);
        pthread_mutex_unlock(&crew->mutex);
        job->run(job);
        pthread_mutex_lock(&crew->mutex);
        end_job(crew, job);
    }
    crew->n_threads--;
    if (crew->joins)
        crew->ended[crew->n_ended++] = pthread_self();
    else
        pthread_detach(pthread_self());
    pthread_cond_broadcast(&crew->done);
    crew_unref(crew);
    return NULL;
}

/* One more thread, which no signal disturbs.  The mutex is held. */
static bool start_thread(orm_crew *crew)
{
    pthread_t thread;
    sigset_t all, before;
    if (crew->n_threads == crew->max_threads) return false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, crew_main, crew) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    crew->refs += started;
    crew->n_threads += started;
    return started;
}

/* ---- who asks ------------------------------------------------------------------------------ */

bool orm_crew_add(orm_crew *crew, orm_job *job)
{
    pthread_mutex_lock(&crew->mutex);
    bool taken = !crew->closed && crew->n_queued < crew->max_queued;
    if (taken && crew->n_idle <= crew->n_queued) taken = start_thread(crew) || crew->n_threads > 0;
    if (taken) {
        __atomic_add_fetch(&job->refs, 1, __ATOMIC_RELAXED);
        push(&crew->first, &crew->last, job);
        crew->n_queued++;
        pthread_cond_signal(&crew->work);
    }
    pthread_mutex_unlock(&crew->mutex);
    return taken;
}

bool orm_crew_wait(orm_crew *crew, orm_job *job, uint64_t deadline_ns)
{
    pthread_mutex_lock(&crew->mutex);
    while (!job->done && wait_until(&crew->done, &crew->mutex, deadline_ns)) {
    }
    bool done = job->done;
    pthread_mutex_unlock(&crew->mutex);
    return done;
}

/* Takes it out of the queue if it was not begun; true when it was there. */
static bool take_back(orm_crew *crew, const orm_job *job)
{
    orm_job **at = &crew->first, *before = NULL;
    while (*at && *at != job) {
        before = *at;
        at = &before->next;
    }
    if (!*at) return false;
    *at = job->next;
    if (crew->last == job) crew->last = before;
    crew->n_queued--;
    return true;
}

void orm_crew_leave(orm_crew *crew, orm_job *job)
{
    pthread_mutex_lock(&crew->mutex);
    __atomic_store_n(&job->left, true, __ATOMIC_RELAXED);
    bool queued = take_back(crew, job);
    pthread_mutex_unlock(&crew->mutex);
    if (queued) orm_job_unref(job);
    orm_job_unref(job);
}

orm_job *orm_crew_collect(orm_crew *crew)
{
    if (!__atomic_load_n(&crew->signalled, __ATOMIC_RELAXED)) return NULL;
    pthread_mutex_lock(&crew->mutex);
    orm_job *first = crew->done_first;
    crew->done_first = crew->done_last = NULL;
    __atomic_store_n(&crew->signalled, false, __ATOMIC_RELAXED);
    uint64_t count;
    while (read(crew->event_fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
    pthread_mutex_unlock(&crew->mutex);
    return first;
}

uint32_t orm_crew_threads(orm_crew *crew)
{
    pthread_mutex_lock(&crew->mutex);
    uint32_t n = crew->n_threads;
    pthread_mutex_unlock(&crew->mutex);
    return n;
}

static void unref_all(orm_job *job)
{
    for (orm_job *next; job; job = next) {
        next = job->next;
        orm_job_unref(job);
    }
}

void orm_crew_close(orm_crew *crew, bool drops, uint64_t until_ns)
{
    pthread_mutex_lock(&crew->mutex);
    crew->closed = crew->joins = true;
    orm_job *dropped = drops ? crew->first : NULL, *done = crew->done_first;
    crew->done_first = crew->done_last = NULL;
    if (drops) {
        crew->first = crew->last = NULL;
        crew->n_queued = 0;
    }
    pthread_cond_broadcast(&crew->work);
    while (crew->n_threads && wait_until(&crew->done, &crew->mutex, until_ns)) {
    }
    crew->joins = false;
    int fd = crew->event_fd;
    crew->event_fd = -1;
    pthread_mutex_unlock(&crew->mutex);
    for (uint32_t i = 0; i < crew->n_ended; i++) (void)pthread_join(crew->ended[i], NULL);
    if (fd >= 0) (void)close(fd);
    unref_all(dropped);
    unref_all(done);
    pthread_mutex_lock(&crew->mutex);
    crew_unref(crew);
}
