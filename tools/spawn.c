/* Starts a process where it belongs: in a node's namespaces, cgroups and mounts, detached, logging to a file.
 *
 *   spawn [--log FILE] [--cgroup DIR]... [--leaf NAME] [--join PID | --netns FILE --unshare] [--hostname NAME]
 *         [--tmpfs DIR]... [--bind SOURCE TARGET]... [--sys] [--nofile N] -- PROGRAM ARGUMENT...
 *
 * Prints the started process's pid, as the caller sees it, and ends. --join enters every namespace of PID.
 * --unshare makes new mount, uts, ipc, cgroup and pid namespaces, where PROGRAM becomes PID 1: killing it is the
 * crash of the node. --leaf moves on into a folder below DIR once DIR is the root of the new cgroup namespace: cgroup v2
 * passes controllers on only from a folder without processes. --sys gives the new node its own /proc, /sys, cgroup mounts and bpffs. A supervisor written in
 * Python cannot do this itself without forking a large process; this costs a millisecond.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 64
#define NEW_NAMESPACES (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWCGROUP)

struct bind { const char *source, *target; int fd; };
struct cgroup_mount { char target[PATH_MAX], type[16], options[256]; };

static struct cgroup_mount cgroup_mounts[MANY];
static int cgroup_mount_count;

static void fail(const char *format, ...) {
    int number = errno;
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "spawn: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, ": %s\n", strerror(number));
    exit(1);
}

static void make_folders(const char *path) {
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    for (char *slash = copy + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(copy, 0755);
        *slash = '/';
    }
    mkdir(copy, 0755);
}

/* The mount point must exist; /etc/resolv.conf may be a link into a /run that the node does not see. */
static void make_target(const char *path, int is_folder) {
    char target[PATH_MAX], link[PATH_MAX], parent[PATH_MAX];
    ssize_t length = readlink(path, link, sizeof link - 1);
    snprintf(target, sizeof target, "%s", path);
    if (length > 0) {
        link[length] = 0;
        if (link[0] == '/') snprintf(target, sizeof target, "%s", link);
        else {
            snprintf(parent, sizeof parent, "%s", path);
            *strrchr(parent, '/') = 0;
            if (snprintf(target, sizeof target, "%s/%s", parent, link) >= (int)sizeof target) fail("%s", path);
        }
    }
    if (is_folder) { make_folders(target); return; }
    snprintf(parent, sizeof parent, "%s", target);
    *strrchr(parent, '/') = 0;
    make_folders(parent);
    int fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0) close(fd);
}

static void join_cgroup(const char *folder) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/cgroup.procs", folder);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1) fail("join cgroup %s", folder);
    close(fd);
}

/* A new cpuset folder (v1) accepts no process until it has cpus and mems. */
static void prepare_cpuset(const char *folder) {
    const char *files[] = {"cpuset.cpus", "cpuset.mems"};
    for (int i = 0; i < 2; i++) {
        char from[PATH_MAX], to[PATH_MAX], value[256];
        snprintf(from, sizeof from, "%s/../%s", folder, files[i]);
        snprintf(to, sizeof to, "%s/%s", folder, files[i]);
        int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CLOEXEC);
        ssize_t n = in >= 0 && out >= 0 ? read(in, value, sizeof value) : 0;
        if (n > 1 && write(out, value, n) != n) fail("copy %s", from);
        if (in >= 0) close(in);
        if (out >= 0) close(out);
    }
}

static void make_cgroup(const char *folder) {
    char copy[PATH_MAX];
    make_folders(folder);
    snprintf(copy, sizeof copy, "%s", folder);
    for (char *slash = copy + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        prepare_cpuset(copy);
        *slash = '/';
    }
    prepare_cpuset(copy);
}

static void remember_cgroup_mounts(void) {
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char line[4096];
    if (!mounts) fail("read /proc/self/mountinfo");
    while (fgets(line, sizeof line, mounts) && cgroup_mount_count < MANY) {
        struct cgroup_mount *m = &cgroup_mounts[cgroup_mount_count];
        char *tail = strstr(line, " - cgroup");
        if (!tail || sscanf(line, "%*s %*s %*s %*s %4095s", m->target) != 1) continue;
        if (sscanf(tail, " - %15s %*s %255s", m->type, m->options) == 2) cgroup_mount_count++;
    }
    fclose(mounts);
}

static void mount_sys(void) {
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0)) fail("mount /proc");
    if (mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0)) fail("mount /sys");
    int pure = cgroup_mount_count == 1 && !strcmp(cgroup_mounts[0].target, "/sys/fs/cgroup");
    if (!pure && mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, "mode=755")) fail("mount /sys/fs/cgroup");
    for (int i = 0; i < cgroup_mount_count; i++) {
        struct cgroup_mount *m = &cgroup_mounts[i];
        char *options = !strncmp(m->options, "rw,", 3) ? m->options + 3 : m->options;
        int v2 = !strcmp(m->type, "cgroup2");
        make_folders(m->target);
        if (mount("cgroup", m->target, m->type, MS_NOSUID | MS_NODEV | MS_NOEXEC, v2 ? 0 : options))
            fail("mount %s (%s)", m->target, options);
    }
    if (mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=700")) fail("mount /sys/fs/bpf");
}

