/* driver.c - the list of drivers: those built in, and those that a program registers. */
#include "driver_internal.h"

enum {
    MAX_REGISTERED = 16
};

/* Slots are only ever filled, by compare-and-swap: finding needs no lock, and a forked child
 * can never meet one that is held. */
static const orm_driver *registered[MAX_REGISTERED];

static const orm_driver *const built_in[] = {
    &orm_sqlite_driver,
#ifdef ORM_WITH_POSTGRESQL
    &orm_postgresql_driver,
#endif
#ifdef ORM_WITH_MARIADB
    &orm_mariadb_driver,
#endif
};

bool orm_driver_is_complete(const orm_driver *driver)
{
    return driver->size >= sizeof(orm_driver) && driver->name && driver->open && driver->close &&
           driver->state && driver->prepare && driver->finalize && driver->column_count &&
           driver->column_name && driver->is_readonly && driver->start && driver->step &&
           driver->reset;
}

orm_status orm_driver_register(const orm_driver *driver, orm_error *err)
{
    if (!driver || !orm_driver_is_complete(driver))
        return orm_fail(err, ORM_EMISUSE,
                        "the driver's table is incomplete: size, name and every MUST slot");
    for (size_t i = 0; i < MAX_REGISTERED; i++) {
        const orm_driver *known = __atomic_load_n(&registered[i], __ATOMIC_ACQUIRE);
        if (!known && __atomic_compare_exchange_n(&registered[i], &known, driver, false,
                                                  __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return ORM_OK;
        if (known == driver) return ORM_OK;
        if (strcmp(known->name, driver->name) == 0)
            return orm_fail(err, ORM_EMISUSE, "another driver is registered as '%s'", driver->name);
    }
    return orm_fail(err, ORM_EMISUSE, "driver '%s': no more than %d can be registered",
                    driver->name, MAX_REGISTERED);
}

const orm_driver *orm_driver_find(const char *name)
{
    for (size_t i = 0; i < MAX_REGISTERED; i++) {
        const orm_driver *driver = __atomic_load_n(&registered[i], __ATOMIC_ACQUIRE);
        if (!driver) break;
        if (strcmp(driver->name, name) == 0) return driver;
    }
    for (size_t i = 0; i < ORM_COUNT(built_in); i++)
        if (strcmp(built_in[i]->name, name) == 0) return built_in[i];
    return NULL;
}
