/* Tries what the sandbox of a worker process forbids, and sends only if all of it was refused. */
#define _GNU_SOURCE
#include "phone_verify_plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

PV_MANIFEST({"schema": 1, "library": "prober", "version": "0.1.0", "abi": {"major": 1, "minor": 0},
             "backends": [{"name": "ProberBackend", "overrides": 2, "sandbox": true}]});

struct pv_backend {
    const pv_host *host;
};
static pv_backend only;

static pv_backend *create(pv_text name, const pv_host *host, const pv_pair *options, size_t count) {
    (void)name, (void)options, (void)count;
    only.host = host;
    return &only;
}

static void destroy(pv_backend *backend) { (void)backend; }

/* What was possible, or NULL. */
static const char *escape(void) {
    if (open("/etc/hostname", O_RDONLY) >= 0 || errno != EPERM) return "a file was read";
    if (open("/tmp/new", O_WRONLY | O_CREAT, 0600) >= 0 || errno != EPERM) return "a file was written";
    if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || errno != EPERM) return "a socket was made";
    if (kill(getppid(), 0) == 0 || errno != EPERM) return "the host was signalled";
    pid_t child = fork();
    if (child == 0) _exit(0);
    if (child > 0 || errno != EPERM) return "a process was started";
    void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code != MAP_FAILED || errno != EPERM) return "memory was made executable";
    return NULL;
}

static void send_sms(pv_backend *backend, const pv_call *call, const pv_sms *sms) {
    (void)sms;
    const char *escaped = escape();
    pv_error error = {.size = sizeof error, .kind = PV_KIND_INTERNAL, .code = PV_TEXT("escaped")};
    pv_outcome outcome = {.size = sizeof outcome};
    if (escaped) {
        error.message = (pv_text){escaped, strlen(escaped)};
        outcome.error = &error;
    }
    backend->host->complete(backend->host, call->id, &outcome);
}

static void generate_security_code(pv_backend *backend, const pv_call *call) {
    pv_outcome outcome = {.size = sizeof outcome, .text = PV_TEXT("123456")};
    backend->host->complete(backend->host, call->id, &outcome);
}

static void cancel(pv_backend *backend, uint64_t call) { (void)backend, (void)call; }

const pv_plugin_entry pv_plugin_entry_v1 = {
    .size = sizeof(pv_plugin_entry),
    .abi_major = PV_ABI_MAJOR,
    .abi_minor = PV_ABI_MINOR,
    .create = create,
    .destroy = destroy,
    .send_sms = send_sms,
    .cancel = cancel,
    .generate_security_code = generate_security_code,
};
