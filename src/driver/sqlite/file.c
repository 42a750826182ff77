/* file.c - which database files are open in this process, each with a counter of commits.
 *
 * The counter lets every engine of the process notice writes that went through another
 * connection to the same file, whatever path it was opened by: files are told apart by device
 * and inode.
 */
#include "sqlite.h"
#include <pthread.h>

static pthread_mutex_t files_lock = PTHREAD_MUTEX_INITIALIZER;
static sqlite_file *files;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_error;

static void files_before_fork(void)
{
    pthread_mutex_lock(&files_lock);
}

static void files_after_fork(void)
{
    pthread_mutex_unlock(&files_lock);
}

/* Another thread may hold the lock while this one forks; the child would wait for ever. */
static void files_watch_fork(void)
{
    fork_error = pthread_atfork(files_before_fork, files_after_fork, files_after_fork);
}

orm_status file_acquire(uint64_t device, uint64_t inode, sqlite_file **out, orm_error *err)
{
    pthread_once(&fork_once, files_watch_fork);
    if (fork_error) return orm_fail_nomem(err);
    sqlite_file *fresh = orm_alloc0(sizeof(*fresh));
    if (!fresh) return orm_fail_nomem(err);
    fresh->device = device;
    fresh->inode = inode;

    pthread_mutex_lock(&files_lock);
    sqlite_file *file = files;
    while (file && (file->device != device || file->inode != inode)) file = file->next;
    if (!file) {
        file = fresh;
        fresh = NULL;
        file->next = files;
        files = file;
    }
    file->refs++;
    pthread_mutex_unlock(&files_lock);

    orm_dealloc(fresh);
    *out = file;
    return ORM_OK;
}

void file_release(sqlite_file *file)
{
    if (!file) return;
    pthread_mutex_lock(&files_lock);
    bool last = --file->refs == 0;
    if (last) {
        sqlite_file **link = &files;
        while (*link != file) link = &(*link)->next;
        *link = file->next;
    }
    pthread_mutex_unlock(&files_lock);
    if (last) orm_dealloc(file);
}
