//! A real browser for tests of pages: headless Chromium, if the machine has one, driven over the `DevTools` protocol
//! (chromedevtools.github.io/devtools-protocol).

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// How long a test waits for the browser before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The names of the program in different distributions.
const PROGRAMS: [&str; 4] = [
    "chromium",
    "chromium-headless-shell",
    "chromium-browser",
    "google-chrome",
];

/// Starts the browser with the protocol's descriptors 3 and 4 connected to the standard streams, which are pipes to the
/// test.
const LEND_PIPES: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

/// A browser with one page.
pub struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: mpsc::Receiver<Value>,
    events: Vec<Value>,
    last_id: u64,
    /// The protocol's session for the page.
    session: Option<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser with an empty page. `None`: none is installed, which is reported on the standard error.
    ///
    /// # Panics
    /// When one is installed and does not start.
    pub fn start() -> Option<Self> {
        let Some(program) = PROGRAMS.into_iter().find(|program| is_installed(program)) else {
            eprintln!("skipped: no browser is installed, none of {PROGRAMS:?}");
            return None;
        };
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut process = Command::new("sh")
            .args(["-c", LEND_PIPES, "sh", program])
            // The page is this project's own, and in a container the browser's own sandbox often cannot start.
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args([
                "--remote-debugging-pipe",
                "--window-size=1280,800",
                "--lang=en-US",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let commands = process.stdin.take().expect("it is a pipe");
        let answers = process.stdout.take().expect("it is a pipe");
        let (heard, messages) = mpsc::channel();
        thread::spawn(move || {
            // Each message ends with a null character.
            for message in BufReader::new(answers).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else {
                    continue;
                };
                if heard.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            process,
            commands,
            messages,
            events: Vec::new(),
            last_id: 0,
            session: None,
            _profile: profile,
        };
        browser.attach();
        Some(browser)
    }

    /// Opens a page and subscribes to its events.
    fn attach(&mut self) {
        let page = self.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attached = self.call(
            "Target.attachToTarget",
            &json!({ "targetId": page["targetId"], "flatten": true }),
        );
        let session = attached["sessionId"].as_str().expect("a session");
        self.session = Some(session.to_owned());
        for domain in ["Page", "Runtime", "Network", "Log", "Accessibility"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
    }

    /// Calls a method of the protocol.
    ///
    /// # Panics
    /// When it fails, or the browser does not answer.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut command = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands
            .write_all(format!("{command}\0").as_bytes())
            .expect("the browser listens");
        loop {
            let mut message = self.next_message(method);
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    fn next_message(&self, awaited: &str) -> Value {
        self.messages
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|error| panic!("the browser says nothing to {awaited}: {error}"))
    }

    /// Opens a URL and waits until the page has loaded.
    ///
    /// # Panics
    /// When it does not load.
    pub fn go(&mut self, url: &str) {
        self.events.clear();
        self.call("Page.navigate", &json!({ "url": url }));
        while !self
            .events
            .iter()
            .any(|event| event["method"] == "Page.loadEventFired")
        {
            let event = self.next_message("Page.navigate");
            self.events.push(event);
        }
    }

    /// The value of a JavaScript expression on the page. A promise is awaited.
    ///
    /// # Panics
    /// When it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut result = self.call("Runtime.evaluate", &parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    /// Waits until a JavaScript condition is true. It is evaluated at each change of the page.
    ///
    /// # Panics
    /// When it does not become true in time.
    pub fn wait_until(&mut self, condition: &str) {
        let waiting = format!(
            "new Promise((resolve, reject) => {{
                const look = () => ({condition}) && resolve(true);
                const everything = {{ subtree: true, childList: true, attributes: true, characterData: true }};
                new MutationObserver(look).observe(document, everything);
                setTimeout(() => reject(new Error(document.body.innerText)), {});
                look();
            }})",
            PATIENCE.as_millis() / 2
        );
        self.evaluate(&waiting);
    }

    /// The visible text of the first element that matches a selector.
    ///
    /// # Panics
    /// When none matches.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector({selector:?}).innerText"));
        text.as_str().expect("a text").to_owned()
    }

    /// The id of the focused element. Empty: the element has no id.
    pub fn focused(&mut self) -> String {
        let id = self.evaluate("document.activeElement.id");
        id.as_str().unwrap_or_default().to_owned()
    }

    /// Presses and releases a key: `Tab` or `Enter`.
    ///
    /// # Panics
    /// For any other key.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => panic!("{other} has no code here"),
        };
        let down = json!({ "type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
        self.call("Input.dispatchKeyEvent", &down);
        let up = json!({ "type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", &up);
    }

    /// Types a text into the focused element.
    pub fn enter_text(&mut self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// The parameters of all events of this kind since the last [`Self::go`].
    pub fn events(&self, method: &str) -> Vec<&Value> {
        let of_kind = self.events.iter().filter(|event| event["method"] == method);
        of_kind.map(|event| &event["params"]).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closes it through the protocol first: where the program is a script, killing it would leave the browser and
        // its profile.
        let _ = self
            .commands
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        while self.messages.recv_timeout(PATIENCE).is_ok() {}
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
