/* Sends an SMS through Acme: `POST {base_url}/messages` with JSON, answered by 202 with an id. The provider and the
 * options are those of ../custom-backend; this one is written in C. */
#include "phone_verify_plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

PV_MANIFEST({
    "schema": 1,
    "library": "acme",
    "version": "0.1.0",
    "license": "MIT OR Apache-2.0",
    "abi": {"major": 1, "minor": 1},
    "backends": [{
        "name": "AcmeBackend",
        "summary": "Sends through Acme, from C",
        "hosts": ["api.acme.example"],
        "overrides": 16,
        "webhook": "signed",
        "receipts": "handset",
        "options": [
            {"name": "KEY", "type": "string", "required": true, "secret": true, "help": "The API key of the account."},
            {"name": "FROM", "type": "string", "required": true, "help": "The sender id.", "example": "+1232328372987"},
            {"name": "BASE_URL", "type": "string", "default": "https://api.acme.example",
             "help": "Where Acme listens."}
        ]
    }]
});

struct pv_backend {
    const pv_host *host;
    char *key;
    char *authorization; /* Bearer <key> */
    char *from;
    char *url;
};

/* A call that waits for the answer of Acme. */
struct sending {
    pv_backend *backend;
    uint64_t call;
};

/* A growing text. `data` is NULL after an allocation failed; appending then does nothing. */
struct buffer {
    char *data;
    size_t length, capacity;
};

static void add(struct buffer *buffer, const char *data, size_t length) {
    if (buffer->data == NULL) return;
    if (length > buffer->capacity - buffer->length) {
        size_t capacity = 2 * buffer->capacity + length;
        char *more = realloc(buffer->data, capacity);
        if (more == NULL) free(buffer->data);
        buffer->data = more;
        buffer->capacity = capacity;
        if (more == NULL) return;
    }
    memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
}

/* Appends the JSON member `"name":"value"`, escaped. */
static void add_member(struct buffer *buffer, const char *name, const char *value, size_t length) {
    add(buffer, "\"", 1);
    add(buffer, name, strlen(name));
    add(buffer, "\":\"", 3);
    for (size_t at = 0; at < length; at++) {
        unsigned char byte = (unsigned char)value[at];
        char escape[7];
        if (byte == '"' || byte == '\\') {
            add(buffer, "\\", 1);
        } else if (byte < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", byte);
            add(buffer, escape, 6);
            continue;
        }
        add(buffer, value + at, 1);
    }
    add(buffer, "\"", 1);
}

static pv_text text(const char *data) {
    return (pv_text){data, strlen(data)};
}

static void fail(pv_backend *backend, uint64_t call, uint16_t kind, uint16_t status, uint64_t retry_after_ms,
                 const char *message) {
    char code[32];
    snprintf(code, sizeof code, status == 422 ? "acme_%u" : "acme_http_%u", status);
    pv_error error = {.size = sizeof error,
                      .kind = kind,
                      .http_status = status,
                      .retry_after_ms = retry_after_ms,
                      .code = text(status == 0 ? "acme_failed" : code),
                      .message = text(message)};
    pv_outcome outcome = {.size = sizeof outcome, .error = &error};
    backend->host->complete(backend->host, call, &outcome);
}

/* The header Retry-After, in milliseconds. The host converts its date form to seconds. */
static uint64_t retry_after_ms(const pv_http_response *response) {
    static const char NAME[] = "retry-after";
    for (size_t at = 0; at < response->header_count; at++) {
        pv_text name = response->headers[at].name, value = response->headers[at].value;
        if (name.length != sizeof NAME - 1 || memcmp(name.data, NAME, name.length) != 0) continue;
        uint64_t seconds = 0;
        for (size_t digit = 0; digit < value.length; digit++) {
            if (value.data[digit] < '0' || value.data[digit] > '9' || seconds > 86400) return 0;
            seconds = 10 * seconds + (uint64_t)(value.data[digit] - '0');
        }
        return 1000 * seconds;
    }
    return 0;
}

/* The value of a member such as `"id":"…"`, whose name is given with its quotes. Acme's values need no escapes, so one
 * with escapes counts as missing. */
