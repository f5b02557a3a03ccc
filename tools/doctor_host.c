/* This host: what a node is going to find. */
#include "tools/doctor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <math.h>
#include <net/if.h>
#include <netdb.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

enum {
    FILES_LEAST = 128,   /* a node with a few peers */
    FILES_ENOUGH = 1024, /* and one with as many as there can be */
    MTU_LEAST = 576,     /* that IPv4 promises */
    MTU_USUAL = 1500,
};

static const double MEMORY_LEAST = 256e6, DISK_LEAST = 100e6;

/* The first line of a file without its end; 0 when there is none. */
static int read_line(const char *path, char *line, size_t room)
{
    FILE *file = fopen(path, "r");
    int got = file && fgets(line, (int)room, file) != NULL;
    if (file)
        fclose(file);
    if (got)
        line[strcspn(line, "\n")] = 0;
    return got;
}

static void look_at_processor(struct doctor *doctor)
{
    char governor[64];
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    unsigned cores =
        sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? (unsigned)CPU_COUNT(&allowed) : 1;
    unsigned threads = doctor->cli->node.train.threads;
    const char *isa = hm_kernels_find("auto")->name;
    doctor_say(doctor, FINE, "program", NULL, "version %s, protocol %d", HM_VERSION,
               HM_WIRE_VERSION);
    if (strcmp(isa, "ref") == 0 || strcmp(isa, "sse2") == 0)
        doctor_say(doctor, NOTE, "processor",
                   "nothing to be done on this machine; in a virtual one, let it see the host's "
                   "processor (cpu=host)",
                   "kernels for %s: training is several times as fast with AVX2 or AVX-512", isa);
    else
        doctor_say(doctor, FINE, "processor", NULL, "%u to run on, kernels for %s", cores, isa);
    if (threads > cores)
        doctor_say(doctor, WARNING, "threads", "give fewer by -t, at most as many as processors",
                   "%u threads on %u processors slow each other down, and deltas come late",
                   threads, cores);
    if (read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor,
                  sizeof governor) &&
        strcmp(governor, "performance") != 0)
        doctor_say(doctor, NOTE, "processor",
                   "for even speed: cpupower frequency-set -g performance",
                   "frequency governor '%s' may lower the clock", governor);
}

static void look_at_memory(struct doctor *doctor)
{
    char line[128];
    double available = NAN, limit = NAN;
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "MemAvailable:", 13) == 0)
            available = 1024 * strtod(line + 13, NULL);
    if (file)
        fclose(file);
    if (read_line("/sys/fs/cgroup/memory.max", line, sizeof line) && line[0] != 'm')
        limit = strtod(line, NULL);
    double least = fmin(available, limit);
    if (least < MEMORY_LEAST)
        doctor_say(doctor, WARNING, "memory",
                   "end other programs, or raise the container's limit; --log-bytes bounds the "
                   "largest part",
                   "%.0f MB are to be had; a node takes 20 MB and several times its model",
                   least / 1e6);
    else if (isfinite(least))
        doctor_say(doctor, FINE, "memory", NULL, "%.1f GB are to be had", least / 1e9);
}

static void look_at_files(struct doctor *doctor)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    unsigned long long n = files.rlim_cur;
    if (n < FILES_LEAST)
        doctor_say(doctor, BROKEN, "open files", "ulimit -n 4096",
                   "at most %llu: too few for sockets and connections", n);
    else if (n < FILES_ENOUGH)
        doctor_say(doctor, WARNING, "open files", "ulimit -n 4096",
                   "at most %llu: too few for a large mesh", n);
    else
        doctor_say(doctor, FINE, "open files", NULL, "at most %llu", n);
}

static void look_at_clock(struct doctor *doctor)
{
    struct timex clock = {0};
    if (adjtimex(&clock) == TIME_ERROR)
        doctor_say(doctor, NOTE, "clock", "start a time service, such as chrony",
                   "nobody sets it; nothing in a mesh goes by it, but logs do");
}

