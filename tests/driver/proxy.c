/* proxy.c - see proxy.h. */
#include "proxy.h"
#include "../c/harness.h"

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
