//! The page of the demo in a real browser, as its visitors use it: with a keyboard alone, in a narrow window, in the
//! dark.

use phone_verify_tests::{browser::Browser, daemon::Daemon};
use serde_json::{Value, json};

use super::demo;

/// A browser at the page; `None`: the machine has no browser.
fn at_the_page(daemon: &Daemon) -> Option<Browser> {
    let mut browser = Browser::start()?;
    browser.go(&format!("http://{}/", daemon.address()));
    Some(browser)
}

/// What the page asked for lies on this daemon, and neither the browser nor the page's policy found a fault.
fn assert_in_order(browser: &Browser, daemon: &Daemon) {
    let own = format!("http://{}/", daemon.address());
    for request in browser.events("Network.requestWillBeSent") {
        let url = request["request"]["url"].as_str().unwrap();
        assert!(url.starts_with(&own), "{url} is elsewhere");
    }
    assert_eq!(browser.events("Runtime.exceptionThrown"), Vec::<&Value>::new());
    for entry in browser.events("Log.entryAdded") {
        // The browser notes each refusal of the API, which is what the page is to show.
        let url = entry["entry"]["url"].as_str().unwrap_or_default();
        let is_refusal = entry["entry"]["source"] == "network" && url.contains("/api/phone/");
        assert!(is_refusal, "{entry}");
    }
}

fn code_on_the_phone(browser: &mut Browser) -> String {
    browser.wait_until("document.querySelector('.sms')");
    let text = browser.text(".sms .text");
    text.chars().filter(char::is_ascii_digit).collect()
}

#[test]
fn a_visitor_verifies_a_number_with_the_keyboard_alone() {
    let (_site, daemon) = demo();
    let Some(mut browser) = at_the_page(&daemon) else {
        return;
    };
    // The first stop is the link that skips to the form.
    browser.press("Tab");
    browser.press("Tab");
    assert_eq!(browser.focused(), "number");
    browser.press("Enter");
    browser.wait_until("document.querySelector('#register-status').innerText.includes('Sent')");
    let code = code_on_the_phone(&mut browser);
    assert_eq!(browser.focused(), "code", "the code is asked for next");
    browser.enter_text("000000");
    browser.press("Enter");
    browser.wait_until("document.querySelector('#verify-status').innerText.includes('not valid')");
    assert_eq!(
        browser.evaluate("document.querySelector('#code').ariaInvalid"),
        "true"
    );
    browser.evaluate("document.querySelector('#code').select()");
    browser.enter_text(&code);
    browser.press("Enter");
    browser.wait_until("document.querySelector('#verify-status').innerText.includes('is verified')");

    let curl = browser.text("#exchanges");
    let register = format!("curl -i http://{}/api/phone/register", daemon.address());
    for shown in [
        register.as_str(),
        "HTTP/1.1 200 OK",
        "session_token",
        "HTTP/1.1 400 Bad Request",
        "Security code is valid.",
    ] {
        assert!(curl.contains(shown), "{shown:?} is not in {curl}");
    }
    assert_in_order(&browser, &daemon);
}

#[test]
fn a_visitor_sees_what_an_attacker_sees() {
    let (_site, daemon) = demo();
    let Some(mut browser) = at_the_page(&daemon) else {
        return;
    };
    browser.evaluate("document.querySelector('#attack').focus()");
    browser.press("Enter");
    browser.wait_until("document.querySelector('#attack').ariaDisabled === 'false'");
    let steps = browser.text("#attack-steps");
    for seen in [
        "429",
        "A limit has been reached",
        "5 wrong codes",
        "Too many failed verification attempts",
    ] {
        assert!(steps.contains(seen), "{seen:?} is not in {steps}");
    }
    let curl = browser.text("#exchanges");
    assert!(curl.contains("retry-after: "), "{curl}");
    // The right code comes too late for this session.
    let code = code_on_the_phone(&mut browser);
    browser.evaluate("document.querySelector('.sms button').click()");
    assert_eq!(browser.focused(), "code");
    assert_eq!(browser.evaluate("document.querySelector('#code').value"), code);
    browser.press("Enter");
    browser.wait_until("document.querySelector('#verify-status').innerText.includes('Too many failed')");
    assert_in_order(&browser, &daemon);
}

/// Texts whose colours differ too little (WCAG 2.2, 1.4.3), as the browser computes them.
const TOO_PALE: &str = r"
    (() => {
      const read = (colour) => colour.match(/[\d.]+/g).map(Number);
      const light = (colour) => {
        const [r, g, b] = read(colour).map((part) => part / 255)
          .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
          const colour = getComputedStyle(at).backgroundColor;
          if ((read(colour)[3] ?? 1) === 1) return colour;
        }
        return 'rgb(255, 255, 255)';
      };
      const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
      return [...document.body.querySelectorAll('*')]
        .filter((element) => element.checkVisibility() && (hasText(element) || element.matches('input')))
        .map((element) => {
          const [a, b] = [getComputedStyle(element).color, ground(element)].map(light).sort((a, b) => b - a);
          return [element.outerHTML.slice(0, 90), (a + 0.05) / (b + 0.05)];
        })
        .filter(([, ratio]) => ratio < 4.5);
    })()";

/// Controls without a name, or too small to be hit (WCAG 2.2, 2.5.8).
const TOO_SMALL: &str = r"
    [...document.querySelectorAll('button, input')]
      .filter((control) => Math.min(control.offsetWidth, control.offsetHeight) < 24)
      .map((control) => control.outerHTML)";

#[test]
fn the_page_can_be_read_in_every_window_and_in_the_dark() {
    let (_site, daemon) = demo();
    let Some(mut browser) = at_the_page(&daemon) else {
        return;
    };
    // With everything on it that it can show.
    browser.evaluate("document.querySelector('#attack').click()");
    browser.wait_until("document.querySelector('#attack-steps').childElementCount >= 4");
    code_on_the_phone(&mut browser);
    browser.wait_until("document.querySelector('#attack').ariaDisabled === 'false'");
    for scheme in ["light", "dark"] {
        for width in [320, 390, 1280_u64] {
            let device =
                json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600 });
            browser.call("Emulation.setDeviceMetricsOverride", &device);
            let features = json!({ "features": [
                { "name": "prefers-color-scheme", "value": scheme },
                { "name": "prefers-reduced-motion", "value": "reduce" },
            ] });
            browser.call("Emulation.setEmulatedMedia", &features);
            let seen = format!("{scheme}, {width} wide");
            let wide = browser.evaluate("document.documentElement.scrollWidth");
            assert!(
                wide.as_u64() <= Some(width),
                "{seen}: it does not fit into {wide}"
            );
            assert_eq!(browser.evaluate(TOO_PALE), json!([]), "{seen}");
            assert_eq!(browser.evaluate(TOO_SMALL), json!([]), "{seen}");
            assert_eq!(
                browser.evaluate("document.getAnimations().length"),
                0,
                "{seen}: it moves"
            );
        }
    }
    let tree = browser.call("Accessibility.getFullAXTree", &json!({}));
    let nodes = tree["nodes"].as_array().unwrap();
    let controls: Vec<&Value> = nodes
        .iter()
        .filter(|node| {
            matches!(
                node["role"]["value"].as_str(),
                Some("button" | "textbox" | "link")
            )
        })
        .collect();
    assert!(controls.len() >= 6, "{controls:?}");
    for control in controls {
        let name = control["name"]["value"].as_str().unwrap_or_default();
        assert!(!name.is_empty(), "it has no name: {control}");
    }
    assert_in_order(&browser, &daemon);
}
