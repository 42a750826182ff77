/* proxy.c - see proxy.h. */
#include "proxy.h"
#include "client.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static bool forward(int from, int to, size_t most, size_t *passed)
{
    char bytes[65536];
    ssize_t n = recv(from, bytes, most < sizeof bytes ? most : sizeof bytes, 0);
    if (n <= 0) return false;
    *passed += (size_t)n;
    return send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

static void *proxy_main(void *arg)
{
    proxy *self = arg;
    size_t sent = 0;
    int on = 1, client = accept(self->listener, NULL, NULL);
    int upstream = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(self->server_port);
    bool open = client >= 0 && connect(upstream, (struct sockaddr *)&address, sizeof address) == 0;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (open && self->passed < self->limit) {
        struct pollfd wait[2] = {{client, POLLIN, 0}, {upstream, POLLIN, 0}};
        size_t left = self->limit - self->passed;
        poll(wait, 2, 2000);
        if (wait[0].revents) open = forward(client, upstream, SIZE_MAX, &sent);
        if (open && wait[1].revents)
            open = forward(upstream, client, left < self->chunk ? left : self->chunk,
                           &self->passed);
    }
    if (client >= 0) close(client);
    close(upstream);
    return NULL;
}

void proxy_start(proxy *self, uint16_t server_port, size_t limit, size_t chunk)
{
    struct sockaddr_in address = loopback(0);
    socklen_t len = sizeof address;
    *self = (proxy){.listener = socket(AF_INET, SOCK_STREAM, 0),
                    .server_port = server_port,
                    .limit = limit,
                    .chunk = chunk};
    assert_int_equal(bind(self->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(self->listener, 4), 0);
    assert_int_equal(getsockname(self->listener, (struct sockaddr *)&address, &len), 0);
    self->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&self->thread, NULL, proxy_main, self), 0);
}

void proxy_end(proxy *self)
{
    (void)shutdown(self->listener, SHUT_RDWR); /* nobody may have come */
    pthread_join(self->thread, NULL);
    close(self->listener);
}

/* ---- whole sessions -------------------------------------------------------------------------- */

static orm_status count_row(void *rows, const orm_cell *cells, orm_error *err)
{
    (void)cells, (void)err;
    ++*(size_t *)rows;
    return ORM_OK;
}

static orm_status session_run(const proxy_session *self, size_t limit, size_t chunk, size_t *passed)
{
    proxy between;
    orm_conn_config config = self->config;
    orm_conn *conn = NULL;
    orm_error err = {0};
    size_t rows = 0;
    orm_row_target target = {count_row, &rows};
    proxy_start(&between, self->config.port, limit, chunk);
    config.host = "127.0.0.1";
    config.port = between.port;
    orm_status status = self->driver->open(&config, &conn, &err);
    if (status >= 0) {
        status = client_run(conn, self->sql, NULL, 0, &target, NULL, NULL, NULL, &err);
        assert_int_equal(rows, status < 0 ? 0 : self->rows);
        if (status < 0) {
            assert_int_equal(self->driver->state(conn), ORM_CONN_BROKEN);
            assert_true(err.flags & ORM_ERROR_DISCONNECT);
        }
    }
    self->driver->close(conn);
    proxy_end(&between);
    *passed = between.passed;
    return status;
}

void proxy_cut_anywhere(const proxy_session *session)
{
    size_t total, passed, cuts = 0;
    assert_int_equal(session_run(session, SIZE_MAX, SIZE_MAX, &total), ORM_DONE);
    for (size_t limit = 1; limit < total; limit += 29, cuts++) {
        orm_status status = session_run(session, limit, SIZE_MAX, &passed);
        bool lost = status == ORM_ECONNLOST || status == ORM_ECONNECT;
        if (!lost && !(session->tls && status == ORM_ETLS))
            fail_msg("cut after %zu bytes of %zu: %s", limit, total, orm_status_name(status));
    }
    assert_true(cuts > 25);
}

void proxy_byte_by_byte(const proxy_session *session)
{
    size_t passed;
    assert_int_equal(session_run(session, SIZE_MAX, 1, &passed), ORM_DONE);
    assert_int_equal(session_run(session, SIZE_MAX, 7, &passed), ORM_DONE);
}