static void look_at_key(struct doctor *doctor)
{
    struct hm_err err = {""};
    struct hm_keys keys;
    if (!doctor->cli->node.key)
        return;
    if (hm_keys_read(&keys, doctor->cli->node.key, &err))
        doctor_say(doctor, BROKEN, "key", NULL, "%s", err.text);
    else
        doctor_say(doctor, FINE, "key", NULL, "%s%s", keys.key[0].fingerprint,
                   keys.n > 1 ? ", and others to dial with" : "");
    hm_keys_wipe(&keys);
}

static void look_at_folder(struct doctor *doctor)
{
    const char *out = doctor->cli->out;
    struct statvfs disk;
    if (!out)
        return;
    if (statvfs(out, &disk) != 0 || access(out, W_OK | X_OK) != 0) {
        doctor_say(doctor, errno == ENOENT ? NOTE : BROKEN, "folder",
                   errno == ENOENT ? "a node makes it; see that its parent may be written to"
                                   : "give another --out, or chown it",
                   "%s: %s", out, strerror(errno));
        return;
    }
    double room = (double)disk.f_bavail * (double)disk.f_frsize;
    if (room < DISK_LEAST)
        doctor_say(doctor, WARNING, "folder", "make room, or give another --out",
                   "%s has %.0f MB left; a checkpoint takes several times the model", out,
                   room / 1e6);
    else
        doctor_say(doctor, FINE, "folder", NULL, "%s may be written to, %.1f GB left", out,
                   room / 1e9);
}

void doctor_host(struct doctor *doctor)
{
    look_at_processor(doctor);
    look_at_memory(doctor);
    look_at_files(doctor);
    look_at_clock(doctor);
    look_at_key(doctor);
    look_at_folder(doctor);
}

/* ---- interfaces ---- */

static int mtu_of(const char *name)
{
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    int known = fd >= 0 && ioctl(fd, SIOCGIFMTU, &request) == 0;
    if (fd >= 0)
        close(fd);
    return known ? request.ifr_mtu : -1;
}

static void say_interface(struct doctor *doctor, const char *about, const char *name,
                          const char *address)
{
    int mtu = mtu_of(name);
    if (mtu >= 0 && mtu < MTU_LEAST)
        doctor_say(doctor, BROKEN, about, "ip link set dev INTERFACE mtu 1500",
                   "%s by %s, whose MTU is %d: less than IP promises", address, name, mtu);
    else if (mtu >= 0 && mtu < MTU_USUAL)
        doctor_say(doctor, WARNING, about,
                   "right for tunnels; otherwise ip link set dev INTERFACE mtu 1500",
                   "%s by %s, whose MTU is %d: small packets, and where routers drop larger ones "
                   "silently, nothing large comes through",
                   address, name, mtu);
    else
        doctor_say(doctor, FINE, about, NULL, "%s by %s, MTU %d", address, name, mtu);
}

void doctor_interface(struct doctor *doctor, const char *about, const char *address)
{
    char host[HM_ENDPOINT_MAX + 1], text[INET_ADDRSTRLEN];
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *wanted;
    struct ifaddrs *all;
    snprintf(host, sizeof host, "%.*s", (int)strcspn(address, ":"), address);
    if (getaddrinfo(host, NULL, &hints, &wanted) != 0)
        return;
    const struct sockaddr_in *to = (const void *)wanted->ai_addr;
    int loopback = ntohl(to->sin_addr.s_addr) >> 24 == 127;
    inet_ntop(AF_INET, &to->sin_addr, text, sizeof text);
    if (getifaddrs(&all) != 0)
        all = NULL;
    for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
        const struct sockaddr_in *own = (const void *)a->ifa_addr;
        if (!own || own->sin_family != AF_INET)
            continue;
        if (own->sin_addr.s_addr == to->sin_addr.s_addr ||
            (loopback && (a->ifa_flags & IFF_LOOPBACK))) {
            say_interface(doctor, about, a->ifa_name, text);
            break;
        }
    }
    if (all)
        freeifaddrs(all);
    freeaddrinfo(wanted);
}
