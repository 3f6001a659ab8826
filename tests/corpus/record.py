"""Records how django-phone-verify answers, so that tests/it/drop_in.rs can hold this project to it.

    python3 -m venv venv && venv/bin/pip install 'django-phone-verify==3.3.*' django djangorestframework
    venv/bin/python tests/corpus/record.py > tests/corpus/django-phone-verify-3.3.json

A story is a list of steps: a request with the ancestor's answer to it, or time that passes. `{{token}}` stands
for the session token of the story's latest registration, `{{first token}}` for that of its first one. The
security code is always 042917, so that a lost leading zero would be noticed.
"""

import base64
import json
import sys
from datetime import timedelta

import django
from django.conf import settings

CODE = "042917"
NUMBER = "+13478379634"
OTHER_NUMBER = "+13478379635"

settings.configure(
    SECRET_KEY="a key that signs nothing outside of this recording",
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "phone_verify",
    ],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    LOGGING_CONFIG=None,
    PHONE_VERIFICATION={
        "BACKEND": "__main__.Backend",
        "OPTIONS": {},
        "TOKEN_LENGTH": 6,
        "MESSAGE": "Welcome to {app}! Please use security code {security_code} to proceed.",
        "APP_NAME": "Phone Verify",
        "SECURITY_CODE_EXPIRATION_SECONDS": 600,
        "VERIFY_SECURITY_CODE_ONLY_ONCE": True,
    },
)
django.setup()

from django.core.management import call_command
from django.db.models import F
from django.test import Client
from django.urls import include, path
from phone_verify.backends.base import BaseBackend
from phone_verify.models import SMSVerification

urlpatterns = [path("api/", include("phone_verify.urls"))]


class Backend(BaseBackend):
    """Sends nothing; every code is the same."""

    def __init__(self, **options):
        super().__init__(**options)
        self.exception_class = RuntimeError

    def send_sms(self, number, message):
        pass

    def send_bulk_sms(self, numbers, message):
        pass

    @classmethod
    def generate_security_code(cls):
        return CODE


stories = []


def request(method, path, body=b"", content_type="application/json", **headers):
    if isinstance(body, str):
        body = body.encode()
    return {"method": method, "path": path, "body": body, "content_type": content_type, "headers": headers}


def post(route, value, **headers):
    """A JSON body made from a value."""
    return request("POST", f"/api/phone/{route}", json.dumps(value), **headers)


def raw(route, body, content_type="application/json", **headers):
    return request("POST", f"/api/phone/{route}", body, content_type, **headers)


def register(number=NUMBER):
    return post("register", {"phone_number": number})


def verify(code=CODE, number=NUMBER, token="{{token}}"):
    return post("verify", {"phone_number": number, "session_token": token, "security_code": code})


def pass_time(seconds):
    return {"seconds": seconds}


def play(name, *steps, settings_changed=None):
    """Plays a story and writes down the answers."""
    SMSVerification.objects.all().delete()
    usual = dict(settings.PHONE_VERIFICATION)
    settings.PHONE_VERIFICATION.update(settings_changed or {})
    tokens, written = [], []

    def fill(text):
        if tokens:
            text = text.replace(b"{{token}}", tokens[-1].encode())
            text = text.replace(b"{{first token}}", tokens[0].encode())
        return text

    for step in steps:
        if "seconds" in step:
            SMSVerification.objects.update(created_at=F("created_at") - timedelta(seconds=step["seconds"]))
            written.append({"seconds": step["seconds"]})
            continue
        headers = {"HTTP_" + key.upper(): value for key, value in step["headers"].items()}
        answer = Client(raise_request_exception=False).generic(
            step["method"], step["path"], fill(step["body"]), step["content_type"], **headers
        )
        text = answer.content.decode()
        try:
            body = json.loads(text) if text else None
        except ValueError:
            body = {"not JSON": text.strip()[:200]}
        if answer.status_code == 200 and isinstance(body, dict) and "session_token" in body:
            tokens.append(body["session_token"])
            body["session_token"] = "{{token}}"
        asked = {"method": step["method"], "path": step["path"]}
        if step["content_type"]:
            asked["content_type"] = step["content_type"]
        if step["headers"]:
            asked["headers"] = {key.replace("_", "-"): value for key, value in step["headers"].items()}
        try:
            asked["body"] = step["body"].decode()
        except UnicodeDecodeError:
            asked["body_base64"] = base64.b64encode(step["body"]).decode()
        got = {"status": answer.status_code, "content_type": answer.headers.get("Content-Type")}
        if answer.status_code == 405 or step["method"] == "OPTIONS":
            got["allow"] = answer.headers.get("Allow")
        got["body"] = body
        written.append({"request": asked, "answer": got})
    settings.PHONE_VERIFICATION.clear()
    settings.PHONE_VERIFICATION.update(usual)
    story = {"name": name, "steps": written}
    if settings_changed:
        story["settings"] = settings_changed
    stories.append(story)


