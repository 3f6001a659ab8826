// The demo: a form, a phone that shows each SMS, and the requests as curl would make them.
//
// Whatever comes from the daemon is put on the page as text, never as HTML; the page's policy would refuse that too.
"use strict";

const REGISTER = "/api/phone/register";
const VERIFY = "/api/phone/verify";
// More guesses than any setting lets pass.
const MAX_GUESSES = 20;
const MAX_EXCHANGES = 60;

const at = (id) => document.getElementById(id);

// What the visitor has under way: { number, token, isOpen }.
let session = null;
// The codes that are on the phone, so that no guess is right by accident.
const seenCodes = new Set();

// --- Requests, and how curl would show them -----------------------------------------------------------------------

async function post(path, body) {
  // With spaces, as a person would type it.
  const fields = Object.entries(body).map(([name, value]) => `"${name}": ${JSON.stringify(value)}`);
  const text = `{${fields.join(", ")}}`;
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: text,
    });
  } catch {
    return { status: 0, body: {}, retryAfter: 0 };
  }
  const answer = await response.text();
  show(path, text, response, answer);
  const retryAfter = Number(response.headers.get("retry-after")) || 0;
  let read = {};
  try {
    read = JSON.parse(answer);
  } catch {
    // Whatever stands between this page and the daemon answered.
  }
  return { status: response.status, body: read, retryAfter };
}

function show(path, body, response, answer) {
  const command = document.createElement("pre");
  command.className = "command";
  const quoted = body.replaceAll("'", "'\\''");
  command.append(
    element("span", "prompt", "$ "),
    `curl -i ${location.origin}${path} -H 'content-type: application/json' \\\n    -d '${quoted}'`,
  );
  const pre = document.createElement("pre");
  pre.className = "answer";
  const kind = response.ok ? "succeeded" : "refused";
  pre.append(element("span", kind, `HTTP/1.1 ${response.status} ${response.statusText}`), "\n");
  // The others say nothing of this request.
  for (const name of ["content-type", "retry-after"]) {
    const value = response.headers.get(name);
    if (value !== null) pre.append(`${name}: ${value}\n`);
  }
  pre.append("\n", element("span", "body", answer));
  const exchanges = at("exchanges");
  exchanges.append(command, pre);
  while (exchanges.childElementCount > 2 * MAX_EXCHANGES) exchanges.firstElementChild.remove();
  exchanges.hidden = false;
  at("curl-empty").hidden = true;
  exchanges.scrollTop = exchanges.scrollHeight;
}

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// --- What is said of an answer ------------------------------------------------------------------------------------

// The words of the daemon, for people.
function reason(answer) {
  if (answer.status === 0) return "The daemon does not answer. Is it running?";
  const { detail, ...fields } = answer.body;
  const texts = Object.values(fields).filter(Array.isArray).flat();
  const said = detail ?? texts.join(" ");
  return said || `The daemon answered with status ${answer.status}.`;
}

function say(id, className, text) {
  const status = at(id);
  status.className = `status ${className}`;
  status.textContent = text;
}

function markInvalid(id, isInvalid) {
  at(id).setAttribute("aria-invalid", String(isInvalid));
}

// --- Who may do what now ------------------------------------------------------------------------------------------

// A button that is busy keeps the focus, which one that is `disabled` would lose.
function setBusy(isBusy) {
  for (const button of document.querySelectorAll("form button, #attack")) {
    button.setAttribute("aria-disabled", String(isBusy));
  }
}

let isBusy = false;

async function alone(action) {
  if (isBusy) return;
  isBusy = true;
  setBusy(true);
  try {
    await action();
  } finally {
    isBusy = false;
    setBusy(false);
  }
}

// --- The visitor --------------------------------------------------------------------------------------------------

async function register(number) {
  const answer = await post(REGISTER, { phone_number: number });
  if (answer.status === 200) session = { number, token: answer.body.session_token, isOpen: true };
  return answer;
}

function check(code) {
  const { number, token } = session;
  return post(VERIFY, { phone_number: number, session_token: token, security_code: code });
}

