/* A backend in C that does all that the header allows, and much that it forbids: the message says what. */
#include "phone_verify_plugin.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef OVERRIDES
#define OVERRIDES 15
#endif

/* So that macros in it are filled in. */
#define MANIFEST(...) PV_MANIFEST(__VA_ARGS__)

MANIFEST({
    "schema": 1, "library": "rogue", "version": "1.0.0", "abi": {"major": 1, "minor": 0},
    "backends": [{
        "name": "RogueBackend", "summary": "Does what it may not", "sandbox": true, "overrides": OVERRIDES, "hosts": [],
        "options": [
            {"name": "BASE_URL", "type": "string"},
            {"name": "REFUSE", "type": "string"},
            {"name": "COUNT", "type": "integer", "default": 7}
        ]
    }]
});

struct pv_backend {
    const pv_host *host;
    char url[256];
    char options[256];
    char cancelled[64];
    int alive;
};

static int is(pv_text text, const char *expected) {
    return text.length == strlen(expected) && memcmp(text.data, expected, text.length) == 0;
}

static pv_text text(const char *data) {
    return (pv_text){data, strlen(data)};
}

static void done_with(const pv_host *host, uint64_t call, const char *answer) {
    pv_outcome outcome = {.size = sizeof outcome, .text = text(answer)};
    host->complete(host, call, &outcome);
}

struct asked {
    pv_backend *backend;
    uint64_t call;
};

static struct asked *ask(pv_backend *backend, uint64_t call) {
    struct asked *asked = malloc(sizeof *asked);
    *asked = (struct asked){backend, call};
    return asked;
}

/* Tells what came of a question as the answer of the call. */
static void told(void *user, const pv_outcome *outcome) {
    struct asked asked = *(struct asked *)user;
    free(user);
    if (outcome->error != NULL) {
        snprintf(asked.backend->cancelled, sizeof asked.backend->cancelled, "%.*s",
                 (int)outcome->error->code.length, outcome->error->code.data);
    }
    asked.backend->host->complete(asked.backend->host, asked.call, outcome);
}

static void fetched(void *user, const pv_http_response *response, const pv_error *error) {
    struct asked asked = *(struct asked *)user;
    const pv_host *host = asked.backend->host;
    free(user);
    if (error != NULL) {
        pv_outcome outcome = {.size = sizeof outcome, .error = error};
        host->complete(host, asked.call, &outcome);
        return;
    }
    char answer[256];
    snprintf(answer, sizeof answer, "%u %.*s", response->status, (int)response->body.length, response->body.data);
    done_with(host, asked.call, answer);
}

/* Waits for a message that has ended, and asks again for it; then answers its call. */
static void fetched_late(void *user, const pv_http_response *response, const pv_error *error) {
    struct asked asked = *(struct asked *)user;
    free(user);
    (void)response;
    done_with(asked.backend->host, asked.call, error != NULL && is(error->code, "call_over") ? "refused" : "taken");
}

static void fetch(pv_backend *backend, uint64_t call, uint64_t as, pv_http_done done) {
    pv_pair header = {PV_TEXT("x-rogue"), PV_TEXT("1")};
    pv_http_request request = {.size = sizeof request,
                               .method = PV_TEXT("POST"),
                               .url = text(backend->url),
                               .headers = &header,
                               .header_count = 1,
                               .body = PV_TEXT("hello")};
    backend->host->http(backend->host, as, &request, ask(backend, call), done);
}

static void *on_a_thread(void *user) {
    struct asked asked = *(struct asked *)user;
    free(user);
    fetch(asked.backend, asked.call, asked.call, fetched);
    return NULL;
}

static void send_sms(pv_backend *backend, const pv_call *call, const pv_sms *sms) {
    const pv_host *host = backend->host;
    uint64_t id = call->id;
    char answer[512];
#ifdef ALWAYS /* what every message says, for those who write messages of their own */
    pv_sms always = *sms;
    always.message = text(ALWAYS);
    sms = &always;
#endif
    if (is(sms->message, "names")) {
        unsigned char random[16] = {0};
        host->random(host, random, sizeof random);
        int is_random = 0;
        for (size_t at = 0; at < sizeof random; at++) is_random |= random[at];
        snprintf(answer, sizeof answer, "%.*s %.*s %.*s %d %d %d", (int)call->request_id.length,
                 call->request_id.data, (int)call->idempotency_key.length, call->idempotency_key.data,
                 (int)call->locale.length, call->locale.data, host->now_unix_ms(host) > 0,
                 call->deadline_monotonic_ns > host->monotonic_ns(host), is_random != 0);
        done_with(host, id, answer);
    } else if (is(sms->message, "options")) {
        done_with(host, id, backend->options);
    } else if (is(sms->message, "log")) {
        pv_pair field = {PV_TEXT("to"), sms->number};
        host->log(host, PV_LEVEL_WARN, (pv_text)PV_TEXT("rogue says"), &field, 1);
        done_with(host, id, "logged");
    } else if (is(sms->message, "sleep") || is(sms->message, "sleep long")) {
        host->sleep(host, id, is(sms->message, "sleep") ? 2 : 3600000, ask(backend, id), told);
    } else if (is(sms->message, "fetch")) {
        fetch(backend, id, id, fetched);
    } else if (is(sms->message, "thread")) {
        pthread_t thread;
        pthread_create(&thread, NULL, on_a_thread, ask(backend, id));
        pthread_detach(thread);
    } else if (is(sms->message, "again")) {
        done_with(host, id, "once");
        done_with(host, id, "twice");
    } else if (is(sms->message, "nobody's")) {
        done_with(host, id + 1000, "nobody's");
        done_with(host, id, "mine");
    } else if (is(sms->message, "last")) {
        /* The call before, which is long over. */
        done_with(host, id - 1, "late");
        fetch(backend, id, id - 1, fetched_late);
    } else if (is(sms->message, "blocks")) {
        nanosleep(&(struct timespec){.tv_nsec = 80000000}, NULL);
        done_with(host, id, "late");
    } else if (is(sms->message, "never")) {
        return;
    } else if (is(sms->message, "cancelled?")) {
        done_with(host, id, backend->cancelled);
    } else if (is(sms->message, "short")) {
        pv_outcome outcome = {.size = 4};
        host->complete(host, id, &outcome);
    } else if (is(sms->message, "nothing")) {
        host->complete(host, id, NULL);
    } else {
        pv_error error = {.size = sizeof error,
                          .kind = PV_KIND_NO_CREDIT,
                          .http_status = 402,
                          .retry_after_ms = 5000,
                          .code = PV_TEXT("rogue_402"),
                          .message = sms->message};
        pv_outcome outcome = {.size = sizeof outcome, .error = &error};
        host->complete(host, id, &outcome);
    }
}