call_command("migrate", verbosity=0)

# -- The way it is meant ------------------------------------------------------------------------------------------
play("a number is registered and verified", register(), verify())
play(
    "a form does as well as JSON",
    raw("register", "phone_number=%2B13478379634", "application/x-www-form-urlencoded"),
    raw(
        "verify",
        f"phone_number=%2B13478379634&session_token={{{{token}}}}&security_code={CODE}",
        "application/x-www-form-urlencoded",
    ),
)


def multipart(**fields):
    parts = "".join(
        f'--frontier\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    )
    return parts + "--frontier--\r\n", "multipart/form-data; boundary=frontier"


play(
    "multipart does as well as JSON",
    raw("register", *multipart(phone_number=NUMBER)),
    raw("verify", *multipart(phone_number=NUMBER, session_token="{{token}}", security_code=CODE)),
)
play(
    "white space around values is trimmed",
    register(f"  {NUMBER}\t\n"),
    post("verify", {"phone_number": f" {NUMBER} ", "session_token": " {{token}}\n", "security_code": f"\t{CODE}  "}),
)
play(
    "white space around form values is trimmed",
    raw("register", "phone_number=+%2B13478379634++", "application/x-www-form-urlencoded"),
    raw(
        "verify",
        f"phone_number=%2B13478379634+&session_token=+{{{{token}}}}+&security_code=%20{CODE}%0A",
        "application/x-www-form-urlencoded",
    ),
)
play("unknown fields are ignored", post("register", {"phone_number": NUMBER, "x": [1], "session_token": None}))
play("of a field given twice the last one counts", raw("register", f'{{"phone_number": "no", "phone_number": "{NUMBER}"}}'))
play(
    "of a form field given twice the last one counts",
    raw("register", "phone_number=no&phone_number=%2B13478379634", "application/x-www-form-urlencoded"),
    raw("register", "phone_number=%2B13478379634&phone_number=no", "application/x-www-form-urlencoded"),
)
play(
    "the number may be written differently the second time",
    register("+1 347 837 9634"),
    verify(number="+1 (347) 837-9634"),
)
for accept in ["application/json", "*/*", "application/*", "text/html;q=0.5, application/json", "application/json; indent=4", ""]:
    play(f"Accept: {accept}", post("register", {"phone_number": NUMBER}, accept=accept))
for accept in ["application/xml", "text/plain, image/png"]:
    play(f"Accept: {accept}", post("register", {"phone_number": NUMBER}, accept=accept))

# -- What numbers may look like --------------------------------------------------------------------------------------
for text in [
    "+13478379634", "+1 347 837 9634", "+1-347-837-9634", "+1 (347) 837-9634", "+1.347.837.9634", "+1/347/837/9634",
    "(+1) 347 837 9634", "+ 1 347 837 9634", "+44 20 7946 0018", "+44 (0)20 7946 0018", "+491701234567", "+919876543210",
    "+390612345678", "+5511987654321", "+8613812345678", "+34600000000", "+33 6 12 34 56 78",
    "\uff0b\uff11\uff13\uff14\uff17\uff18\uff13\uff17\uff19\uff16\uff13\uff14", "+\u0661\u0663\u0664\u0667\u0668\u0663\u0667\u0669\u0666\u0663\u0664",
    "\u200b+13478379634", "+1\u00a0347\u00a0837\u00a09634", "+1\u2010347\u2010837\u20109634", "+1\u2013347\u2013837\u20139634",
    "tel:+1-347-837-9634", "+1 347 837 9634 ext. 5", "+1 347 837 9634x5", "+1 800 FLOWERS", "+1-800-356-9377",
    "13478379634", "3478379634", "(347) 837-9634", "0013478379634", "01113478379634", "++13478379634", "+1+3478379634",
    "+", "+1", "+13", "+1347837963", "+134783796340", "+1347837963400000000", "+9991234567890", "+123456789", "+14151234567a",
    "abc", "+abc", "-", "phone +13478379634", "+13478379634 is mine", "+1 347 837 9634 +1 347 837 9635", "+13478379634\x00",
    "+1347\n8379634", "+13478379634;phone-context=x", "+80012345678", "+88213300655", "+10000000000", "+19005551234", "+1911",
    "9" * 300, "+" + "1" * 300, "+1" + " " * 300 + "3478379634", "\U0001f4de",
]:
    play(f"a number written as {text[:40]!r}, {len(text)} characters", register(text))

# -- Faulty fields ---------------------------------------------------------------------------------------------------
for name, value in [
    ("blank", ""), ("white space", " \t\n"), ("null", None), ("an integer", 13478379634), ("zero", 0), ("a negative integer", -5),
    ("a large integer", 10**30), ("a float", 1.5), ("true", True), ("false", False), ("a list", [NUMBER]), ("an empty list", []),
    ("an object", {"phone_number": NUMBER}), ("an empty object", {}), ("a null character", "a\x00b"),
]:
    play(f"register: phone_number is {name}", post("register", {"phone_number": value}))
    for field in ["phone_number", "session_token", "security_code"]:
        fields = {"phone_number": NUMBER, "session_token": "x", "security_code": CODE}
        play(f"verify: {field} is {name}", post("verify", {**fields, field: value}))
play("register: nothing is given", post("register", {}))
play("verify: nothing is given", post("verify", {}))
for field in ["phone_number", "session_token", "security_code"]:
    fields = {"phone_number": NUMBER, "session_token": "x", "security_code": CODE}
    del fields[field]
    play(f"verify: {field} is missing", post("verify", fields))
play(
    "every faulty field is told at once",
    post("verify", {"phone_number": "no", "session_token": "", "security_code": None}),
    post("verify", {"phone_number": None, "security_code": []}),
    post("verify", {"phone_number": "", "session_token": None, "security_code": True}),
)
form = "application/x-www-form-urlencoded"
play(
    "faulty forms",
    raw("register", "phone_number=", form),
    raw("register", "phone_number=+13478379634", form),
    raw("register", "phone_number", form),
    raw("register", "x=1", form),
    raw("register", "&&&", form),
    raw("register", "phone_number=%2B1347837963%", form),
    raw("register", "phone_number=%FF%FE", form),
    raw("register", b"phone_number=\xff\xfe", form),
    raw("register", '{"phone_number": "+13478379634"}', form),
    raw("register", "phone_number=%2B13478379634;x=1", form),
    raw("verify", "phone_number=%2B13478379634&session_token=&security_code=1", form),
    raw("verify", "", form),
)
play(
    "faulty multipart bodies",
    raw("register", *multipart(x=1)),
    raw("register", *multipart(phone_number="")),
    raw("register", "", "multipart/form-data; boundary=frontier"),
    raw("register", multipart(phone_number=NUMBER)[0], "multipart/form-data"),
    raw("register", multipart(phone_number=NUMBER)[0], "multipart/form-data; boundary=other"),
    raw("register", "nonsense", "multipart/form-data; boundary=frontier"),
    raw("register", multipart(phone_number=NUMBER)[0][:40], "multipart/form-data; boundary=frontier"),
    raw("register", multipart(phone_number=NUMBER)[0][:-16], "multipart/form-data; boundary=frontier"),
    raw(
        "register",
        f'--frontier\r\nContent-Disposition: form-data; name="phone_number"; filename="n.txt"\r\nContent-Type: text/plain\r\n\r\n{NUMBER}\r\n--frontier--\r\n',
        "multipart/form-data; boundary=frontier",
    ),
)

# -- Bodies that are not what they claim -------------------------------------------------------------------------------
for text in [
    "{", "}", "[", "{]", '{"phone_number"', '{"phone_number":', '{"phone_number": }', '{"phone_number": "+1', '{"a": 1 "b": 2}',
    '{"a" 1}', "{'a': 1}", "{a: 1}", '{"a": 1,}', "[1,]", "[1 2]", "{} {}", "{},", "nope", "nul", "tru", "-", "01", "1.", "1e", "+1", ".5",
    '{"a": 1}\n\n  x', '{"a":\n "b\n"}', '"a\\x"', '"\\u12"', '"\\u12G4"', '"\\', '"tab\there"', " ", "\n\n", "\ufeff{}", "NaN",
    '{"phone_number": NaN}', "Infinity", "-Infinity", '{"phone_number": 1e999}', '{"phone_number": "\\ud800"}', '{"phone_number": "\\ud83d\\ude00"}',
    "// comment\n{}", "{\"a\": [1, {\"b\": ]}", "phone_number=%2B13478379634", "é", '{"é": é}', "{,}", '{"a":1,,"b":2}', '{"a":1:2}', "[,1]",
    '{"a": tru}', '{1: 2}', '""x', "\x00", "{}\x00",
]:
    play(f"broken JSON: {text!r}", raw("register", text))
play("a body that is not UTF-8", raw("register", b'{"phone_number": "\xff\xfe"}'), raw("register", b"\xff"), raw("verify", b'{"\xc3\x28": 1}'))
play("a body in UTF-16", raw("register", '{"phone_number": "+13478379634"}'.encode("utf-16")))
for text in ["[]", '["a"]', '"text"', "1", "1.5", "null", "true", '[{"phone_number": "+13478379634"}]', "0", '""']:
    play(f"JSON that is not an object: {text}", raw("register", text), raw("verify", text))
play("an empty body", raw("register", ""), raw("verify", ""))

# -- Media types -------------------------------------------------------------------------------------------------------
for content_type in [
    "text/plain", "application/xml", "application/vnd.api+json", "text/json", "nonsense", "application/octet-stream", "*/*", "application/*",
    "json", "text/plain; charset=utf-8", 'text/"quoted"',
]:
    play(f"content type {content_type}", raw("register", '{"phone_number": "+13478379634"}', content_type))
play("a wrong media type and no body", raw("register", "", "text/plain"))
play("no content type", raw("register", '{"phone_number": "+13478379634"}', ""))
for content_type in [
    "application/json; charset=utf-8", "application/json;charset=UTF-8", "APPLICATION/JSON", "application/json ; a=b", "application/json;",
    "application/json; charset=nonsense", "application/json; charset=iso-8859-1",
]:
    play(f"content type {content_type}", raw("register", '{"phone_number": "+13478379634"}', content_type))

# -- Methods and paths ---------------------------------------------------------------------------------------------------
for route in ["register", "verify"]:
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]:
        play(f"{method} {route}", request(method, f"/api/phone/{route}"))
    play(f"PUT {route} with a broken body", request("PUT", f"/api/phone/{route}", "{"))
