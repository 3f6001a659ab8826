/* An SMS backend for phone-verify in C, or in any language that can export a C symbol. Version 1.0.
 *
 * A library exports two things: its manifest, with PV_MANIFEST, and one table, `pv_plugin_entry_v1`. The host reads
 * the manifest out of the file without running it, and calls the functions of the table.
 *
 * The rules:
 *  - Each struct begins with its `size`, which whoever fills it sets to sizeof. It grows at its end only; a reader looks
 *    at no more of it than `size` says. pv_text and pv_pair never grow. Members that are left out are zero.
 *  - A function that is NULL in the plugin's table is not offered.
 *  - Text is UTF-8, not terminated, with its length. What a function is given is borrowed until that function returns:
 *    copy what is needed longer.
 *  - A call (send_sms and its like) returns at once, in less than 5 ms, and is answered with `host->complete`, once, from
 *    any thread, then or later. After that, touch nothing of the backend on that call's account: it may be gone. A
 *    second answer, or one to a call that never was, is logged and changes nothing.
 *  - What is asked of the host for a call (http, sleep, …) is answered through its `done`, exactly once. When the call
 *    is over or given up, `done` gets an error with the code "call_over", perhaps before the question returns.
 *  - A call that the host gives up is cancelled: first its open questions are answered, then `cancel` is called, unless
 *    it is completed by then; the two may cross. It still has to be completed, although nobody listens. The backend is
 *    not destroyed before.
 *  - All functions, on both sides, may be called from any thread, several at once.
 *  - No exception and no longjmp may leave a function.
 */
#ifndef PHONE_VERIFY_PLUGIN_H
#define PHONE_VERIFY_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PV_ABI_MAJOR 1
#define PV_ABI_MINOR 0

#if defined(_WIN32)
#define PV_EXPORT __declspec(dllexport)
#else
#define PV_EXPORT __attribute__((visibility("default")))
#endif

/* Where the host reads the manifest. MinGW (GCC and clang) and tcc ignore Microsoft's allocate, without a word. */
#if defined(_MSC_VER)
#pragma section(".pvplug", read)
#define PV_IN_MANIFEST_SECTION __declspec(allocate(".pvplug"))
#elif defined(_WIN32)
#define PV_IN_MANIFEST_SECTION __attribute__((section(".pvplug"), used))
#elif defined(__APPLE__)
#define PV_IN_MANIFEST_SECTION __attribute__((section("__DATA,__pv_plugin"), used))
#else
#define PV_IN_MANIFEST_SECTION __attribute__((section(".pv_plugin"), used))
#endif

/* The manifest: PV_MANIFEST({"schema": 1, "library": "acme", …}) with the JSON as it is, unquoted. */
#ifdef __cplusplus
#define PV_MANIFEST(...) extern "C" PV_EXPORT PV_IN_MANIFEST_SECTION const char PHONE_VERIFY_MANIFEST[] = #__VA_ARGS__
#else
#define PV_MANIFEST(...) PV_EXPORT PV_IN_MANIFEST_SECTION const char PHONE_VERIFY_MANIFEST[] = #__VA_ARGS__
#endif

/* Text. `data` may be NULL when there is none. */
typedef struct pv_text {
    const char *data;
    size_t length;
} pv_text;

/* A literal as text. */
#define PV_TEXT(literal) {(literal), sizeof(literal) - 1}

typedef struct pv_pair {
    pv_text name;
    pv_text value;
} pv_pair;

