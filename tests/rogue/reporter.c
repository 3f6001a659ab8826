/* A backend in C that uses all that came with version 1.1 of the header: the message, or the body of a request, says
 * what. */
#include "phone_verify_plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

PV_MANIFEST({
    "schema": 1, "library": "reporter", "version": "1.0.0", "abi": {"major": 1, "minor": 1},
    "backends": [{
        "name": "ReporterBackend", "summary": "Reports", "overrides": 496, "hosts": [],
        "webhook": "signed", "receipts": "carrier", "channels": ["sms", "voice"],
        "options": [{"name": "KEY_PEM", "type": "string", "secret": true}]
    }]
});

struct pv_backend {
    const pv_host *host;
    char key_pem[4096];
};

static pv_text text(const char *data) {
    return (pv_text){data, strlen(data)};
}

static int is(pv_text text, const char *expected) {
    return text.length == strlen(expected) && memcmp(text.data, expected, text.length) == 0;
}

static void fail(pv_backend *backend, uint64_t call, const char *code) {
    pv_error error = {.size = sizeof error, .kind = PV_KIND_INTERNAL, .code = text(code), .message = text("it failed")};
    pv_outcome outcome = {.size = sizeof outcome, .error = &error};
    backend->host->complete(backend->host, call, &outcome);
}

static void hex(const unsigned char *bytes, size_t length, char *into) {
    for (size_t at = 0; at < length; at++) sprintf(into + 2 * at, "%02x", bytes[at]);
}

/* What the host says to an extension becomes the answer of the call. */
struct asked {
    pv_backend *backend;
    uint64_t call;
};

static void answered(void *user, const pv_outcome *outcome) {
    struct asked asked = *(struct asked *)user;
    free(user);
    pv_outcome told = {.size = sizeof told};
    told.text = text(outcome->error != NULL ? "an error" : outcome->text.data == NULL ? "not known" : "known");
    asked.backend->host->complete(asked.backend->host, asked.call, &told);
}

static void send_sms(pv_backend *backend, const pv_call *call, const pv_sms *sms) {
    const pv_host *host = backend->host;
    char answer[1024] = "";
    unsigned char bytes[512];
    pv_outcome outcome = {.size = sizeof outcome, .text = {answer, 0}};
    if (is(sms->message, "facts")) {
        pv_text of[] = {call->region,        call->channel,    call->purpose, call->template_name,
                        call->security_code, call->message_id};
        for (size_t at = 0; at < sizeof of / sizeof *of; at++) {
            snprintf(answer + strlen(answer), sizeof answer - strlen(answer), "%.*s|", (int)of[at].length, of[at].data);
        }
        for (size_t at = 0; at < call->param_count; at++) {
            pv_pair param = call->params[at];
            snprintf(answer + strlen(answer), sizeof answer - strlen(answer), "%.*s=%.*s", (int)param.name.length,
                     param.name.data, (int)param.value.length, param.value.data);
        }
        outcome.segments = 3;
        outcome.cost = text("0.0999");
        outcome.currency = text("EUR");
    } else if (is(sms->message, "digests")) {
        static const uint16_t HASHES[] = {PV_HASH_MD5, PV_HASH_SHA1, PV_HASH_SHA256, PV_HASH_SHA512, 99};
        for (size_t at = 0; at < 5; at++) {
            size_t length = host->digest(host, HASHES[at], text("abc"), bytes, sizeof bytes);
            size_t mac = host->hmac(host, HASHES[at], text("key"), text("abc"), bytes, sizeof bytes);
            size_t cut = host->digest(host, HASHES[at], text("abc"), bytes, 15);
            snprintf(answer + strlen(answer), sizeof answer - strlen(answer), "%zu/%zu/%zu ", length, mac, cut);
        }
    } else if (is(sms->message, "hmac")) {
        size_t length = host->hmac(host, PV_HASH_SHA1, text("secret"), text("abc"), bytes, sizeof bytes);
        hex(bytes, length, answer);
    } else if (is(sms->message, "equal")) {
        snprintf(answer, sizeof answer, "%d %d %d %d", host->equal(host, text("a"), text("a")),
                 host->equal(host, text("a"), text("b")), host->equal(host, text("a"), text("")),
                 host->equal(host, text(""), (pv_text){NULL, 0}));
    } else if (is(sms->message, "sign")) {
        pv_text key = text(backend->key_pem);
        size_t es256 = host->sign(host, PV_SIGNATURE_ES256, key, text("abc"), bytes, sizeof bytes);
        size_t rs256 = host->sign(host, PV_SIGNATURE_RS256, key, text("abc"), bytes, sizeof bytes);
        snprintf(answer, sizeof answer, "%zu %zu", es256, rs256);
    } else {
        struct asked *asked = malloc(sizeof *asked);
        *asked = (struct asked){backend, call->id};
        pv_extension request = {.size = sizeof request, .id = text("test/draft-1"), .body = text("hello")};
        host->extension(host, call->id, &request, asked, answered);
        return;
    }
    outcome.text.length = strlen(answer);
    host->complete(host, call->id, &outcome);
}

