//! `GET /openapi.json`: the `OpenAPI` description of both APIs. Each route describes itself by the types that it reads
//! and writes; what many routes share is added here.

use std::sync::Arc;

use axum::{
    body::Bytes,
    http::header,
    routing::{MethodRouter, get},
};
use utoipa::{
    ToSchema,
    openapi::{
        ContentBuilder, HeaderBuilder, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
        Required, Response, ResponseBuilder, Schema, SecurityRequirement,
        header::Header,
        path::Operation,
        schema::{AdditionalProperties, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::{
    App,
    problem::{DropInError, PROBLEM_JSON, ProblemBody},
};
use crate::model::Scope;

/// The name of the security scheme in the description.
const API_KEY: &str = "api_key";

type Routes = OpenApiRouter<Arc<App>>;

/// The description without routes.
pub(super) fn begin() -> OpenApi {
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An API key; needed where the settings of the server name any.",
        ));
    let mut description = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("phone-verify")
                .description(Some("Verifies phone numbers by SMS."))
                .version(env!("CARGO_PKG_VERSION")),
        )
        .build();
    description
        .components
        .get_or_insert_default()
        .add_security_scheme(API_KEY, SecurityScheme::Http(key.build()));
    description
}

/// A route that answers with the description.
pub(super) fn answer(description: &OpenApi) -> MethodRouter<Arc<App>> {
    let json = Bytes::from(serde_json::to_vec(description).unwrap_or_default());
    get(move || {
        let json = json.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], json) }
    })
}

/// Adds the errors of the native API to these routes, and that their bodies must not have unknown fields.
pub(super) fn with_problems(mut routes: Routes) -> Routes {
    let bodies: Vec<String> = operations(&mut routes)
        .flat_map(|operation| bodies(operation))
        .collect();
    let schemas = &mut routes
        .get_openapi_mut()
        .components
        .get_or_insert_default()
        .schemas;
    for name in bodies {
        if let Some(RefOr::T(Schema::Object(body))) = schemas.get_mut(&name) {
            body.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
    with_errors_of::<ProblemBody>(routes, PROBLEM_JSON)
}

/// The names of the schemas of an operation's request body.
fn bodies(operation: &Operation) -> Vec<String> {
    let body = match &operation.request_body {
        Some(RefOr::T(body)) => Some(body),
        _ => None,
    };
    let contents = body.into_iter().flat_map(|body| body.content.values());
    let schemas = contents.filter_map(|content| match content {
        RefOr::T(content) => content.schema.as_ref(),
        RefOr::Ref(_) => None,
    });
    let name = |schema: &RefOr<Schema>| match schema {
        RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().map(str::to_owned),
        RefOr::T(_) => None,
    };
    schemas.filter_map(name).collect()
}

/// Marks a body as optional, which is not the same as a body that may be null.
pub(super) fn with_optional_body(mut methods: UtoipaMethodRouter<Arc<App>>) -> UtoipaMethodRouter<Arc<App>> {
    let operations = methods.1.paths.values_mut().filter_map(|item| item.post.as_mut());
    for operation in operations {
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            body.required = Some(Required::False);
        }
    }
    methods
}

/// Adds the errors of the other routes.
pub(super) fn with_errors(routes: Routes) -> Routes {
    with_errors_of::<DropInError>(routes, "application/json")
}

/// Adds that an API key is needed; `always`: even if the settings have no keys.
pub(super) fn with_key(mut routes: Routes, scope: Scope, always: bool) -> Routes {
    let name = scope.as_str();
    let key = SecurityRequirement::new(API_KEY, [name]);
    let when = if always {
        ""
    } else {
        ", where the settings of the server name keys"
    };
    let text = format!("Needs an API key with the scope `{name}`{when}.");
    for operation in operations(&mut routes) {
        let open = (!always).then(SecurityRequirement::default);
        operation.security = Some(open.into_iter().chain([key.clone()]).collect());
        let description = operation.description.take();
        let paragraphs = description.into_iter().chain([text.clone()]).collect::<Vec<_>>();
        operation.description = Some(paragraphs.join("\n\n"));
    }
    routes
}

/// Adds the error answers to every operation, with `T` as their body. They are the same for all routes, so that routes
/// need not list them.
fn with_errors_of<T: ToSchema>(mut routes: Routes, media_type: &str) -> Routes {
    for operation in operations(&mut routes) {
        for (status, description, header) in [
            (
                "401",
                "An API key is needed.",
                Some(("WWW-Authenticate", text_header("`Bearer`"))),
            ),
            ("429", "A limit is reached.", Some(("Retry-After", wait()))),
            ("4XX", "The request cannot be served as it is.", None),
            (
                "503",
                "Not possible at the moment.",
                Some(("Retry-After", wait())),
            ),
            ("5XX", "The server or the provider failed.", None),
        ] {
            let schema = Ref::from_schema_name(T::name());
            let content = ContentBuilder::new().schema(Some(schema)).build();
            let mut response = ResponseBuilder::new()
                .description(description)
                .content(media_type, content);
            if let Some((name, header)) = header {
                response = response.header(name, header);
            }
            let responses = &mut operation.responses.responses;
            responses.insert(status.to_owned(), Response::from(response).into());
        }
    }
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    let components = routes.get_openapi_mut().components.get_or_insert_default();
    components.schemas.extend(schemas);
    routes
}

fn wait() -> Header {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    HeaderBuilder::new()
        .schema(Some(seconds))
        .description(Some("Seconds to wait before trying again."))
        .build()
}

fn text_header(description: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .description(Some(description))
        .build()
}

/// All operations of these routes. The API uses no other methods.
fn operations(routes: &mut Routes) -> impl Iterator<Item = &mut Operation> {
    let items = routes.get_openapi_mut().paths.paths.values_mut();
    items
        .flat_map(|item| [&mut item.get, &mut item.post, &mut item.delete])
        .flatten()
}
