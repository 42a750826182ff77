/* alloc.c - the one replaceable allocator. */
#include "base.h"

#include <stdlib.h>

static void *libc_alloc(void *p, size_t size, void *user)
{
    (void)user;
    if (size == 0) {
        free(p);
        return NULL;
    }
    return realloc(p, size);
}

/* Plain variables, not atomics: orm_set_allocator comes before every other call, so threads only
 * ever see the final pair. */
static orm_alloc_fn hook = libc_alloc;
static void *hook_user;

void orm_set_allocator(orm_alloc_fn fn, void *user)
{
    hook = fn ? fn : libc_alloc;
    hook_user = fn ? user : NULL;
}

/* A size of 0 would mean "free" to the hook; callers get a real, unique block instead. */
void *orm_alloc(size_t size)
{
    return hook(NULL, size ? size : 1, hook_user);
}

void *orm_alloc0(size_t size)
{
    void *p = orm_alloc(size);
    if (p) memset(p, 0, size);
    return p;
}

void *orm_realloc(void *p, size_t size)
{
    return hook(p, size ? size : 1, hook_user);
}

void orm_dealloc(void *p)
{
    if (p) (void)hook(p, 0, hook_user);
}

char *orm_strdup_n(const char *text, size_t len)
{
    char *copy = len < SIZE_MAX ? orm_alloc(len + 1) : NULL;
    if (!copy) return NULL;
    if (len) memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}
