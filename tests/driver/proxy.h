/* proxy.h - a bad line between a client and a server, for the tests of drivers.
 *
 *   proxy between;
 *   proxy_start(&between, server_port, 1000, SIZE_MAX);
 *   ... connect to 127.0.0.1, between.port; after 1,000 bytes from the server the line is cut ...
 *   proxy_end(&between);              // returns when the client has closed
 *
 * It takes one connection.
 */
#ifndef ORM_TEST_PROXY_H
#define ORM_TEST_PROXY_H
#include <orm/driver.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

typedef struct proxy {
    int listener;
    uint16_t port, server_port;
    size_t limit;  /* bytes from the server that pass before both sides are closed */
    size_t chunk;  /* … that pass at a time */
    size_t passed; /* … that have passed */
    pthread_t thread;
} proxy;

/* Fails the running test when there is no socket. */
void proxy_start(proxy *self, uint16_t server_port, size_t limit, size_t chunk);
void proxy_end(proxy *self);

/* A statement of so many rows through a line that is cut: all of its rows, or an error and none.
 * Cut behind every 29th byte of the session, in which errors of `tls` count as well when it may
 * begin with TLS; and whole, in pieces of one and of seven bytes. */
typedef struct proxy_session {
    const orm_driver *driver;
    orm_conn_config config; /* of the server itself, by TCP */
    const char *sql;
    size_t rows;
    bool tls;
} proxy_session;
void proxy_cut_anywhere(const proxy_session *session);
void proxy_byte_by_byte(const proxy_session *session);

#endif