for unknown in ["/", "/api", "/api/phone", "/api/phone/", "/api/phone/registers", "/api/phone/register/x", "/phone/register", "/API/phone/register"]:
    play(f"unknown path {unknown}", request("POST", unknown, "{}"))
play("a trailing slash", request("POST", "/api/phone/register/", '{"phone_number": "+13478379634"}'))
play("a doubled slash", request("POST", "/api//phone/register", '{"phone_number": "+13478379634"}'))
play("a query string", request("POST", "/api/phone/register?phone_number=no", '{"phone_number": "+13478379634"}'))

# -- Checks ------------------------------------------------------------------------------------------------------------
play("a wrong code", register(), verify("000000"), verify())
play("a wrong code five times locks the session", register(), *[verify("000000")] * 6, verify(), verify(), verify("000000"))
play("the right code at the last attempt", register(), *[verify("000000")] * 4, verify(), verify())
play("a success sets the attempts back", register(), *[verify("000000")] * 4, verify(), *[verify("000000")] * 6)
play("a code is good once", register(), verify(), *[verify()] * 7)
play(
    "a code may be good for ever", register(), *[verify()] * 3, *[verify("000000")] * 4, *[verify()] * 2, *[verify("000000")] * 6,
    settings_changed={"VERIFY_SECURITY_CODE_ONLY_ONCE": False},
)
play("fewer attempts", register(), *[verify("000000")] * 3, verify(), settings_changed={"MAX_FAILED_ATTEMPTS": 2})
play("the last second", register(), pass_time(599), verify())
play("a code that no code can be", register(), *[verify("9" * 100)] * 3, *[verify("12\n34")] * 2, verify())
play("white space that only Python knows", register("\x1c+13478379634\x1f"), verify(f"\x1d{CODE}\x1e"))
play("too late", register(), pass_time(601), verify(), verify("000000"), *[verify()] * 5)
play("too late for one that was used", register(), verify(), pass_time(601), verify())
play("a short life", register(), pass_time(61), verify(), settings_changed={"SECURITY_CODE_EXPIRATION_SECONDS": 60})
play("an unknown session", verify(token="unknown"), register(), verify(token="unknown"), verify())
for token in ["a.b.c", "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.x", "A" * 43, "A" * 5000, "ü", "{{token}}x", "X{{token}}", "' OR 1=1 --"]:
    play(f"a session token like {token[:30]}", register(), verify(token=token))