static int member(pv_text body, const char *name, pv_text *value) {
    size_t length = strlen(name);
    for (size_t at = 0; at + length < body.length; at++) {
        if (memcmp(body.data + at, name, length) != 0) continue;
        size_t start = at + length;
        while (start < body.length && strchr(" \t\r\n:", body.data[start]) != NULL) start++;
        if (start == body.length || body.data[start++] != '"') return 0;
        size_t end = start;
        while (end < body.length && body.data[end] != '"' && body.data[end] != '\\') end++;
        if (end == body.length || body.data[end] != '"') return 0;
        *value = (pv_text){body.data + start, end - start};
        return 1;
    }
    return 0;
}

/* The kind and message of an HTTP status that is not a success. */
static uint16_t kind_of(uint16_t status, const char **message) {
    switch (status) {
    case 401:
    case 403: *message = "Acme refused the key"; return PV_KIND_AUTH_FAILED;
    case 402: *message = "the account has no credit"; return PV_KIND_NO_CREDIT;
    case 422: *message = "Acme does not take this number"; return PV_KIND_INVALID_NUMBER;
    case 429: *message = "Acme asks for fewer requests"; return PV_KIND_THROTTLED;
    case 503: *message = "Acme is out of order"; return PV_KIND_TRANSIENT;
    }
    if (status == 408 || status >= 500) {
        *message = "Acme failed while it dealt with the request"; /* It may have sent the SMS before. */
        return PV_KIND_OUTCOME_UNKNOWN;
    }
    if (status < 300) {
        *message = "Acme gave an answer that cannot be read";
        return PV_KIND_OUTCOME_UNKNOWN;
    }
    if (status < 400) {
        *message = "Acme answers with a redirect, which is not followed";
        return PV_KIND_CONFIG;
    }
    *message = "Acme did not understand the request";
    return PV_KIND_INTERNAL;
}

static void answered(void *user, const pv_http_response *response, const pv_error *error) {
    struct sending sending = *(struct sending *)user;
    pv_backend *backend = sending.backend;
    free(user);
    if (error != NULL) {
        /* The kind from the host says whether the SMS may have been sent. */
        pv_outcome outcome = {.size = sizeof outcome, .error = error};
        backend->host->complete(backend->host, sending.call, &outcome);
        return;
    }
    pv_outcome sent = {.size = sizeof sent};
    if (response->status == 202 && member(response->body, "\"id\"", &sent.text)) {
        backend->host->complete(backend->host, sending.call, &sent);
        return;
    }
    const char *message;
    uint16_t kind = kind_of(response->status, &message);
    fail(backend, sending.call, kind, response->status, retry_after_ms(response), message);
}

static void send_sms(pv_backend *backend, const pv_call *call, const pv_sms *sms) {
    struct sending *sending = malloc(sizeof *sending);
    struct buffer body = {malloc(256), 0, 256};
    add(&body, "{", 1);
    add_member(&body, "from", backend->from, strlen(backend->from));
    add(&body, ",", 1);
    add_member(&body, "to", sms->number.data, sms->number.length);
    add(&body, ",", 1);
    add_member(&body, "text", sms->message.data, sms->message.length);
    add(&body, "}", 1);
    if (sending == NULL || body.data == NULL) {
        free(sending);
        free(body.data);
        fail(backend, call->id, PV_KIND_TRANSIENT, 0, 0, "out of memory");
        return;
    }
    *sending = (struct sending){backend, call->id};
    pv_pair headers[] = {
        {PV_TEXT("authorization"), text(backend->authorization)},
        {PV_TEXT("content-type"), PV_TEXT("application/json")},
    };
    pv_http_request request = {.size = sizeof request,
                               .method = PV_TEXT("POST"),
                               .url = text(backend->url),
                               .headers = headers,
                               .header_count = sizeof headers / sizeof *headers,
                               .body = {body.data, body.length}};
    backend->host->http(backend->host, call->id, &request, sending, answered);
    free(body.data);
}