/* Why something failed: what the host does next depends on it. */
#define PV_KIND_CONFIG 1               /* an option is missing or wrong */
#define PV_KIND_INVALID_NUMBER 2       /* not a number that can be texted; final */
#define PV_KIND_UNREACHABLE_NUMBER 3   /* a real number that cannot be reached; final */
#define PV_KIND_OPTED_OUT 4            /* the owner opted out, or the number is barred; final */
#define PV_KIND_DESTINATION_BLOCKED 5  /* the account may not text this destination */
#define PV_KIND_CONTENT_REJECTED 6     /* the text was refused */
#define PV_KIND_SENDER_REJECTED 7      /* the sender id was refused */
#define PV_KIND_AUTH_FAILED 8          /* the credentials were refused */
#define PV_KIND_NO_CREDIT 9            /* the account has no credit left */
#define PV_KIND_THROTTLED 10           /* too fast; `retry_after_ms` says how long to wait */
#define PV_KIND_TRANSIENT 11           /* a passing fault, and no SMS was sent */
#define PV_KIND_OUTCOME_UNKNOWN 12     /* the SMS may have been sent: it is not sent again */
#define PV_KIND_INTERNAL 13            /* a fault of the library itself */
#define PV_KIND_UNSUPPORTED 14         /* not offered */

/* What a check of a security code comes to. */
#define PV_VERDICT_VALID 0
#define PV_VERDICT_INVALID 1
#define PV_VERDICT_EXPIRED 2
#define PV_VERDICT_ALREADY_VERIFIED 3
#define PV_VERDICT_SESSION_TOKEN_INVALID 4
#define PV_VERDICT_TOO_MANY_ATTEMPTS 5

/* The manifest's "overrides": the sum of those that the table offers beside send_sms. */
#define PV_OVERRIDES_SEND_BULK_SMS 1
#define PV_OVERRIDES_GENERATE_SECURITY_CODE 2
#define PV_OVERRIDES_GENERATE_MESSAGE 4
#define PV_OVERRIDES_VALIDATE_SECURITY_CODE 8

#define PV_LEVEL_ERROR 1
#define PV_LEVEL_WARN 2
#define PV_LEVEL_INFO 3
#define PV_LEVEL_DEBUG 4
#define PV_LEVEL_TRACE 5

typedef struct pv_error {
    uint32_t size;
    uint16_t kind;           /* PV_KIND_… */
    uint16_t http_status;    /* the provider's; 0: none */
    uint64_t retry_after_ms; /* 0: not said */
    pv_text code;            /* short and stable: acme_422 */
    pv_text message;         /* a sentence for the operator; the host masks secrets and numbers in it */
} pv_error;

/* An answer, in either direction. */
typedef struct pv_outcome {
    uint32_t size;
    uint16_t verdict;      /* validate_security_code, base_validate: PV_VERDICT_… */
    const pv_error *error; /* NULL: it went well */
    pv_text text;          /* send_sms: the provider's message id, or none. generate_security_code: the code.
                              generate_message: the message; none: the MESSAGE template is used. */
} pv_outcome;

typedef struct pv_call {
    uint32_t size;
    uint64_t id;                    /* never used again; 0 is no call */
    uint64_t deadline_monotonic_ns; /* when the host gives the call up, on the clock of monotonic_ns */
    pv_text request_id;             /* names the call in the host's log */
    pv_text idempotency_key;        /* the same for every try of one message; none: empty */
    pv_text locale;                 /* a BCP 47 language tag; none: empty */
} pv_call;

typedef struct pv_sms {
    uint32_t size;
    pv_text number; /* E.164 with its plus sign */
    pv_text message;
} pv_sms;

typedef struct pv_bulk {
    uint32_t size;
    const pv_text *numbers; /* E.164 with plus signs */
    size_t number_count;    /* 1 to 1000 */
    pv_text message;
} pv_bulk;

typedef struct pv_message_request {
    uint32_t size;
    pv_text security_code;
    const pv_pair *context; /* what the caller said about the person */
    size_t context_count;
} pv_message_request;

typedef struct pv_check {
    uint32_t size;
    pv_text security_code;
    pv_text phone_number; /* E.164 with its plus sign */
    pv_text session_token;
} pv_check;

typedef struct pv_http_request {
    uint32_t size;
    pv_text method;
    pv_text url;
    const pv_pair *headers;
    size_t header_count;
    pv_text body;        /* any bytes */
    uint64_t timeout_ms; /* 0: what is left of the call */
} pv_http_request;

