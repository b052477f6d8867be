/* The plugin executable: hands one CNI invocation to the node's agent and copies the answer out.
 *
 * The problem: a container runtime starts a program per pod and verb, so that program must start in about a
 * millisecond, need nothing on the host, and be safe to kill (and its agent with it) at any point. So this one
 * parses nothing. Everything the agent needs goes out in one length-prefixed frame, and only a whole answer comes
 * out: a frame cut short on either side is no frame.
 *
 *   request:  "PLR1" u32 environment_bytes u32 stdin_bytes  (NAME=value NUL)... stdin
 *   answer:   "PLA1" u32 exit_code         u32 stdout_bytes stdout              (little endian)
 *
 * The environment part holds every CNI_* variable and PODLOOM_PLUGIN, the name this file was started under
 * (azure-vnet, azure-vnet-ipam).
 *
 * Without an agent, or when it vanishes in the middle: ADD, CHECK and GC are error 11 (try again later), STATUS is
 * error 50 (plugin not available), and DEL is kept durably in the spool folder, which the agent empties, and succeeds: a
 * runtime must always be able to remove a pod (CNI specification, DEL). VERSION has a constant answer and never
 * needs the agent. PODLOOM_SOCKET and PODLOOM_SPOOL replace the default places.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT = 8 << 20, HEADER = 12, TIMEOUT_S = 60 };

extern char **environ;
static char frame[HEADER + LIMIT];
static char answer[LIMIT];
static size_t length = HEADER;

static int fail(int code, const char *message, const char *details)
{
    printf("{\"cniVersion\":\"1.0.0\",\"code\":%d,\"msg\":\"%s\",\"details\":\"%s\"}\n", code, message, details);
    return 1;
}

static void put_u32(char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (char)(value >> (8 * i));
}

static uint32_t get_u32(const char *at)
{
    const unsigned char *byte = (const unsigned char *)at;
    return byte[0] | byte[1] << 8 | byte[2] << 16 | (uint32_t)byte[3] << 24;
}

static int append(const char *name, const char *value)
{
    size_t a = strlen(name), b = strlen(value) + 1;
    if (a + b > sizeof frame - length)
        return -1;
    memcpy(frame + length, name, a);
    memcpy(frame + length + a, value, b);
    length += a + b;
    return 0;
}

/* Reads standard input and the environment into `frame`; -1 when they exceed LIMIT or cannot be read. */
static int build(const char *plugin)
{
    const char *slash = strrchr(plugin, '/');
    if (append("PODLOOM_PLUGIN=", slash ? slash + 1 : plugin))
        return -1;
    for (char **variable = environ; *variable; variable++)
        if (!strncmp(*variable, "CNI_", 4) && append("", *variable))
            return -1;
    size_t environment = length - HEADER;
    for (ssize_t n; (n = read(0, frame + length, sizeof frame - length)) != 0; length += (size_t)n) {
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n < 0)
            return -1;
        if (length + (size_t)n == sizeof frame)
            return -1;
    }
    memcpy(frame, "PLR1", 4);
    put_u32(frame + 4, (uint32_t)environment);
    put_u32(frame + 8, (uint32_t)(length - HEADER - environment));
    return 0;
}

static int write_all(int fd, const char *from, size_t size)
{
    while (size) {
        ssize_t n = write(fd, from, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        from += n;
        size -= (size_t)n;
    }
    return 0;
}

static int receive_all(int fd, char *to, size_t size)
{
    while (size) {
        ssize_t n = recv(fd, to, size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        to += n;
        size -= (size_t)n;
    }
    return 0;
}

/* Asks the agent and prints its answer; the exit code, or -1 when no whole answer came (nothing printed then). */
static int ask(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    if (strlen(path) >= sizeof address.sun_path)
        return -1;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) ||
        connect(fd, (struct sockaddr *)&address, sizeof address))
        return -1;
    for (size_t sent = 0; sent < length;) {
        ssize_t n = send(fd, frame + sent, length - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        sent += (size_t)n;
    }
    char header[HEADER];
    if (receive_all(fd, header, HEADER) || memcmp(header, "PLA1", 4))
        return -1;
    uint32_t size = get_u32(header + 8);
    if (size > sizeof answer || receive_all(fd, answer, size))
        return -1;
    return write_all(1, answer, size) ? 1 : (int)get_u32(header + 4);
}

/* Keeps the request in the spool folder: written aside, synced, renamed, the folder synced. 0 when it will last. */
static int spool(const char *folder)
{
    char name[80];
    struct timespec now;
    mkdir("/var/lib/podloom", 0700);
    mkdir(folder, 0700);
    int directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -1;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(name, sizeof name, ".%012lld.%09ld.%d", (long long)now.tv_sec, now.tv_nsec, (int)getpid());
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write_all(fd, frame, length) || fsync(fd) || close(fd) ||
        renameat(directory, name, directory, name + 1) || fsync(directory)) {
        unlinkat(directory, name, 0);
        return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *command = getenv("CNI_COMMAND"), *path = getenv("PODLOOM_SOCKET"), *folder = getenv("PODLOOM_SPOOL");
    if (!command || !*command)
        return fail(4, "CNI_COMMAND is not set", "this is a CNI plugin: a container runtime starts it");
    if (build(argc ? argv[0] : "azure-vnet"))
        return fail(6, "read the network configuration: too large or unreadable", "at most 8 MiB are accepted");
    if (!strcmp(command, "VERSION")) {
        puts("{\"cniVersion\":\"1.1.0\",\"supportedVersions\":"
             "[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}");
        return 0;
    }
    int code = ask(path ? path : "/run/podloom/agent.sock");
    if (code >= 0)
        return code;
    if (!strcmp(command, "DEL"))
        return spool(folder ? folder : "/var/lib/podloom/spool")
                   ? fail(11, "DEL: the agent does not answer and the spool folder cannot be written", "try again later")
                   : 0;
    if (!strcmp(command, "STATUS"))
        return fail(50, "the podloom agent does not answer", "wait for the agent to start on this node");
    return fail(11, "the podloom agent does not answer", "try again later");
}