static void attach_log(const char *path) {
    int in = open("/dev/null", O_RDONLY), out = open(path ? path : "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0640);
    if (in < 0 || out < 0) fail("open %s", path ? path : "/dev/null");
    dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    if (in > 2) close(in);
    if (out > 2) close(out);
}

int main(int argc, char **argv) {
    static struct bind binds[MANY];
    static const char *tmpfs[MANY], *cgroups[MANY];
    const char *log = 0, *netns = 0, *hostname = 0, *leaf = 0;
    int bind_count = 0, tmpfs_count = 0, cgroup_count = 0, unshared = 0, sys = 0, i, nofile = 0;
    pid_t join = 0;
    for (i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (bind_count == MANY || tmpfs_count == MANY || cgroup_count == MANY) { errno = E2BIG; fail("arguments"); }
        if (!strcmp(argv[i], "--unshare")) unshared = 1;
        else if (!strcmp(argv[i], "--sys")) sys = 1;
        else if (i + 1 >= argc) { errno = EINVAL; fail("%s", argv[i]); }
        else if (!strcmp(argv[i], "--log")) log = argv[++i];
        else if (!strcmp(argv[i], "--netns")) netns = argv[++i];
        else if (!strcmp(argv[i], "--hostname")) hostname = argv[++i];
        else if (!strcmp(argv[i], "--leaf")) leaf = argv[++i];
        else if (!strcmp(argv[i], "--join")) join = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--nofile")) nofile = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--cgroup")) cgroups[cgroup_count++] = argv[++i];
        else if (!strcmp(argv[i], "--tmpfs")) tmpfs[tmpfs_count++] = argv[++i];
        else if (!strcmp(argv[i], "--bind") && i + 2 < argc) {
            binds[bind_count].source = argv[++i];
            binds[bind_count++].target = argv[++i];
        } else { errno = EINVAL; fail("%s", argv[i]); }
    }
    if (++i >= argc) { errno = EINVAL; fail("a program is wanted after --"); }

    int log_fd = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640) : -1;
    if (log && log_fd < 0) fail("open %s", log);
    for (int c = 0; c < cgroup_count; c++) {
        make_cgroup(cgroups[c]);
        join_cgroup(cgroups[c]);
    }
    if (join) {
        int target = syscall(SYS_pidfd_open, join, 0);
        if (target < 0 || setns(target, NEW_NAMESPACES | CLONE_NEWNET)) fail("enter the namespaces of process %d", join);
        close(target);
    }
    if (netns) {
        int fd = open(netns, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || setns(fd, CLONE_NEWNET)) fail("enter network namespace %s", netns);
        close(fd);
    }
    if (unshared) {
        remember_cgroup_mounts();
        if (unshare(NEW_NAMESPACES)) fail("unshare");
        if (mount(0, "/", 0, MS_REC | MS_SLAVE, 0) || mount(0, "/", 0, MS_REC | MS_SHARED, 0)) fail("propagation of /");
        for (int c = 0; leaf && c < cgroup_count; c++) {
            char folder[PATH_MAX];
            snprintf(folder, sizeof folder, "%s/%s", cgroups[c], leaf);
            make_cgroup(folder);
            join_cgroup(folder);
        }
    }
    /* Opened before the first mount: a target may hide a later source. After unshare: a mount binds in its own namespace only. */
    for (int b = 0; b < bind_count; b++)
        if ((binds[b].fd = open(binds[b].source, O_PATH | O_CLOEXEC)) < 0) fail("open %s", binds[b].source);

    int ready[2];
    if (pipe2(ready, O_CLOEXEC)) fail("pipe");
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child) {
        char problem[512];
        close(ready[1]);
        ssize_t n, failed = 0;
        while ((n = read(ready[0], problem, sizeof problem)) > 0) { /* closed by exec: success; a text: what failed */
            fwrite(problem, 1, n, stderr);
            failed = 1;
        }
        if (failed) { waitpid(child, 0, 0); return 1; }
        printf("%d\n", child);
        return 0;
    }
    setsid();
    dup2(ready[1], 2);
    if (hostname && sethostname(hostname, strlen(hostname))) fail("hostname %s", hostname);
    for (int t = 0; t < tmpfs_count; t++) {
        make_folders(tmpfs[t]);
        if (mount("tmpfs", tmpfs[t], "tmpfs", MS_NOSUID, "mode=755")) fail("tmpfs %s", tmpfs[t]);
    }
    for (int b = 0; b < bind_count; b++) {
        char source[64];
        struct stat status;
        snprintf(source, sizeof source, "/proc/self/fd/%d", binds[b].fd);
        if (fstat(binds[b].fd, &status)) fail("stat %s", binds[b].source);
        make_target(binds[b].target, S_ISDIR(status.st_mode));
        if (mount(source, binds[b].target, 0, MS_BIND | MS_REC, 0)) fail("bind %s on %s", binds[b].source, binds[b].target);
    }
    if (sys) mount_sys();
    if (nofile) {
        struct rlimit limit;
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = limit.rlim_max < (rlim_t)nofile ? limit.rlim_max : (rlim_t)nofile;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (join && chdir("/")) fail("chdir /");
    attach_log(0);
    if (log_fd >= 0) { dup2(log_fd, 1); dup2(log_fd, 2); }
    execvp(argv[i], argv + i);
    int number = errno;
    dprintf(ready[1], "spawn: run %s: %s\n", argv[i], strerror(number));
    return 127;
}
