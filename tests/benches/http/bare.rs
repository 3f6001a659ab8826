//! The ceiling: the least that could be called a durable verification service. Two routes, two bare
//! statements, one writer that commits in groups; no backend, no digest, no limit, no check of a number. With an index
//! on the number it could at least find whom a code belongs to, which every service must.

use std::{net::SocketAddr, path::Path, sync::mpsc, thread};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderName, StatusCode, header},
    routing::post,
};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::oneshot;

enum Op {
    Register { number: String, token: String },
    Verify { token: String, code: String },
}

type Order = (Op, oneshot::Sender<bool>);

#[derive(Clone)]
struct Writer(mpsc::Sender<Order>);

impl Writer {
    fn start(database: &Path, is_indexed: bool) -> Self {
        let connection = Connection::open(database).expect("the database opens");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE verification
                     (token TEXT PRIMARY KEY, number TEXT, code TEXT, verified INTEGER) WITHOUT ROWID;",
            )
            .expect("the schema is made");
        if is_indexed {
            connection
                .execute_batch("CREATE INDEX verification_number ON verification (number);")
                .expect("the index is made");
        }
        let (sender, orders) = mpsc::channel();
        thread::spawn(move || commit_in_groups(&connection, &orders));
        Self(sender)
    }

    async fn run(&self, op: Op) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send((op, answer)).expect("the writer runs");
        answered.await.expect("the writer answers")
    }
}

fn commit_in_groups(connection: &Connection, orders: &mpsc::Receiver<Order>) {
    while let Ok(first) = orders.recv() {
        connection
            .execute_batch("BEGIN IMMEDIATE")
            .expect("a transaction begins");
        let done: Vec<_> = std::iter::once(first)
            .chain(orders.try_iter().take(255))
            .map(|(op, answer)| (run(connection, &op), answer))
            .collect();
        connection.execute_batch("COMMIT").expect("the group is durable");
        for (outcome, answer) in done {
            let _ = answer.send(outcome);
        }
    }
}

fn run(connection: &Connection, op: &Op) -> bool {
    let (sql, parameters) = match op {
        Op::Register { number, token } => (
            "INSERT INTO verification VALUES (?1, ?2, '123456', 0)",
            [token, number],
        ),
        Op::Verify { token, code } => (
            "UPDATE verification SET verified = 1 WHERE token = ?1 AND code = ?2 AND verified = 0",
            [token, code],
        ),
    };
    let mut statement = connection.prepare_cached(sql).expect("the statement is right");
    statement.execute(parameters).expect("the statement runs") == 1
}

/// Serves on a free port of the loopback interface until the process is killed.
pub(crate) fn serve(database: &Path, is_indexed: bool) {
    let runtime = tokio::runtime::Runtime::new().expect("the runtime starts");
    runtime.block_on(async {
        let app = Router::new()
            .route("/api/phone/register", post(register))
            .route("/api/phone/verify", post(verify))
            .with_state(Writer::start(database, is_indexed));
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .expect("a port is free");
        println!(
            "listening on http://{}",
            listener.local_addr().expect("the socket is bound")
        );
        axum::serve(listener, app).await.expect("the server runs");
    });
}

fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_default().to_owned()
}

type Json = ([(HeaderName, &'static str); 1], String);

fn json(body: &Value) -> Json {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string())
}

fn parsed(body: &Bytes) -> Value {
    serde_json::from_slice(body).expect("the benchmark sends JSON")
}

async fn register(State(writer): State<Writer>, body: Bytes) -> Json {
    let body = parsed(&body);
    let token: String = std::iter::repeat_with(fastrand::alphanumeric).take(43).collect();
    writer
        .run(Op::Register {
            number: text(&body, "phone_number"),
            token: token.clone(),
        })
        .await;
    json(&json!({ "session_token": token }))
}

async fn verify(State(writer): State<Writer>, body: Bytes) -> (StatusCode, Json) {
    let body = parsed(&body);
    let op = Op::Verify {
        token: text(&body, "session_token"),
        code: text(&body, "security_code"),
    };
    if writer.run(op).await {
        (
            StatusCode::OK,
            json(&json!({ "message": "Security code is valid." })),
        )
    } else {
        (
            StatusCode::BAD_REQUEST,
            json(&json!({ "non_field_errors": ["Security code is not valid"] })),
        )
    }
}