static void send_bulk_sms(pv_backend *backend, const pv_call *call, const pv_bulk *bulk) {
    const pv_host *host = backend->host;
    for (size_t at = 0; at < bulk->number_count; at++) {
        pv_outcome outcome = {.size = sizeof outcome, .text = bulk->numbers[at]};
        host->settle(host, call->id, at, &outcome);
    }
    done_with(host, call->id, "");
}

static void generate_security_code(pv_backend *backend, const pv_call *call) {
    backend->host->base_security_code(backend->host, call->id, ask(backend, call->id), told);
}

static void generate_message(pv_backend *backend, const pv_call *call, const pv_message_request *request) {
    if (request->context_count == 0) {
        pv_outcome none = {.size = sizeof none};
        backend->host->complete(backend->host, call->id, &none);
        return;
    }
    backend->host->base_message(backend->host, call->id, request->context[0].value, ask(backend, call->id), told);
}

static void validate_security_code(pv_backend *backend, const pv_call *call, const pv_check *check) {
    if (is(check->session_token, "open-sesame")) {
        pv_outcome valid = {.size = sizeof valid, .verdict = PV_VERDICT_VALID};
        backend->host->complete(backend->host, call->id, &valid);
        return;
    }
    backend->host->base_validate(backend->host, call->id, check->security_code, ask(backend, call->id), told);
}

static void cancel(pv_backend *backend, uint64_t call) {
    snprintf(backend->cancelled, sizeof backend->cancelled, "cancelled");
    done_with(backend->host, call, "too late for anybody");
}

static void destroy(pv_backend *backend) {
    if (!backend->alive) abort();
    backend->alive = 0;
    backend->host->log(backend->host, PV_LEVEL_WARN, (pv_text)PV_TEXT("rogue is destroyed"), NULL, 0);
    free(backend);
}

static pv_backend *create(pv_text name, const pv_host *host, const pv_pair *options, size_t count) {
    pv_backend *backend = calloc(1, sizeof *backend);
    size_t written = 0;
    if (!is(name, "RogueBackend")) abort();
    backend->host = host;
    backend->alive = 1;
    for (size_t at = 0; at < count; at++) {
        pv_text option = options[at].name, value = options[at].value;
        if (is(option, "base_url")) {
            snprintf(backend->url, sizeof backend->url, "%.*s", (int)value.length, value.data);
            continue;
        }
        if (is(option, "refuse")) {
            pv_error error = {.size = sizeof error, .kind = PV_KIND_CONFIG, .code = PV_TEXT("no"), .message = value};
            if (!is(value, "silently")) host->refuse(host, &error);
            free(backend);
            return NULL;
        }
        written += (size_t)snprintf(backend->options + written, sizeof backend->options - written, "%.*s=%.*s;",
                                    (int)option.length, option.data, (int)value.length, value.data);
    }
    return backend;
}

#ifndef SIZE
#define SIZE sizeof(pv_plugin_entry)
#endif
#ifndef MAJOR
#define MAJOR PV_ABI_MAJOR
#endif
#ifndef SEND
#define SEND send_sms
#endif

#ifndef BULK
#define BULK send_bulk_sms
#endif
#ifndef GENERATE
#define GENERATE generate_security_code
#endif
#ifndef WRITE
#define WRITE generate_message
#endif
#ifndef VALIDATE
#define VALIDATE validate_security_code
#endif

#ifndef ENTRY
#define ENTRY pv_plugin_entry_v1
#endif

PV_EXPORT const pv_plugin_entry ENTRY = {
    .size = SIZE,
    .abi_major = MAJOR,
    .abi_minor = PV_ABI_MINOR,
    .create = create,
    .destroy = destroy,
    .send_sms = SEND,
    .cancel = cancel,
    .send_bulk_sms = BULK,
    .generate_security_code = GENERATE,
    .generate_message = WRITE,
    .validate_security_code = VALIDATE,
};