/* Whether the header x-signature has the HMAC-SHA-256 of the body under the key, in hex. */
static int is_signed(pv_backend *backend, const pv_http_request *request) {
    const pv_host *host = backend->host;
    unsigned char mac[32];
    char hex[2 * sizeof mac + 1];
    if (host->hmac(host, PV_HASH_SHA256, text(backend->key), request->body, mac, sizeof mac) != sizeof mac) return 0;
    for (size_t at = 0; at < sizeof mac; at++) snprintf(hex + 2 * at, 3, "%02x", mac[at]);
    for (size_t at = 0; at < request->header_count; at++) {
        pv_text name = request->headers[at].name;
        if (name.length == 11 && memcmp(name.data, "x-signature", 11) == 0) {
            return host->equal(host, request->headers[at].value, text(hex));
        }
    }
    return 0;
}

/* Acme reports what became of an SMS as {"id": "…", "status": "delivered"}. Anybody can send such a request, so the
 * signature comes first. */
static void receive(pv_backend *backend, const pv_call *call, const pv_http_request *request) {
    pv_http_response answer = {.size = sizeof answer, .status = 400};
    pv_report report = {.size = sizeof report};
    const pv_report *reports[] = {&report};
    pv_outcome outcome = {.size = sizeof outcome, .response = &answer, .reports = reports};
    pv_text status;
    if (!is_signed(backend, request)) {
        answer.status = 403;
    } else if (member(request->body, "\"id\"", &report.message_id) && report.message_id.length > 0 &&
               member(request->body, "\"status\"", &status)) {
        int is_delivered = status.length == 9 && memcmp(status.data, "delivered", 9) == 0;
        int is_failed = status.length == 6 && memcmp(status.data, "failed", 6) == 0;
        report.state = is_delivered ? PV_DELIVERY_DELIVERED : is_failed ? PV_DELIVERY_UNDELIVERED : PV_DELIVERY_SENT;
        answer.status = 200;
        outcome.report_count = 1;
    }
    backend->host->complete(backend->host, call->id, &outcome);
}

/* The option's value between `prefix` and `suffix`, in newly allocated memory. */
static char *option(const pv_pair *options, size_t count, const char *name, const char *prefix, const char *suffix) {
    for (size_t at = 0; at < count; at++) {
        pv_text found = options[at].name, value = options[at].value;
        if (found.length != strlen(name) || memcmp(found.data, name, found.length) != 0) continue;
        while (*suffix == '/' && value.length > 0 && value.data[value.length - 1] == '/') value.length--;
        size_t length = strlen(prefix) + value.length + strlen(suffix);
        char *joined = malloc(length + 1);
        if (joined != NULL) {
            snprintf(joined, length + 1, "%s%.*s%s", prefix, (int)value.length, value.data, suffix);
        }
        return joined;
    }
    return NULL;
}

static void destroy(pv_backend *backend) {
    free(backend->key);
    free(backend->authorization);
    free(backend->from);
    free(backend->url);
    free(backend);
}

/* All required options exist: the host has checked them against the manifest. */
static pv_backend *create(pv_text name, const pv_host *host, const pv_pair *options, size_t count) {
    (void)name; /* The library has one backend. */
    pv_backend *backend = calloc(1, sizeof *backend);
    if (backend == NULL) return NULL;
    backend->host = host;
    backend->key = option(options, count, "key", "", "");
    backend->authorization = option(options, count, "key", "Bearer ", "");
    backend->from = option(options, count, "from", "", "");
    backend->url = option(options, count, "base_url", "", "/messages");
    if (backend->key == NULL || backend->authorization == NULL || backend->from == NULL || backend->url == NULL) {
        pv_error error = {.size = sizeof error,
                          .kind = PV_KIND_INTERNAL,
                          .code = PV_TEXT("acme_create"),
                          .message = PV_TEXT("out of memory, or an option is missing")};
        host->refuse(host, &error);
        destroy(backend);
        return NULL;
    }
    return backend;
}

const pv_plugin_entry pv_plugin_entry_v1 = {
    .size = sizeof(pv_plugin_entry),
    .abi_major = PV_ABI_MAJOR,
    .abi_minor = PV_ABI_MINOR,
    .create = create,
    .destroy = destroy,
    .send_sms = send_sms,
    .receive = receive,
};