play("a session of another number", register(), verify(number=OTHER_NUMBER), register(OTHER_NUMBER), verify(number=NUMBER), verify(number=OTHER_NUMBER))
play("an unregistered number", verify(number=OTHER_NUMBER, token="x"))
for code in [
    "42917", "0042917", "042917 ", "04 2917", "042917\n", "０４２９１７", "٠٤٢٩١٧", "042917a", "-42917", "+42917", "42917.0", "0" * 1000, "é", "042917\u200b", 42917, 42917.0,
    "\u00a0042917\u2003",
]:
    play(f"a code like {str(code)[:30]!r}", register(), verify(code))
play("registering again gives a code for the newer session", register(), register(), verify(), verify(token="{{first token}}"))

answered = {"recorded_from": {}, "code": CODE, "stories": stories}
from importlib.metadata import version

for package in ["django-phone-verify", "Django", "djangorestframework", "phonenumberslite", "django-phonenumber-field"]:
    answered["recorded_from"][package] = version(package)
answered["recorded_from"]["Python"] = sys.version.split()[0]


def lines(value):
    """One story's step a line: readable, and small in a diff."""
    yield "{"
    for key in ["recorded_from", "code"]:
        yield f" {json.dumps(key)}: {json.dumps(value[key])},"
    yield ' "stories": ['
    for index, story in enumerate(value["stories"]):
        head = {key: story[key] for key in story if key != "steps"}
        yield "  " + json.dumps(head, ensure_ascii=False)[:-1] + ', "steps": ['
        for at, step in enumerate(story["steps"]):
            yield "   " + json.dumps(step, ensure_ascii=False) + ("," if at + 1 < len(story["steps"]) else "")
        yield "  ]}" + ("," if index + 1 < len(value["stories"]) else "")
    yield " ]"
    yield "}"


# A lone surrogate cannot be written as UTF-8.
print("\n".join(lines(answered)).encode("utf-8", "backslashreplace").decode())
