/* Real connections to many targets at once, and what became of each: the client side of `echo`.
 *
 *   probe [--timeout MILLISECONDS] TARGET...
 *     http,ADDRESS,PORT        GET /; tells the client address the other side saw
 *     udp,ADDRESS,PORT         the same over one datagram
 *     df,ADDRESS,PORT,SIZE     a datagram of SIZE bytes of payload with don't-fragment, echoed back whole
 *     dns,NAME                 an A query to the first name server of /etc/resolv.conf; tells the address
 *
 * Prints one JSON object a line and target, in the order given: {"target", "ok", "client" | "address", "error", "us"}.
 * error is refused, unreachable, timeout, too-big or a word of the system's. Ends with 0 when every target answered.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MANY 256
enum kind { HTTP, UDP, DF, DNS };
struct target {
    const char *text, *error;
    char host[256], seen[64], answer[66000];
    enum kind kind;
    int port, size, fd, connected, got, done, retries;
    long long began, ended, sent;
};

static long long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static const char *word(int number) {
    switch (number) {
    case ECONNREFUSED: return "refused";
    case EHOSTUNREACH: case ENETUNREACH: case EACCES: case EPERM: return "unreachable";
    case ETIMEDOUT: return "timeout";
    case EMSGSIZE: return "too-big";
    default: return strerror(number);
    }
}

static void finish(struct target *t, const char *error) {
    t->done = 1;
    t->error = error;
    t->ended = now_us();
    if (t->fd >= 0) close(t->fd);
    t->fd = -1;
}

static int parse(struct target *t, char *text) {
    static const char *kinds[] = {"http", "udp", "df", "dns"};
    char kind[8] = "";
    t->text = strdup(text);
    t->fd = -1;
    int n = sscanf(text, "%7[^,],%255[^,],%d,%d", kind, t->host, &t->port, &t->size);
    for (int i = 0; i < 4; i++)
        if (!strcmp(kind, kinds[i])) { t->kind = i; return n >= (i == DNS ? 2 : i == DF ? 4 : 3); }
    return 0;
}

static void name_server(char *host, size_t size) {
    FILE *file = fopen("/etc/resolv.conf", "r");
    char line[512];
    snprintf(host, size, "127.0.0.1");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "nameserver %63s", host) == 1) break;
    if (file) fclose(file);
}

static int query(const char *name, unsigned char *out) {
    static const unsigned char head[12] = {0x70, 0x6c, 1, 0, 0, 1};
    int n = sizeof head;
    memcpy(out, head, sizeof head);
    for (const char *label = name; *label;) {
        size_t length = strcspn(label, ".");
        out[n++] = length;
        memcpy(out + n, label, length);
        n += length;
        label += length + (label[length] == '.');
    }
    memcpy(out + n, "\0\0\1\0\1", 5);
    return n + 5;
}

static void send_request(struct target *t) {
    static unsigned char data[66000];
    int n = 0;
    t->sent = now_us();
    if (t->kind == HTTP) n = snprintf((char *)data, sizeof data, "GET / HTTP/1.0\r\nHost: probe\r\n\r\n");
    else if (t->kind == UDP) { memcpy(data, "whoami", 6); n = 6; }
    else if (t->kind == DNS) n = query(t->host, data);
    else { memset(data, 'x', t->size); n = t->size; }
    if (send(t->fd, data, n, MSG_NOSIGNAL) != n) finish(t, word(errno));
}

static void begin(struct target *t) {
    char host[64];
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    t->began = now_us();
    snprintf(host, sizeof host, "%.63s", t->host);
    if (t->kind == DNS) { name_server(host, sizeof host); t->port = 53; }
    v4.sin_port = v6.sin6_port = htons(t->port);
    int is_v4 = inet_pton(AF_INET, host, &v4.sin_addr) == 1;
    if (!is_v4 && inet_pton(AF_INET6, host, &v6.sin6_addr) != 1) { finish(t, "not an address"); return; }
    struct sockaddr *address = is_v4 ? (void *)&v4 : (void *)&v6;
    int type = t->kind == HTTP ? SOCK_STREAM : SOCK_DGRAM;
    t->fd = socket(address->sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0) { finish(t, word(errno)); return; }
    int never = IP_PMTUDISC_DO, buffer = 1 << 18;
    if (t->kind == DF) {
        setsockopt(t->fd, IPPROTO_IP, IP_MTU_DISCOVER, &never, sizeof never);
        setsockopt(t->fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    }
    if (connect(t->fd, address, is_v4 ? sizeof v4 : sizeof v6) && errno != EINPROGRESS) finish(t, word(errno));
    else if (t->kind != HTTP) { t->connected = 1; send_request(t); }
}

static void note_seen(struct target *t) {
    char *client = strstr(t->answer, "\"client\":\"");
    if (client) sscanf(client + 10, "%63[^\"]", t->seen);
    finish(t, client ? 0 : "no JSON in the answer");
}

static void note_dns(struct target *t) {
    unsigned char *a = (unsigned char *)t->answer;
    int n = t->got, at = 12, answers = n >= 12 ? a[6] << 8 | a[7] : 0;
    if (n < 12 || (a[3] & 15)) { finish(t, n >= 12 && (a[3] & 15) == 3 ? "no such name" : "server failure"); return; }
    while (at < n && a[at]) at += a[at] + 1;
    at += 5;
    for (int i = 0; i < answers && at + 12 <= n; i++) {
        while (at < n && a[at] && (a[at] & 0xc0) != 0xc0) at += a[at] + 1;
        at += at < n && (a[at] & 0xc0) == 0xc0 ? 2 : 1;
        if (at + 10 > n) break;
        int type = a[at] << 8 | a[at + 1], length = a[at + 8] << 8 | a[at + 9];
        if (type == 1 && length == 4 && at + 14 <= n) {
            inet_ntop(AF_INET, a + at + 10, t->seen, sizeof t->seen);
            finish(t, 0);
            return;
        }
        at += 10 + length;
    }
    finish(t, "no address in the answer");
}

static void take(struct target *t) {
    int problem = 0;
    socklen_t length = sizeof problem;
    if (!t->connected) {
        getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &problem, &length);
        if (problem) { finish(t, word(problem)); return; }
        t->connected = 1;
        send_request(t);
        return;
    }
    ssize_t n = recv(t->fd, t->answer + t->got, sizeof t->answer - 1 - t->got, 0);
    if (n < 0) { if (errno != EAGAIN) finish(t, word(errno)); return; }
    t->got += n;
    t->answer[t->got] = 0;
    if (t->kind == DNS) note_dns(t);
    else if (t->kind == DF) finish(t, n == t->size ? 0 : "cut short");
    else if (t->kind == UDP) note_seen(t);
    else if (n == 0) note_seen(t);
}

int main(int argc, char **argv) {
    static struct target *targets[MANY];
    long long limit = 2000000;
    int count = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--timeout") && i + 1 < argc) { limit = atoll(argv[++i]) * 1000; continue; }
        if (count == MANY || !(targets[count] = calloc(1, sizeof **targets)) || !parse(targets[count], argv[i])) {
            fprintf(stderr, "probe: cannot read target %s\n", argv[i]);
            return 2;
        }
        count++;
    }
    for (int i = 0; i < count; i++) begin(targets[i]);
    for (long long deadline = now_us() + limit;;) {
        struct pollfd polls[MANY];
        struct target *waiting[MANY];
        int n = 0;
        long long now = now_us();
        for (int i = 0; i < count; i++) {
            struct target *t = targets[i];
            if (t->done) continue;
            if (now >= deadline) { finish(t, "timeout"); continue; }
            /* A datagram may be lost before the neighbour is known: ask again, as every resolver does. */
            if (t->kind != HTTP && now - t->sent > 500000) { send_request(t); if (t->done) continue; }
            polls[n] = (struct pollfd){.fd = t->fd, .events = t->connected ? POLLIN : POLLOUT};
            waiting[n++] = t;
        }
        if (!n) break;
        long long wait = (deadline - now) / 1000 + 1;
        poll(polls, n, wait < 100 ? (int)wait : 100);
        for (int i = 0; i < n; i++) if (polls[i].revents) take(waiting[i]);
    }
    for (int i = 0; i < count; i++) {
        struct target *t = targets[i];
        printf("{\"target\":\"%s\",\"ok\":%s,\"%s\":\"%s\",\"error\":\"%s\",\"us\":%lld}\n", t->text,
               t->error ? "false" : "true", t->kind == DNS ? "address" : "client", t->seen, t->error ? t->error : "",
               t->ended - t->began);
        failed |= t->error != 0;
    }
    return failed;
}
