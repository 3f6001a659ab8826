//! A network whose way out is a proxy: requests of backends go through it, over real TLS, and nothing that is secret on
//! the way is told.

use phone_verify_tests::{
    daemon::Daemon,
    gateways::{Behaviour, NexmoGateway},
    proxy::{Proxy, Wants},
    site::Site,
};
use rustix::process::Signal;
use serde_json::Value;

const NUMBER: &str = "+13478379634";
/// Where the backend sends to unless it is told otherwise.
const NEXMO: &str = "rest.nexmo.com";
/// A host of no network, which only the proxy knows.
const BANK: &str = "sms.bank.invalid";

/// An installation that can send to `host` through the proxy alone.
async fn behind_a_proxy(host: &str, wants: Wants) -> (NexmoGateway, Proxy, Site) {
    let gateway = NexmoGateway::start().await;
    let mut options = gateway.options();
    let direct = options.remove("BASE_URL").expect("it has an address");
    let direct = direct
        .as_str()
        .and_then(|url| url.strip_prefix("http://"))
        .expect("a URL");
    let proxy = Proxy::start(direct.parse().expect("an address and a port"), host, wants).await;
    if host != NEXMO {
        options.insert("BASE_URL".to_owned(), format!("https://{host}").into());
    }
    let site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(options));
    site.write("authority.pem", proxy.authority_pem());
    (gateway, proxy, site)
}

