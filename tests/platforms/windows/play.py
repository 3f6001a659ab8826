"""What is played under Wine: one line a scenario, and exit code 1 if one of them failed."""

import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

BIN = Path(sys.argv[1]).resolve()
HOME = Path(tempfile.mkdtemp(prefix="phone-verify-wine-"))
WINE = shutil.which("wine64") or "/usr/lib/wine/wine64"
ENVIRONMENT = {
    **os.environ,
    "WINEPREFIX": str(HOME / "prefix"),
    "WINEDEBUG": "-all",
    "WINEDLLOVERRIDES": "mscoree,mshtml,winedbg.exe=",
    "DISPLAY": "",
    "NO_COLOR": "1",
}
PATIENCE_SECONDS = 120
NUMBER = "+13478379634"


class Acme(http.server.BaseHTTPRequestHandler):
    """The provider: takes each SMS."""

    texts = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        Acme.texts.append(json.loads(body))
        answer = json.dumps({"id": f"acme-{len(Acme.texts)}"}).encode()
        self.send_response(202)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {PATIENCE_SECONDS} s for {what}")


def command(program, *arguments, folder=None):
    return subprocess.run(
        [WINE, str(program), *map(str, arguments)],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=900,
        text=True,
        errors="replace",
    )


def ours(word):
    """Processes of this run with this word among their arguments."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            environment = (process / "environ").read_bytes().decode(errors="replace")
        except (OSError, ValueError):
            continue
        if word in arguments and str(HOME) in environment:
            found.append(int(process.name))
    return found


class Daemon:
    def __init__(self, *arguments, folder):
        self.log = folder / "daemon.log"
        self.out = self.log.open("ab")
        self.process = subprocess.Popen(
            [WINE, str(BIN / "phone-verify.exe"), "serve", *arguments],
            cwd=folder,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=self.out,
            stderr=self.out,
        )
        self.url = wait_for("the daemon to listen", self._url)

    def text(self):
        return self.log.read_text(errors="replace")

    def _url(self):
        assert self.process.poll() is None, self.text()
        found = re.search(r"^listening on (\S+)", self.text(), re.MULTILINE)
        return found and f"http://{found[1].removeprefix('http://')}"

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or "null")

    def send(self):
        """One SMS to a number of its own."""
        Daemon.numbers += 1
        number = f"+1347837{Daemon.numbers:04}"
        before = len(Acme.texts)
        status, answer = self.ask("/api/phone/register", {"phone_number": number})
        assert status == 200 and answer["session_token"], (status, answer, self.text()[-3000:])
        assert len(Acme.texts) == before + 1, "the provider got no SMS"

    numbers = 1000

    def backend(self):
        status, answer = self.ask("/v1/backends")
        assert status == 200, answer
        return answer

    def end(self):
        for pid in ours("serve"):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
        self.out.close()


def settings(folder, library, more=""):
    plugins = folder / "plugins"
    plugins.mkdir(parents=True)
    shutil.copy(library, plugins)
    (folder / "phone-verify.toml").write_text(
        f"""
