/* An SMS backend for phone-verify in C, or in any language that can export a C symbol. Version 1.1.
 *
 * A library exports two things: its manifest, with PV_MANIFEST, and one table, `pv_plugin_entry_v1`. The host reads
 * the manifest from the file without running it, then loads the library and calls the functions of the table.
 *
 * The rules:
 *  - Each struct begins with `size`; the side that fills the struct sets it to sizeof. Structs grow at their end only,
 *    and a reader reads no more than `size` bytes, so older and newer versions work together. pv_text and pv_pair have
 *    no size and never grow. Set unused members to zero.
 *  - A NULL function in the plugin's table means that the library does not offer it.
 *  - Text is UTF-8 with a length, without a terminator. Arguments are valid until the function returns: copy what is
 *    needed longer.
 *  - A call (send_sms and the other methods of a backend) must return within 5 ms. Its result is reported by
 *    `host->complete`, once, from any thread, before or after the call returns. Do not use the backend for that call
 *    afterwards: it may be destroyed. The host logs a second result, or one for an unknown call, and ignores it.
 *  - A request to the host within a call (http, sleep, ...) is answered by its `done` function, exactly once. When the
 *    call has ended or was cancelled, `done` receives an error with the code "call_over", possibly before the request
 *    function returns.
 *  - To cancel a call, the host first answers the call's open requests, then calls `cancel`, unless the call has been
 *    completed; the two may happen at the same time. A cancelled call must still be completed, although the result is
 *    ignored: the host destroys the backend only after all its calls are completed.
 *  - Both sides may call all functions from any thread, several at once.
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
#define PV_ABI_MINOR 1

/* Whether a struct from the host has a member: a host of version 1.0 gives structs that end before what is marked as
 * "since 1.1". Example: if (PV_HAS(host, pv_host, hmac)) … */
#define PV_HAS(from, type, member) ((from)->size >= offsetof(type, member) + sizeof((from)->member))

#if defined(_WIN32)
#define PV_EXPORT __declspec(dllexport)
#else
#define PV_EXPORT __attribute__((visibility("default")))
#endif

/* The section from which the host reads the manifest. MinGW (GCC and clang) and tcc silently ignore Microsoft's
 * allocate, so only MSVC gets it. */
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

/* The manifest is a JSON object. A host ignores keys that it does not know; `phone-verify plugin check` warns of them.
 *
 *   schema       number, required: 1
 *   library      text: the name of the file, acme for libacme.so
 *   version      text, required: the library's own, major.minor.patch
 *   license, repository   texts, for the operator
 *   abi          {"major": 1, "minor": 1}, required: PV_ABI_MAJOR and PV_ABI_MINOR
 *   tape         list of texts: the lines of the tape, which plugin check and plugin serve-tape play
 *   backends     list, required, of:
 *     name         text, required: the last part of BACKEND
 *     summary      text: one line
 *     sandbox      boolean: for tests only
 *     overrides    number: the sum of PV_OVERRIDES_… for the methods in the table
 *     hosts        list of texts: the host or host:port that it may reach
 *     webhook      text, since 1.1, with PV_OVERRIDES_RECEIVE: who makes sure that a request is the provider's. "signed":
 *                  receive checks a signature of every one. "secret": not every one is signed, so the address has to
 *                  hold a secret, which the host checks
 *     receipts     text, since 1.1: who says that a message is delivered, "carrier" or "handset"
 *     channels     list of texts, since 1.1: how messages can go, such as "sms", "voice"; left out: as SMS
 *     owns_code    boolean, since 1.1: the provider makes and checks the codes
 *     wants_code   boolean, since 1.1: pv_call.security_code is to hold the code
 *     options      list of:
 *       name, alias   texts, compared without regard to case
 *       type          text, required: string, integer, bool, seconds, list, table
 *       required, secret   booleans
 *       default, example, help   any, text, text
 */
