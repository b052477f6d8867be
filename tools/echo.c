/* A server that tells whom it sees: the address a probe arrives from is the fact that connectivity is about.
 *
 *   echo [--http PORT] [--echo PORT] [--name NAME]
 *
 * HTTP: any request on PORT is answered with JSON {"name", "client", "clientPort", "server", "serverPort", "path"}.
 * Echo: UDP datagrams and TCP streams on PORT come back prefixed by nothing: byte for byte.
 *       A UDP datagram that begins with "whoami" is answered with the same JSON.
 * Both families, one thread, epoll. Ends on SIGTERM. PORT may be given several times.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum kind { HTTP_LISTENER, ECHO_LISTENER, ECHO_DATAGRAM, HTTP_STREAM, ECHO_STREAM };
struct peer { enum kind kind; int fd; size_t used; char request[4096]; };

static int loop;
static const char *name;

static void fail(const char *what) { perror(what); exit(1); }

static void watch(int fd, enum kind kind) {
    struct peer *peer = calloc(1, sizeof *peer);
    if (!peer) fail("calloc");
    peer->kind = kind;
    peer->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static void drop(struct peer *peer) { close(peer->fd); free(peer); }

static void listen_on(int type, int port, enum kind kind) {
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, off = 0, family = AF_INET6;
    if (fd < 0) { family = AF_INET; fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    }
    setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    if (bind(fd, family == AF_INET6 ? (void *)&any6 : (void *)&any4, family == AF_INET6 ? sizeof any6 : sizeof any4))
        fail("bind");
    if (type == SOCK_STREAM && listen(fd, 512)) fail("listen");
    watch(fd, kind);
}

static int spell(const struct sockaddr_storage *address, char *text, size_t size) {
    const struct sockaddr_in6 *v6 = (void *)address;
    const struct sockaddr_in *v4 = (void *)address;
    if (address->ss_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, text, size);
        return ntohs(v4->sin_port);
    }
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], text, size);
    else inet_ntop(AF_INET6, &v6->sin6_addr, text, size);
    return ntohs(v6->sin6_port);
}

static int describe(char *out, size_t size, const struct sockaddr_storage *client,
                    const struct sockaddr_storage *server, const char *path) {
    char c[INET6_ADDRSTRLEN], s[INET6_ADDRSTRLEN];
    int client_port = spell(client, c, sizeof c), server_port = spell(server, s, sizeof s);
    return snprintf(out, size,
                    "{\"name\":\"%s\",\"client\":\"%s\",\"clientPort\":%d,\"server\":\"%s\",\"serverPort\":%d,\"path\":\"%s\"}\n",
                    name, c, client_port, s, server_port, path);
}

static void answer_http(struct peer *peer) {
    ssize_t got = read(peer->fd, peer->request + peer->used, sizeof peer->request - 1 - peer->used);
    if (got <= 0) { if (got == 0 || errno != EAGAIN) drop(peer); return; }
    peer->used += got;
    peer->request[peer->used] = 0;
    if (!strstr(peer->request, "\r\n\r\n") && peer->used < sizeof peer->request - 1) return;
    char path[256] = "/", clean[256] = "", body[1024], head[256];
    sscanf(peer->request, "%*15s %255s", path);
    for (size_t i = 0, o = 0; path[i] && o < sizeof clean - 1; i++)
        if (path[i] != '"' && path[i] != '\\' && (unsigned char)path[i] >= ' ') { clean[o++] = path[i]; clean[o] = 0; }
    struct sockaddr_storage client = {0}, server = {0};
    socklen_t n = sizeof client, m = sizeof server;
    getpeername(peer->fd, (void *)&client, &n);
    getsockname(peer->fd, (void *)&server, &m);
    int length = describe(body, sizeof body, &client, &server, clean);
    int head_length = snprintf(head, sizeof head,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", length);
    if (write(peer->fd, head, head_length) == head_length && write(peer->fd, body, length) == length)
        shutdown(peer->fd, SHUT_WR);
    drop(peer);
}

static void echo_stream(struct peer *peer) {
    ssize_t got = read(peer->fd, peer->request, sizeof peer->request);
    if (got <= 0) { if (got == 0 || errno != EAGAIN) drop(peer); return; }
    for (ssize_t sent = 0; sent < got;) {
        ssize_t n = send(peer->fd, peer->request + sent, got - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) { usleep(1000); continue; }
        if (n < 0) { drop(peer); return; }
        sent += n;
    }
}

/* Answers from the address the datagram was sent to, or a reply of a host with several addresses would be lost. */
static void echo_datagram(int fd) {
    static char data[65536];
    char control[256], text[1024];
    struct sockaddr_storage client = {0}, server = {0};
    struct iovec part = {data, sizeof data};
    struct msghdr message = {.msg_name = &client, .msg_namelen = sizeof client, .msg_iov = &part, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &message, 0);
    if (got < 0) return;
    socklen_t n = sizeof server;
    getsockname(fd, (void *)&server, &n);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo *info = (void *)CMSG_DATA(c);
            ((struct sockaddr_in6 *)&server)->sin6_addr = info->ipi6_addr;
            info->ipi6_ifindex = 0;
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo *info = (void *)CMSG_DATA(c);
            if (server.ss_family == AF_INET) ((struct sockaddr_in *)&server)->sin_addr = info->ipi_addr;
            info->ipi_ifindex = 0;
        }
    }
    part.iov_len = got;
    if (got >= 6 && !memcmp(data, "whoami", 6)) {
        part.iov_base = text;
        part.iov_len = describe(text, sizeof text, &client, &server, "");
    }
    sendmsg(fd, &message, MSG_NOSIGNAL);
}

static void take(struct peer *peer) {
    int fd, on = 1;
    switch (peer->kind) {
    case HTTP_LISTENER:
    case ECHO_LISTENER:
        while ((fd = accept4(peer->fd, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            watch(fd, peer->kind == HTTP_LISTENER ? HTTP_STREAM : ECHO_STREAM);
        }
        return;
    case ECHO_DATAGRAM: echo_datagram(peer->fd); return;
    case HTTP_STREAM: answer_http(peer); return;
    case ECHO_STREAM: echo_stream(peer); return;
    }
}

static void stop(int number) { (void)number; _exit(0); }

int main(int argc, char **argv) {
    static char host[256];
    gethostname(host, sizeof host - 1);
    name = host;
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    signal(SIGPIPE, SIG_IGN);
    if ((loop = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
    int listeners = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--name")) name = argv[i + 1];
        else if (!strcmp(argv[i], "--http")) { listen_on(SOCK_STREAM, atoi(argv[i + 1]), HTTP_LISTENER); listeners++; }
        else if (!strcmp(argv[i], "--echo")) {
            listen_on(SOCK_STREAM, atoi(argv[i + 1]), ECHO_LISTENER);
            listen_on(SOCK_DGRAM, atoi(argv[i + 1]), ECHO_DATAGRAM);
            listeners++;
        } else { fprintf(stderr, "echo: unknown flag %s\n", argv[i]); return 2; }
    }
    if (!listeners) { listen_on(SOCK_STREAM, 80, HTTP_LISTENER); listen_on(SOCK_STREAM, 7, ECHO_LISTENER); listen_on(SOCK_DGRAM, 7, ECHO_DATAGRAM); }
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(loop, events, 64, -1);
        for (int i = 0; i < n; i++) take(events[i].data.ptr);
    }
}