fn serve(site: &Site, environment: &[(&str, &str)]) -> Daemon {
    let mut command = site.command(&["serve"]);
    command
        .env("SSL_CERT_FILE", site.path("authority.pem"))
        .envs(environment.iter().copied());
    Daemon::start(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sms_goes_through_the_proxy_that_the_environment_names() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let (gateway, proxy, site) = behind_a_proxy(NEXMO, Wants::default()).await;
        let address = format!("http://{}", proxy.address());
        let daemon = serve(&site, &[(variable, &address)]);
        let registered = daemon.register(NUMBER).await;
        assert_eq!(
            registered.status,
            200,
            "{variable}: {registered:?}\n{}",
            daemon.log()
        );
        assert_eq!(gateway.inbox().len(), 1, "{variable}");
        let asked: Vec<_> = proxy.asked().into_iter().map(|asked| asked.what).collect();
        assert_eq!(asked, [format!("CONNECT {NEXMO}:443")], "{variable}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_go_before_the_environment_and_exceptions_before_both() {
    let (gateway, proxy, mut site) = behind_a_proxy(BANK, Wants::default()).await;
    site.set("http", "proxy", format!("{}", proxy.address()));
    let elsewhere = ("HTTPS_PROXY", "http://127.0.0.1:9");
    let daemon = serve(&site, &[elsewhere]);
    assert_eq!(daemon.register(NUMBER).await.status, 200, "{}", daemon.log());
    assert_eq!(gateway.inbox().len(), 1);
    drop(daemon);
    let asked = proxy.asked().len();

    let daemon = serve(&site, &[elsewhere, ("NO_PROXY", "localhost,.bank.invalid")]);
    assert_ne!(daemon.register(NUMBER).await.status, 200);
    drop(daemon);
    site.set("http", "no_proxy", vec!["bank.invalid".to_owned()]);
    let daemon = serve(&site, &[elsewhere]);
    assert_ne!(daemon.register(NUMBER).await.status, 200);
    assert_eq!(
        proxy.asked().len(),
        asked,
        "an exception is reached without the proxy"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_gets_its_credentials_and_nobody_else_does() {
    // user:hunter2
    let wants = Wants {
        credentials: Some("Basic dXNlcjpodW50ZXIy"),
        ..Wants::default()
    };
    let (gateway, proxy, mut site) = behind_a_proxy(NEXMO, wants).await;
    let address = proxy.address();
    site.set("http", "proxy", format!("http://user:hunter2@{address}"));
    let shown = format!("https through http://***@{address} ([http] proxy)");
    let checked = site.run(&["check"]);
    assert!(checked.stdout.contains(&shown), "{checked:#?}");
    let as_json = site.run(&["check", "--json"]);
    assert_eq!(as_json.json()["http"][0], shown);
    let settings = site.run(&["settings", "--print"]);
    let daemon = serve(&site, &[]);
    assert_eq!(daemon.register(NUMBER).await.status, 200, "{}", daemon.log());
    assert_eq!(gateway.inbox().len(), 1);

    // A reload takes another one up, here with a password that is wrong.
    site.set("http", "proxy", format!("http://user:hunter3@{address}"));
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("the settings are reloaded");
    let refused = daemon.register("+13478379635").await;
    assert!(refused.status >= 500, "{refused:?}");
    daemon.wait_for_log(&format!("through the proxy {address}"));
    assert_eq!(gateway.inbox().len(), 1);
    let log = daemon.log();
    for told in [
        &log,
        &daemon.printed(),
        &checked.stdout,
        &as_json.stdout,
        &settings.stdout,
        &refused.body.to_string(),
    ] {
        assert!(!told.contains("hunter") && !told.contains("dXNlcj"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_sees_the_certificate_that_the_settings_have_for_it() {
    let wants = Wants {
        client_certificate: true,
        ..Wants::default()
    };
    let (gateway, proxy, mut site) = behind_a_proxy(BANK, wants).await;
    site.set("http", "proxy", format!("http://{}", proxy.address()));
    let daemon = serve(&site, &[]);
    let refused = daemon.register(NUMBER).await;
    assert!(refused.status >= 500, "{refused:?}");

    let (certificate, key) = proxy.client_pem();
    site.write("client.pem", &certificate);
    site.write("client.key", &key);
    let named =
        |host: &str, files: &str| -> toml::Table { format!("\"{host}\" = {{ {files} }}").parse().unwrap() };
    let both = "certificate_file = \"client.pem\", key_file = \"client.key\"";
    site.set("http", "client_certificates", named(BANK, both));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode =
            |mode| std::fs::set_permissions(site.path("client.key"), std::fs::Permissions::from_mode(mode));
        mode(0o644).unwrap();
        let open = site.run(&["check"]);
        assert_eq!(open.code, Some(2), "{open:#?}");
        assert!(
            open.stderr.contains("run: chmod 600") && open.stderr.contains("client.key"),
            "{open:#?}"
        );
        mode(0o600).unwrap();
    }
    let checked = site.run(&["check"]);
    assert!(
        checked.stdout.contains(&format!("client certificate for {BANK}")),
        "{checked:#?}"
    );
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("the settings are reloaded");
    let registered = daemon.register("+13478379635").await;
    assert_eq!(registered.status, 200, "{registered:?}\n{}", daemon.log());
    assert_eq!(gateway.inbox().len(), 1);

    // One file may hold both, and what holds neither is told.
    let whole = site.write("whole.pem", format!("{certificate}{key}"));
    #[cfg(unix)]
    std::fs::set_permissions(&whole, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for (files, code, told) in [
        ("certificate_file = \"whole.pem\"", 0, ""),
        ("certificate_file = \"authority.pem\"", 2, ""),
        ("certificate_file = \"gone.pem\"", 2, "gone.pem cannot be read"),
        ("key_file = \"client.key\"", 2, "certificate_file is missing"),
        ("certificate = \"whole.pem\"", 2, "certificate is not a setting"),
    ] {
        site.set("http", "client_certificates", named(BANK, files));
        let checked = site.run(&["check"]);
        assert_eq!(checked.code, Some(code), "{files}: {checked:#?}");
        assert!(checked.stderr.contains(told), "{files}: {checked:#?}");
    }
    let _ = whole;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_goes_through_the_proxy_too_and_this_machine_never() {
    let (gateway, proxy, mut site) = behind_a_proxy(NEXMO, Wants::default()).await;
    let address = format!("http://{}", proxy.address());
    let options = |base_url: &str| {
        let mut options = gateway.options();
        options.insert("BASE_URL".to_owned(), base_url.into());
        toml::Table::try_from(options).unwrap()
    };
    site.set(
        "phone_verification",
        "OPTIONS",
        options(&format!("http://{BANK}")),
    );
    let daemon = serve(&site, &[("HTTP_PROXY", &address)]);
    assert_ne!(daemon.register(NUMBER).await.status, 200);
    let asked = proxy.asked();
    assert!(
        !asked.is_empty()
            && asked
                .iter()
                .all(|asked| asked.what.starts_with(&format!("POST http://{BANK}/"))),
        "{asked:?}"
    );
    drop(daemon);

    let direct = gateway.options()["BASE_URL"].as_str().unwrap().to_owned();
    site.set("phone_verification", "OPTIONS", options(&direct));
    let daemon = serve(&site, &[("HTTP_PROXY", &address), ("ALL_PROXY", &address)]);
    assert_eq!(daemon.register(NUMBER).await.status, 200, "{}", daemon.log());
    assert_eq!(proxy.asked().len(), asked.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_gzip_that_nobody_asked_for_is_an_answer() {
    let gateway = NexmoGateway::start().await;
    let site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    let daemon = site.serve();
    for _ in 0..5 {
        gateway.next(Behaviour::Gzip);
        let registered = daemon.register(NUMBER).await;
        assert_eq!(registered.status, 200, "{registered:?}\n{}", daemon.log());
    }
    assert_eq!(gateway.inbox().len(), 5);
}