/* Defines the manifest: PV_MANIFEST({"schema": 1, "library": "acme", …}), with the JSON as it is, without quotes. */
#ifdef __cplusplus
#define PV_MANIFEST(...) extern "C" PV_EXPORT PV_IN_MANIFEST_SECTION const char PHONE_VERIFY_MANIFEST[] = #__VA_ARGS__
#else
#define PV_MANIFEST(...) PV_EXPORT PV_IN_MANIFEST_SECTION const char PHONE_VERIFY_MANIFEST[] = #__VA_ARGS__
#endif

/* A text. `data` may be NULL when `length` is 0. */
typedef struct pv_text {
    const char *data;
    size_t length;
} pv_text;

/* Initialises a pv_text from a string literal. */
#define PV_TEXT(literal) {(literal), sizeof(literal) - 1}

/* A named value: an option, a header, a field of a log line. */
typedef struct pv_pair {
    pv_text name;
    pv_text value;
} pv_pair;

/* The kind of a failure. What the host does next depends on it. */
#define PV_KIND_CONFIG 1               /* an option is missing or wrong */
#define PV_KIND_INVALID_NUMBER 2       /* not a valid number for SMS; final */
#define PV_KIND_UNREACHABLE_NUMBER 3   /* a valid number that cannot receive SMS; final */
#define PV_KIND_OPTED_OUT 4            /* the owner opted out, or the number is blocked; final */
#define PV_KIND_DESTINATION_BLOCKED 5  /* the account may not send to this destination */
#define PV_KIND_CONTENT_REJECTED 6     /* the provider refused the text */
#define PV_KIND_SENDER_REJECTED 7      /* the provider refused the sender id */
#define PV_KIND_AUTH_FAILED 8          /* the provider refused the credentials */
#define PV_KIND_NO_CREDIT 9            /* the account has no credit left */
#define PV_KIND_THROTTLED 10           /* too many requests; `retry_after_ms` is the wait */
#define PV_KIND_TRANSIENT 11           /* a temporary failure, and no SMS was sent */
#define PV_KIND_OUTCOME_UNKNOWN 12     /* the SMS may have been sent; the host does not resend */
#define PV_KIND_INTERNAL 13            /* a bug in the library */
#define PV_KIND_UNSUPPORTED 14         /* the library does not offer this */

/* The result of judging a security code. */
#define PV_VERDICT_VALID 0
#define PV_VERDICT_INVALID 1
#define PV_VERDICT_EXPIRED 2
#define PV_VERDICT_ALREADY_VERIFIED 3
#define PV_VERDICT_SESSION_TOKEN_INVALID 4
#define PV_VERDICT_TOO_MANY_ATTEMPTS 5

/* "overrides" in the manifest: the sum of the bits for the methods in the table other than send_sms. */
#define PV_OVERRIDES_SEND_BULK_SMS 1
#define PV_OVERRIDES_GENERATE_SECURITY_CODE 2
#define PV_OVERRIDES_GENERATE_MESSAGE 4
#define PV_OVERRIDES_VALIDATE_SECURITY_CODE 8
#define PV_OVERRIDES_RECEIVE 16
#define PV_OVERRIDES_FEEDBACK 32
#define PV_OVERRIDES_BALANCE 64
#define PV_OVERRIDES_CANCEL 128 /* cancel_verification */
#define PV_OVERRIDES_EXTENSION 256

/* What a provider reports about a message. */
#define PV_DELIVERY_SENT 1        /* on its way: the provider or the carrier has it */
#define PV_DELIVERY_DELIVERED 2   /* it arrived */
#define PV_DELIVERY_UNDELIVERED 3 /* it did not arrive, and will not */
#define PV_DELIVERY_UNKNOWN 4     /* the provider does not know, and will not say more */

/* The hashes of `host->digest` and `host->hmac`, with the length of their result. MD5 and SHA-1 are for providers that
 * demand them. */
#define PV_HASH_MD5 1    /* 16 bytes */
#define PV_HASH_SHA1 2   /* 20 bytes */
#define PV_HASH_SHA256 3 /* 32 bytes */
#define PV_HASH_SHA512 4 /* 64 bytes */