async function sendCode() {
  const answer = await register(at("number").value.trim());
  const isSent = answer.status === 200;
  markInvalid("number", answer.body.code === "phone_number_invalid");
  if (isSent) {
    at("code").value = "";
    markInvalid("code", false);
    say("register-status", "good", "✓ Sent. The SMS is on the phone.");
    say("verify-status", "", "");
    at("code").focus();
  } else {
    const wait = answer.retryAfter ? ` Again in ${answer.retryAfter} s, or take another number.` : "";
    say("register-status", "bad", `✗ ${reason(answer)}${wait}`);
  }
}

async function verifyCode() {
  if (session === null) {
    say("verify-status", "bad", "✗ Ask for a code first.");
    at("number").focus();
    return;
  }
  const answer = await check(at("code").value);
  const isValid = answer.status === 200;
  markInvalid("code", !isValid);
  if (isValid) {
    session.isOpen = false;
    say("verify-status", "good", `✓ ${answer.body.message} ${session.number} is verified.`);
  } else {
    say("verify-status", "bad", `✗ ${reason(answer)}`);
  }
}

// --- The attacker -------------------------------------------------------------------------------------------------

async function attack() {
  const steps = at("attack-steps");
  steps.replaceChildren();
  const step = (className, text) => steps.append(element("li", className, text));
  const number = at("number").value.trim();
  if (session === null || session.number !== number || !session.isOpen) {
    const answer = await register(number);
    if (answer.status !== 200) {
      step("", `Asks for an SMS. ${refusal(answer)}`);
      return;
    }
    step("", "Asks for an SMS: it goes to the phone, which the attacker does not have.");
  }
  const again = await post(REGISTER, { phone_number: number });
  if (again.status === 200) {
    session = { number, token: again.body.session_token, isOpen: true };
    step("", "Asks for another SMS: the last one was long enough ago.");
    const third = await post(REGISTER, { phone_number: number });
    step("", `And for another one at once. ${refusal(third)}`);
  } else {
    step("", `Asks for another SMS at once. ${refusal(again)}`);
  }
  let guesses = 0;
  let answer;
  do {
    answer = await check(guess());
    guesses += 1;
  } while (answer.body.code === "security_code_invalid" && guesses < MAX_GUESSES);
  step("", `Guesses ${guesses - 1} wrong codes, and then every code is refused. ${refusal(answer)}`);
  session.isOpen = false;
  step("", "Try the right code now: it comes too late. Ask for a new SMS to go on.");
}

function refusal(answer) {
  const wait = answer.retryAfter ? `, for ${answer.retryAfter} s` : "";
  return `Refused with ${answer.status}${wait}: ${reason(answer)}`;
}

function guess() {
  let code;
  do {
    code = String(Math.floor(Math.random() * 1_000_000)).padStart(6, "0");
  } while (seenCodes.has(code));
  return code;
}

// --- The phone ----------------------------------------------------------------------------------------------------

function arrive(sms) {
  const message = document.createElement("article");
  message.className = "sms";
  message.append(element("p", "to", `To ${sms.number}`), element("p", "text", sms.text));
  const code = sms.text.match(/(?<!\d)\d{6}(?!\d)/)?.[0];
  if (code !== undefined) {
    seenCodes.add(code);
    const use = element("button", "quiet", `Use ${code}`);
    use.type = "button";
    use.addEventListener("click", () => {
      at("code").value = code;
      at("code").focus();
    });
    message.append(use);
  }
  const messages = at("messages");
  messages.append(message);
  messages.scrollTop = messages.scrollHeight;
  say("phone-status", "", "");
}

// The daemon sends all that it has to each page that connects, also again.
function follow() {
  const source = new EventSource("/demo/messages");
  source.addEventListener("open", () => {
    at("messages").replaceChildren();
    say("phone-status", "", "No SMS yet.");
  });
  source.addEventListener("message", (event) => arrive(JSON.parse(event.data)));
  source.addEventListener("error", () => say("phone-status", "bad", "No connection to the daemon. Is it running?"));
}

// --- Begin --------------------------------------------------------------------------------------------------------

function onSubmit(id, action) {
  at(id).addEventListener("submit", (event) => {
    event.preventDefault();
    alone(action);
  });
}

onSubmit("register", sendCode);
onSubmit("verify", verifyCode);
at("attack").addEventListener("click", () => alone(attack));
follow();