typedef struct pv_http_response {
    uint32_t size;
    uint16_t status;
    const pv_pair *headers; /* names in lower case */
    size_t header_count;
    pv_text body; /* any bytes, at most 1 MiB */
} pv_http_response;

/* One of the two is NULL. The error's kind is already right for a send. When nothing can have been sent it is
 * PV_KIND_CONFIG (the host does not allow the request), PV_KIND_INTERNAL (it cannot be made) or PV_KIND_TRANSIENT (no
 * connection, or the call was over before), else PV_KIND_OUTCOME_UNKNOWN. */
typedef void (*pv_http_done)(void *user, const pv_http_response *response, const pv_error *error);

typedef void (*pv_done)(void *user, const pv_outcome *outcome);

/* What the host offers, until `destroy` has returned. */
typedef struct pv_host pv_host;
struct pv_host {
    uint32_t size;
    /* One line in the host's log. */
    void (*log)(const pv_host *host, uint16_t level, pv_text message, const pv_pair *fields, size_t field_count);
    uint64_t (*now_unix_ms)(const pv_host *host);
    uint64_t (*monotonic_ns)(const pv_host *host);
    /* Fills with bytes of the operating system's CSPRNG. */
    void (*random)(const pv_host *host, void *into, size_t length);
    /* Through the host's pooled client: TLS checked, redirects off, only to the hosts of the manifest and of the option
     * BASE_URL. */
    void (*http)(const pv_host *host, uint64_t call, const pv_http_request *request, void *user, pv_http_done done);
    void (*sleep)(const pv_host *host, uint64_t call, uint64_t duration_ms, void *user, pv_done done);
    /* What the base would do, for an override. */
    void (*base_security_code)(const pv_host *host, uint64_t call, void *user, pv_done done);
    void (*base_message)(const pv_host *host, uint64_t call, pv_text security_code, void *user, pv_done done);
    void (*base_validate)(const pv_host *host, uint64_t call, pv_text security_code, void *user, pv_done done);
    /* What became of one number of a bulk call; each counts once. */
    void (*settle)(const pv_host *host, uint64_t call, size_t index, const pv_outcome *outcome);
    /* Answers a call. */
    void (*complete)(const pv_host *host, uint64_t call, const pv_outcome *outcome);
    /* In `create`, before it returns NULL: why. */
    void (*refuse)(const pv_host *host, const pv_error *error);
};

/* A backend: the library says what is in it. */
typedef struct pv_backend pv_backend;

typedef struct pv_plugin_entry {
    uint32_t size;
    uint16_t abi_major; /* PV_ABI_MAJOR */
    uint16_t abi_minor; /* PV_ABI_MINOR */
    /* Makes the backend of that name; NULL after `host->refuse`. The options are those of the manifest, checked, their
     * names in lower case, and the defaults filled in; a value that is not a text is written as JSON. Within 10 s. */
    pv_backend *(*create)(pv_text name, const pv_host *host, const pv_pair *options, size_t option_count);
    /* Called once, when all calls are completed. */
    void (*destroy)(pv_backend *backend);
    void (*send_sms)(pv_backend *backend, const pv_call *call, const pv_sms *sms);
    void (*cancel)(pv_backend *backend, uint64_t call);
    void (*send_bulk_sms)(pv_backend *backend, const pv_call *call, const pv_bulk *bulk);
    void (*generate_security_code)(pv_backend *backend, const pv_call *call);
    void (*generate_message)(pv_backend *backend, const pv_call *call, const pv_message_request *request);
    void (*validate_security_code)(pv_backend *backend, const pv_call *call, const pv_check *check);
} pv_plugin_entry;

/* What the library exports. It defines it: const pv_plugin_entry pv_plugin_entry_v1 = {sizeof(pv_plugin_entry), …}; */
extern PV_EXPORT const pv_plugin_entry pv_plugin_entry_v1;

#ifdef __cplusplus
}
#endif
#endif