/* The algorithms of `host->sign`, as RFC 7518 names them. */
#define PV_SIGNATURE_RS256 1 /* as long as the key: 256 bytes for one of 2048 bits */
#define PV_SIGNATURE_ES256 2 /* 64 bytes: the two numbers of 32 bytes, one after the other */

/* Levels of `host->log`. */
#define PV_LEVEL_ERROR 1
#define PV_LEVEL_WARN 2
#define PV_LEVEL_INFO 3
#define PV_LEVEL_DEBUG 4
#define PV_LEVEL_TRACE 5

/* A failure. */
typedef struct pv_error {
    uint32_t size;
    uint16_t kind;           /* PV_KIND_… */
    uint16_t http_status;    /* the provider's HTTP status; 0: none */
    uint64_t retry_after_ms; /* the wait that the provider asks for; 0: not stated */
    pv_text code;            /* short and stable, such as acme_422 */
    pv_text message;         /* a sentence for the operator; the host masks secrets and numbers in it */
} pv_error;

/* The answer to an HTTP request, whatever its status. */
typedef struct pv_http_response {
    uint32_t size;
    uint16_t status;
    const pv_pair *headers; /* names in lower case */
    size_t header_count;
    pv_text body; /* any bytes, at most 1 MiB */
} pv_http_response;

/* What a provider reports about one message. Since 1.1. */
typedef struct pv_report {
    uint32_t size;
    uint16_t state;      /* PV_DELIVERY_… */
    uint16_t kind;       /* why it was not delivered, PV_KIND_…; 0: the provider does not say */
    pv_text message_id;  /* the one that send_sms gave */
    pv_text code;        /* the provider's; empty: none */
    uint64_t at_unix_ms; /* by the provider's clock; 0: not stated */
    uint32_t segments;   /* in how many it was sent; 0: not stated */
    pv_text cost;        /* what it really costs, such as 0.0333; empty: not stated */
    pv_text currency;    /* ISO 4217, such as EUR */
} pv_report;

/* The result of a call, or of a request to the host. */
typedef struct pv_outcome {
    uint32_t size;
    uint16_t verdict;      /* validate_security_code, base_validate: PV_VERDICT_… */
    const pv_error *error; /* NULL: success */
    pv_text text;          /* send_sms: the provider's message id; empty: none. generate_security_code: the code.
                              generate_message: the message; empty: the host uses the MESSAGE template.
                              extension: the answer; NULL: the id is not known. */
    /* Since 1.1. */
    uint32_t segments; /* send_sms: in how many it is sent; 0: not stated */
    pv_text cost;      /* send_sms: what it costs, such as 0.0333; empty: not stated. balance: what is left */
    pv_text currency;  /* of the cost, ISO 4217, such as EUR */
    const pv_http_response *response; /* receive: the answer to the provider, at most 64 KiB; 401 or 403, without
                                         reports, where the signature is wrong. NULL: 200 without a body */
    const pv_report *const *reports;  /* receive: what the request reports */
    size_t report_count;              /* at most 100 */
} pv_outcome;

/* The context of one call. */
typedef struct pv_call {
    uint32_t size;
    uint64_t id;                    /* unique, never reused; 0 is no call */
    uint64_t deadline_monotonic_ns; /* when the host cancels the call, on the clock of monotonic_ns */
    pv_text request_id;             /* the id under which the host logs the call */
    pv_text idempotency_key;        /* the same for every attempt to send one message; empty: none */
    pv_text locale;                 /* a BCP 47 language tag; empty: none */
    /* Since 1.1. */
    pv_text region;        /* the country of the number, ISO 3166, such as DE; empty: not known */
    pv_text channel;       /* how the message goes: sms, voice, whatsapp, …; empty: not stated */
    pv_text purpose;       /* what it is for: verification, message; empty: not stated */
    pv_text template_name; /* of the template that the message is made of; empty: none */
    const pv_pair *params; /* what the template is filled in with */
    size_t param_count;
    pv_text security_code; /* the one in the message; empty unless the manifest says "wants_code": true */
    pv_text message_id;    /* the provider's id of the message that began the verification; empty: none */
} pv_call;

