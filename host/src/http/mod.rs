//! HTTP: a thin shell over the verifier. All routes are on this page, each with the scope that an API key needs for it;
//! a route is a file in `routes`, errors become answers in `error` alone.

mod access;
mod answer;
mod body;
mod code;
mod cross_site;
mod date;
mod error;
mod idempotency;
mod json;
mod keys;
mod listener;
mod live;
mod media_type;
mod openapi;
mod problem;
mod python_json;
mod routes;
mod schema;
mod serve;
mod usual;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
};
use tokio::sync::Semaphore;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes as methods,
};

use keys::Need;
pub use listener::{Listener, Passed, Unbound, bind, look};
pub use live::{Generation, Live};
use routes::{demo, healthz, metrics, phone_register, phone_verify, readyz, v1};
pub use routes::{demo::DemoPhone, v1::receipts::RECEIPTS_AT_ONCE};
pub use serve::{Bounds, ConnectionCounts, Connections, serve};

use crate::{
    clock::{Clock, UnixMillis},
    entropy::Entropy,
    fleet::Fleet,
    metrics::Metrics,
    model::{ClientAddresses, DropIn, PageOrigin, PublicUrl, Scope, TrustedProxies},
    store::Store,
};

/// What the routes need.
pub struct App {
    /// What a reload exchanges.
    pub live: Live,
    /// For the readiness probe.
    pub store: Arc<dyn Store>,
    /// What sends.
    pub fleet: Arc<Fleet>,
    /// For the metrics.
    pub connections: Arc<Connections>,
    /// Whose `X-Forwarded-For` and `Forwarded` are believed.
    pub trusted_proxies: TrustedProxies,
    /// Pages of other sites that may use the service.
    pub allowed_origins: Vec<PageOrigin>,
    /// How browsers see this server.
    pub public_url: Option<PublicUrl>,
    /// Who may use `/api/phone/*`.
    pub drop_in_endpoints: DropIn,
    /// How long a body may take to arrive.
    pub read_timeout: Duration,
    /// For the access log.
    pub clock: Clock,
    /// What all parts count.
    pub metrics: Metrics,
    /// When the process began.
    pub started_at: UnixMillis,
    /// For the ids of requests.
    pub entropy: Entropy,
    /// How the access log shows who made a request.
    pub client_addresses: ClientAddresses,
    /// Bounds how many requests of providers libraries have at once.
    pub receipts_under_way: Semaphore,
    /// What the page of `serve --demo` shows; `None`: this is no demo, and there is no page.
    pub demo: Option<Arc<DemoPhone>>,
}

/// The service, from the outermost layer to the routes.
pub fn router(app: Arc<App>) -> Router {
    let log = from_fn_with_state(Arc::clone(&app), access::log);
    let (routes, mut description) = routes(&app).split_for_parts();
    let (for_providers, of_providers) = for_providers().split_for_parts();
    description.merge(of_providers);
    let routes = routes.route("/openapi.json", openapi::answer(&description));
    let routes = match &app.demo {
        Some(phone) => routes.merge(demo::routes(&app, phone)),
        None => routes,
    };
    let routes = routes
        .fallback(routes::not_found)
        .method_not_allowed_fallback(routes::method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), cross_site::guard))
        .merge(for_providers.method_not_allowed_fallback(routes::method_not_allowed))
        .layer(log)
        .with_state(app);
    Router::new()
        .fallback_service(routes)
        .layer(from_fn(usual::around))
}

/// All routes, and their description.
fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    let open = OpenApiRouter::with_openapi(openapi::begin())
        .routes(methods!(healthz::answer))
        .routes(methods!(readyz::answer));
    let verify = OpenApiRouter::new()
        .routes(methods!(v1::verifications::create))
        .routes(methods!(v1::verification::cancel))
        .routes(methods!(v1::check::check))
        .routes(openapi::with_optional_body(methods!(v1::resend::resend)));
    let once = (Arc::clone(app), Arc::<idempotency::UnderWay>::default());
    let once = from_fn_with_state(once, idempotency::once);
    let verify = openapi::with_problems(verify).route_layer(once.clone());
    let messages = OpenApiRouter::new()
        .routes(methods!(v1::messages::send))
        .routes(methods!(v1::message::show));
    let messages = openapi::with_problems(messages).route_layer(once);
    let read = OpenApiRouter::new()
        .routes(methods!(v1::verification::show))
        .routes(methods!(v1::latest_verifications::list))
        .routes(methods!(v1::backends::show))
        .routes(methods!(v1::decisions::show));
    let metrics = OpenApiRouter::new().routes(methods!(metrics::answer));
    open.merge(drop_in(app))
        .merge(needs(app, Scope::Verify, verify))
        .merge(needs(app, Scope::Messages, messages))
        .merge(needs(app, Scope::Read, openapi::with_problems(read)))
        .merge(needs(app, Scope::Metrics, openapi::with_errors(metrics)))
}

/// Where providers report about messages. They have no API key, and which pages may use the service does not concern
/// them: the signature of a request, or a secret part of the address, says who makes it.
fn for_providers() -> OpenApiRouter<Arc<App>> {
    let routes = OpenApiRouter::new()
        .routes(methods!(v1::receipts::post, v1::receipts::get))
        .routes(methods!(
            v1::receipts::post_to_secret,
            v1::receipts::get_at_secret
        ));
    openapi::with_problems(routes)
}

/// The endpoints of django-phone-verify.
fn drop_in(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    let endpoints = OpenApiRouter::new()
        .routes(methods!(phone_register::register).map(|methods| methods.options(phone_register::describe)))
        .routes(methods!(phone_verify::verify).map(|methods| methods.options(phone_verify::describe)));
    let endpoints = openapi::with_errors(endpoints);
    match app.drop_in_endpoints {
        DropIn::Open => endpoints,
        DropIn::Key => keys(app, Scope::Verify, true, endpoints),
        DropIn::Closed => OpenApiRouter::new(),
    }
}

/// Routes that need an API key with this scope where the settings name keys.
fn needs(app: &Arc<App>, scope: Scope, routes: OpenApiRouter<Arc<App>>) -> OpenApiRouter<Arc<App>> {
    keys(app, scope, false, routes)
}

fn keys(
    app: &Arc<App>,
    scope: Scope,
    always: bool,
    routes: OpenApiRouter<Arc<App>>,
) -> OpenApiRouter<Arc<App>> {
    let need = Need {
        app: Arc::clone(app),
        scope,
        always,
    };
    openapi::with_key(routes, scope, always).route_layer(from_fn_with_state(need, keys::authorize))
}
