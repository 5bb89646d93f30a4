//! The web server. For now it has two pages, for `svar health` and whatever watches over the daemon.

mod metrics;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::inbound::meters::Meters;
use crate::outbound::outbox::Outbox;

/// What the pages tell of.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The way out, and the database.
    pub outbox: Arc<Outbox>,
    /// Why the Maildir cannot be read, where it cannot.
    pub maildir: watch::Receiver<Option<String>>,
    /// What the way in counted.
    pub inbound: Arc<Meters>,
    /// How many lanes there are.
    pub lanes: usize,
    /// When the daemon started, in milliseconds since 1970.
    pub started_at: i64,
    counted: metrics::Counted,
}

impl Watched {
    /// A daemon's parts, as the pages look at them.
    #[must_use]
    pub fn new(outbox: Arc<Outbox>, maildir: watch::Receiver<Option<String>>, inbound: Arc<Meters>, lanes: usize) -> Self {
        let started_at = outbox.clock.millis();
        Self { outbox, maildir, inbound, lanes, started_at, counted: metrics::Counted::default() }
    }
}

/// Serves until `shutdown` turns true.
///
/// # Errors
/// Where the socket is of no use.
pub async fn serve(listener: TcpListener, watched: Watched, mut shutdown: watch::Receiver<bool>) -> std::io::Result<()> {
    let router = Router::new().route("/health", get(health)).route("/metrics", get(metrics::metrics)).with_state(watched);
    let ended = async move { _ = shutdown.wait_for(|stop| *stop).await };
    axum::serve(listener, router).with_graceful_shutdown(ended).await
}

/// 200 where the database answers, 503 where it does not. What does not move is told as `stuck`: a matter for a person, and no
/// reason to restart.
async fn health(State(watched): State<Watched>) -> Response {
    let store = &watched.outbox.store;
    let Ok(relays) = store.paused_relays().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(serde_json::json!({ "status": "failing", "database": "does not answer" })))
            .into_response();
    };
    let (out, stored, untold) = store.count_open().await.unwrap_or_default();
    let problems: Vec<String> = [watched.outbox.why_shut(), watched.maildir.borrow().clone()].into_iter().flatten().collect();
    let status = if relays.is_empty() && problems.is_empty() { "ok" } else { "stuck" };
    Json(serde_json::json!({
        "status": status, "database": "ok", "version": env!("CARGO_PKG_VERSION"),
        "waiting": { "to_send": out, "to_read": stored, "to_tell": untold },
        "paused_relays": relays.iter().map(|r| &r.name).collect::<Vec<_>>(), "problems": problems,
    }))
    .into_response()
}