/* One SMS to send. */
typedef struct pv_sms {
    uint32_t size;
    pv_text number; /* E.164 with its plus sign */
    pv_text message;
} pv_sms;

/* One text to send to several numbers. */
typedef struct pv_bulk {
    uint32_t size;
    const pv_text *numbers; /* E.164 with plus signs */
    size_t number_count;    /* 1 to 1000 */
    pv_text message;
} pv_bulk;

/* A message to compose. */
typedef struct pv_message_request {
    uint32_t size;
    pv_text security_code;
    const pv_pair *context; /* the values that the caller passed with the number */
    size_t context_count;
} pv_message_request;

/* A submitted code to judge. */
typedef struct pv_check {
    uint32_t size;
    pv_text security_code;
    pv_text phone_number; /* E.164 with its plus sign */
    pv_text session_token;
} pv_check;

/* An HTTP request that the host sends for the library, or that came in for it. */
typedef struct pv_http_request {
    uint32_t size;
    pv_text method;
    pv_text url;
    const pv_pair *headers;
    size_t header_count;
    pv_text body;        /* any bytes */
    uint64_t timeout_ms; /* limit of the whole exchange; 0: the rest of the call's time. 0 in a request that came in */
} pv_http_request;

/* Whether the code of a message came back. Since 1.1. */
typedef struct pv_feedback {
    uint32_t size;
    uint32_t converted; /* 0 or 1 */
    pv_text message_id; /* the one that send_sms gave */
} pv_feedback;

/* A verification that is to end, of a backend that makes the codes itself. Since 1.1. */
typedef struct pv_cancel {
    uint32_t size;
    pv_text message_id; /* the one that send_sms gave */
} pv_cancel;

/* A request under an id that says what it means, such as phone-verify.stream/draft-1. Since 1.1. */
typedef struct pv_extension {
    uint32_t size;
    pv_text id;
    pv_text body; /* any bytes */
} pv_extension;

/* Receives the answer of an HTTP request: one of `response` and `error` is NULL. The error's kind is right for a send.
 * If the request certainly did not reach the provider, it is PV_KIND_CONFIG (the host does not allow the request),
 * PV_KIND_INTERNAL (the request is invalid) or PV_KIND_TRANSIENT (no connection, or the call had ended). Otherwise it
 * is PV_KIND_OUTCOME_UNKNOWN. */
typedef void (*pv_http_done)(void *user, const pv_http_response *response, const pv_error *error);

/* Receives the answer of any other request to the host. */
typedef void (*pv_done)(void *user, const pv_outcome *outcome);