[phone_verification]
BACKEND = "acme.AcmeBackend"
TOKEN_LENGTH = 6
MESSAGE = "Use {{security_code}} for {{app}}."
APP_NAME = "Phone Verify"
SECURITY_CODE_EXPIRATION_SECONDS = 600
VERIFY_SECURITY_CODE_ONLY_ONCE = true
[phone_verification.OPTIONS]
KEY = "secret-of-acme"
FROM = "+1232328372987"
BASE_URL = "http://127.0.0.1:{PROVIDER.server_port}"
[server]
listen = "127.0.0.1:0"
[plugins]
trust = "any"
{more}
"""
    )
    return plugins


def demo(folder):
    daemon = Daemon("--demo", "--listen", "127.0.0.1:0", folder=folder)
    try:
        status, answer = daemon.ask("/api/phone/register", {"phone_number": NUMBER})
        assert status == 200, (status, answer)
        card = wait_for("the SMS on the terminal", lambda: re.search(r"SMS to \S+\s+\S* .*?(\d{6})", daemon.text()))
        body = {"phone_number": NUMBER, "session_token": answer["session_token"]}
        status, wrong = daemon.ask("/api/phone/verify", {**body, "security_code": "000000" if card[1] != "000000" else "111111"})
        assert status == 400, wrong
        status, answer = daemon.ask("/api/phone/verify", {**body, "security_code": card[1]})
        assert status == 200 and answer["message"] == "Security code is valid.", answer
    finally:
        daemon.end()


def worker(folder):
    settings(folder, BIN / "c" / "acme.dll")
    daemon = Daemon(folder=folder)
    try:
        daemon.send()
        assert '"isolation":"worker"' in json.dumps(daemon.backend(), separators=(",", ":")), daemon.backend()
        assert len(ours("__plugin-worker")) == 1, "no process of its own"
        warnings = daemon.ask("/readyz")[1]["warnings"]
        assert any("weaker sandbox" in warning for warning in warnings), warnings
        checked = command(BIN / "phone-verify.exe", "check", "--json", folder=folder)
        assert "weaker sandbox" in checked.stdout, checked.stdout + checked.stderr
    finally:
        daemon.end()
    wait_for("the worker to end with the daemon", lambda: not ours("__plugin-worker"))


def inline(library):
    def play(folder):
        settings(folder, BIN / library / "acme.dll", 'isolation = "inline"')
        daemon = Daemon(folder=folder)
        try:
            daemon.send()
            assert not ours("__plugin-worker"), "a process of its own"
        finally:
            daemon.end()

    return play


def rust(folder):
    settings(folder, BIN / "rust" / "acme.dll")
    daemon = Daemon(folder=folder)
    try:
        daemon.send()
        assert len(ours("__plugin-worker")) == 1, "no process of its own"
    finally:
        daemon.end()


def service(folder):
    """All that the service manager is asked for, in the order of an operator who forgets something each time."""

    def does(action, *arguments, code=0, says=""):
        done = command(BIN / "phone-verify.exe", "service", action, *arguments, folder=folder)
        told = done.stdout + done.stderr
        assert done.returncode == code and says in told, (action, arguments, done.returncode, told)

    def state(word):
        return lambda: word in command("sc.exe", "query", "phone-verify").stdout

    # Wine ends its services with the last program that was started by hand.
    session = subprocess.Popen([WINE, "cmd.exe"], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    log = folder / "phone-verify.log"
    named = ["--settings", folder / "phone-verify.toml"]
    try:
        does("start", code=1, says="phone-verify service install does that")
        does("install", *named, says="is installed")
        does("install", *named, code=1, says="it is installed already")
        does("stop", code=1, says="it does not run")
        does("start", code=1, says="ended before it served")
        assert "the settings file" in log.read_text(), log.read_text()
        settings(folder, BIN / "c" / "acme.dll")
        does("start", says="is started")
        assert state("RUNNING")()
        url = re.search(r"^listening on (\S+)", log.read_text(), re.MULTILINE)[1]
        with urllib.request.urlopen(f"{url}/readyz", timeout=60) as answer:
            assert answer.status == 200
        does("start", code=1, says="it runs already")
        does("reload", says="is asked to reload")
        wait_for("the reload", lambda: "the settings are reloaded" in log.read_text())
        does("stop", says="is asked to stop")
        wait_for("the end", lambda: "stopped: everything under way was finished" in log.read_text())
        wait_for("the service to have ended", state("STOPPED"))
        does("start", says="is started")
        does("uninstall", says="its folder stays")
        wait_for("the service to be gone", lambda: not state("phone-verify")())
        wait_for("its end", lambda: log.read_text().count("stopped: everything under way was finished") == 2)
        does("uninstall", code=1, says="it is not installed")
    except AssertionError:
        if log.exists():
            shutil.copy(log, folder / "daemon.log")
        raise
    finally:
        session.stdin.close()
        session.wait(60)


def killed(folder):
    settings(folder, BIN / "c" / "acme.dll")
    daemon = Daemon(folder=folder)
    try:
        daemon.send()
        (first,) = ours("__plugin-worker")
        os.kill(first, signal.SIGKILL)
        wait_for("the end of the worker to be seen", lambda: "its worker process" in daemon.text())
        assert 'from outside, by an administrator' in daemon.text() and 'code="P712"' in daemon.text(), daemon.text()
        daemon.send()
        assert ours("__plugin-worker") != [first]
        assert "plugin crashes" not in daemon.text(), "something is kept for the author, who has done nothing"
    finally:
        daemon.end()


def ended(library, cause):
    """A library that ends its process when it is to send costs that SMS, and is told as what it is."""

    def play(folder):
        settings(folder, BIN / library / "acme.dll")
        daemon = Daemon(folder=folder)
        try:
            status, answer = daemon.ask("/api/phone/register", {"phone_number": NUMBER})
            # A process that is not kept from the network may have sent by itself.
            assert (status, answer["code"]) == (502, "sms_outcome_unknown"), (status, answer)
            wait_for("the end of the worker to be seen", lambda: cause in daemon.text())
            assert 'code="P704"' in daemon.text(), daemon.text()
            wait_for("the bundle for the author", lambda: "plugin crashes 1" in daemon.text())
            shown = command(BIN / "phone-verify.exe", "plugin", "crashes", "1", folder=folder)
            assert shown.returncode == 0 and cause in shown.stdout, shown.stdout + shown.stderr
            assert daemon.ask("/healthz")[0] == 200
        finally:
            daemon.end()

    return play


def crash(place):
    def play(folder):
        plugins = settings(folder, BIN / "c" / "acme.dll", f'isolation = "{place}"')
        daemon = Daemon(folder=folder)
        try:
            daemon.send()
            shutil.copy(BIN / "c-crash" / "acme.dll", plugins)
            wait_for("the refusal", lambda: "that was goes on serving" in daemon.text())
            assert "an invalid memory access" in daemon.text(), daemon.text()
            daemon.send()
            assert "0.1.0" in json.dumps(daemon.backend()), daemon.backend()
        finally:
            daemon.end()

    return play


def rollback(folder):
    plugins = settings(folder, BIN / "c" / "acme.dll")
    daemon = Daemon(folder=folder)

    def serves(version):
        return lambda: f'"{version}"' in json.dumps(daemon.backend())

    try:
        daemon.send()
        shutil.copy(BIN / "c-2" / "acme.dll", plugins)
        wait_for("the new version", serves("0.2.0"))
        daemon.send()
        done = command(BIN / "phone-verify.exe", "plugin", "rollback", "acme", folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        wait_for("the version before", serves("0.1.0"))
        daemon.send()
    finally:
        daemon.end()


def plugin_check(library):
    def play(folder):
        folder.mkdir(parents=True, exist_ok=True)
        done = command(BIN / "phone-verify.exe", "plugin", "check", BIN / library / "acme.dll", "--time-limit", "600", folder=folder)
        failed = re.findall(r"^ *FAILED.*(?:\n {10,}.*)*", done.stdout, re.MULTILINE)
        assert done.returncode == 0, "\n".join(failed) or (done.stdout + done.stderr)[-4000:]

    return play


SCENARIOS = {
    "demo: register and verify": demo,
    "a dropped DLL in C, in a worker, which ends with the daemon": worker,
    "a dropped DLL in Rust, in a worker": rust,
    "a dropped DLL in C, inline": inline("c"),
    "a dropped DLL in Rust, inline": inline("rust"),
    "a worker that is killed, which is not called the library's doing": killed,
    "a library that crashes in a call, in a worker": ended("c-crash-sending", "an invalid memory access"),
    "a library that exits in a call, in a worker": ended("c-exit-sending", "exited with code 3: the library ended the process"),
    "a constructor that crashes at a reload, in a worker": crash("worker"),
    "a constructor that crashes at a reload, inline": crash("inline"),
    "rollback": rollback,
    "plugin check of the backend in C": plugin_check("c"),
    "plugin check of the backend in Rust": plugin_check("rust"),
    "the service: install, start, reload, stop, uninstall": service,
}

PROVIDER = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Acme)
threading.Thread(target=PROVIDER.serve_forever, daemon=True).start()
command("wineboot", "--init")

only = sys.argv[2:]
failures = 0
for number, (name, scenario) in enumerate(SCENARIOS.items()):
    if only and not any(word in name for word in only):
        continue
    folder = HOME / f"scenario-{number}"
    folder.mkdir()
    try:
        scenario(folder)
        print(f"ok      {name}", flush=True)
    except Exception as error:  # Each scenario is to be told of.
        failures += 1
        log = folder / "daemon.log"
        print(f"FAILED  {name}: {error!r}", flush=True)
        if log.exists():
            print("        " + "\n        ".join(log.read_text(errors="replace").splitlines()[-25:]), flush=True)
subprocess.run(["wineserver", "-k"], env=ENVIRONMENT, check=False)
if not failures:
    shutil.rmtree(HOME, ignore_errors=True)
sys.exit(1 if failures else 0)