static void receive(pv_backend *backend, const pv_call *call, const pv_http_request *request) {
    const pv_host *host = backend->host;
    unsigned char mac[20];
    char expected[41];
    host->hmac(host, PV_HASH_SHA1, text("secret"), request->body, mac, sizeof mac);
    hex(mac, sizeof mac, expected);
    pv_http_response answer = {.size = sizeof answer, .status = 403};
    pv_outcome outcome = {.size = sizeof outcome, .response = &answer};
    for (size_t at = 0; at < request->header_count; at++) {
        pv_pair header = request->headers[at];
        if (is(header.name, "x-signature") && host->equal(host, header.value, text(expected))) answer.status = 202;
    }
    pv_report delivered = {.size = sizeof delivered,
                           .state = PV_DELIVERY_DELIVERED,
                           .message_id = text("SM1"),
                           .at_unix_ms = 1767225600000,
                           .segments = 2,
                           .cost = text("0.0666"),
                           .currency = text("EUR")};
    pv_report undelivered = {.size = sizeof undelivered,
                             .state = PV_DELIVERY_UNDELIVERED,
                             .kind = PV_KIND_UNREACHABLE_NUMBER,
                             .message_id = text("SM2"),
                             .code = text("30005")};
    const pv_report *reports[] = {&delivered, &undelivered};
    pv_pair header = {PV_TEXT("x-url"), request->url};
    if (answer.status == 202) {
        answer.headers = &header;
        answer.header_count = 1;
        answer.body = request->method;
        outcome.reports = reports;
        outcome.report_count = 2;
    }
    if (is(request->body, "plain")) outcome.response = NULL;
    host->complete(host, call->id, &outcome);
}

static void feedback(pv_backend *backend, const pv_call *call, const pv_feedback *feedback) {
    pv_outcome done = {.size = sizeof done};
    if (!is(feedback->message_id, "SM1") || feedback->converted != 1) return fail(backend, call->id, "feedback");
    backend->host->complete(backend->host, call->id, &done);
}

static void balance(pv_backend *backend, const pv_call *call) {
    pv_outcome left = {.size = sizeof left, .cost = text("-3.5"), .currency = text("USD")};
    backend->host->complete(backend->host, call->id, &left);
}

static void cancel_verification(pv_backend *backend, const pv_call *call, const pv_cancel *cancel) {
    fail(backend, call->id, is(cancel->message_id, "SM1") ? "cancelled" : "another");
}

static void extension(pv_backend *backend, const pv_call *call, const pv_extension *request) {
    pv_outcome answer = {.size = sizeof answer};
    if (is(request->id, "test/draft-1")) answer.text = request->body;
    backend->host->complete(backend->host, call->id, &answer);
}

static pv_backend *create(pv_text name, const pv_host *host, const pv_pair *options, size_t count) {
    pv_backend *backend = calloc(1, sizeof *backend);
    (void)name;
    backend->host = host;
    for (size_t at = 0; at < count; at++) {
        if (is(options[at].name, "key_pem")) {
            snprintf(backend->key_pem, sizeof backend->key_pem, "%.*s", (int)options[at].value.length,
                     options[at].value.data);
        }
    }
    return backend;
}

static void destroy(pv_backend *backend) {
    free(backend);
}

const pv_plugin_entry pv_plugin_entry_v1 = {
    .size = sizeof(pv_plugin_entry),
    .abi_major = PV_ABI_MAJOR,
    .abi_minor = PV_ABI_MINOR,
    .create = create,
    .destroy = destroy,
    .send_sms = send_sms,
    .receive = receive,
    .feedback = feedback,
    .balance = balance,
    .cancel_verification = cancel_verification,
    .extension = extension,
};