/* The services of the host, valid until `destroy` has returned. `call` is the id of the call they are used in. */
typedef struct pv_host pv_host;
struct pv_host {
    uint32_t size;
    /* Writes one line to the host's log. */
    void (*log)(const pv_host *host, uint16_t level, pv_text message, const pv_pair *fields, size_t field_count);
    uint64_t (*now_unix_ms)(const pv_host *host);
    uint64_t (*monotonic_ns)(const pv_host *host);
    /* Fills the buffer from the operating system's CSPRNG. Where there is none, or after `destroy`, the process ends: the
     * library would make guessable codes of what it believes to be random. */
    void (*random)(const pv_host *host, void *into, size_t length);
    /* Sends a request through the host's pooled client. It verifies TLS, does not follow redirects, and reaches only
     * the hosts in the manifest and the host of the option BASE_URL. */
    void (*http)(const pv_host *host, uint64_t call, const pv_http_request *request, void *user, pv_http_done done);
    void (*sleep)(const pv_host *host, uint64_t call, uint64_t duration_ms, void *user, pv_done done);
    /* The host's default behaviour, for an override that builds on it. */
    void (*base_security_code)(const pv_host *host, uint64_t call, void *user, pv_done done);
    void (*base_message)(const pv_host *host, uint64_t call, pv_text security_code, void *user, pv_done done);
    void (*base_validate)(const pv_host *host, uint64_t call, pv_text security_code, void *user, pv_done done);
    /* Reports the outcome of one number of a bulk call. The first outcome of each number counts. */
    void (*settle)(const pv_host *host, uint64_t call, size_t index, const pv_outcome *outcome);
    /* Reports the result of a call. */
    void (*complete)(const pv_host *host, uint64_t call, const pv_outcome *outcome);
    /* States the reason in `create`, before it returns NULL. */
    void (*refuse)(const pv_host *host, const pv_error *error);
    /* Since 1.1. */
    /* Write the digest, or the HMAC, of `data` by PV_HASH_…, and return its length; 0: the hash is not known, or the
     * result is longer than `capacity`. */
    size_t (*digest)(const pv_host *host, uint16_t hash, pv_text data, void *into, size_t capacity);
    size_t (*hmac)(const pv_host *host, uint16_t hash, pv_text key, pv_text data, void *into, size_t capacity);
    /* 1 if they are equal, else 0. Takes a time that depends on the lengths alone. */
    int32_t (*equal)(const pv_host *host, pv_text left, pv_text right);
    /* Writes the signature of `data` by PV_SIGNATURE_…, with a private key in PEM, and returns its length; 0: the key
     * does not fit, for which the log has the reason, or the result is longer than `capacity`. */
    size_t (*sign)(const pv_host *host, uint16_t algorithm, pv_text key_pem, pv_text data, void *into, size_t capacity);
    /* Asks for something that is not part of this header yet. `done` gets a NULL text where the host does not know the
     * id. */
    void (*extension)(const pv_host *host, uint64_t call, const pv_extension *request, void *user, pv_done done);
};

/* A backend instance. The library defines its content. */
typedef struct pv_backend pv_backend;

/* The functions of a library. */
typedef struct pv_plugin_entry {
    uint32_t size;
    uint16_t abi_major; /* PV_ABI_MAJOR */
    uint16_t abi_minor; /* PV_ABI_MINOR */
    /* Creates the backend of this name within 10 s, or returns NULL after `host->refuse`. The options are those of the
     * manifest, checked, with names in lower case and defaults filled in. Values that are not texts are JSON. */
    pv_backend *(*create)(pv_text name, const pv_host *host, const pv_pair *options, size_t option_count);
    /* Called once, after all calls are completed. */
    void (*destroy)(pv_backend *backend);
    void (*send_sms)(pv_backend *backend, const pv_call *call, const pv_sms *sms);
    void (*cancel)(pv_backend *backend, uint64_t call);
    void (*send_bulk_sms)(pv_backend *backend, const pv_call *call, const pv_bulk *bulk);
    void (*generate_security_code)(pv_backend *backend, const pv_call *call);
    void (*generate_message)(pv_backend *backend, const pv_call *call, const pv_message_request *request);
    void (*validate_security_code)(pv_backend *backend, const pv_call *call, const pv_check *check);
    /* Since 1.1. */
    /* Reads a request of the provider, after checking its signature over the URL as the provider sees it. */
    void (*receive)(pv_backend *backend, const pv_call *call, const pv_http_request *request);
    /* Tells the provider whether a code came back. */
    void (*feedback)(pv_backend *backend, const pv_call *call, const pv_feedback *feedback);
    /* What is left of the account: `cost` and `currency` of the outcome. */
    void (*balance)(pv_backend *backend, const pv_call *call);
    /* Ends a verification whose code the provider made. Not to be confused with `cancel`, which ends a call. */
    void (*cancel_verification)(pv_backend *backend, const pv_call *call, const pv_cancel *cancel);
    /* Answers a request that is not part of this header yet. */
    void (*extension)(pv_backend *backend, const pv_call *call, const pv_extension *request);
} pv_plugin_entry;

/* The library must define this: const pv_plugin_entry pv_plugin_entry_v1 = {sizeof(pv_plugin_entry), …}; */
extern PV_EXPORT const pv_plugin_entry pv_plugin_entry_v1;

#ifdef __cplusplus
}
#endif
#endif
