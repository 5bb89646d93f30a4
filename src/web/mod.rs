//! The web server. For now it has one page, for `svar health` and whatever watches over the daemon.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::store::Store;

/// Serves until `shutdown` turns true.
///
/// # Errors
/// Where the socket is of no use.
pub async fn serve(listener: TcpListener, store: Store, mut shutdown: watch::Receiver<bool>) -> std::io::Result<()> {
    let router = Router::new().route("/health", get(health)).with_state(store);
    let ended = async move { _ = shutdown.wait_for(|stop| *stop).await };
    axum::serve(listener, router).with_graceful_shutdown(ended).await
}

/// 200 where the database answers, 503 where it does not. A paused relay is shown and is no reason to restart.
async fn health(State(store): State<Store>) -> Response {
    let Ok(relays) = store.paused_relays().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(serde_json::json!({ "status": "failing", "database": "does not answer" })))
            .into_response();
    };
    let (out, stored, untold) = store.count_open().await.unwrap_or_default();
    let status = if relays.is_empty() { "ok" } else { "paused" };
    Json(serde_json::json!({
        "status": status, "database": "ok", "version": env!("CARGO_PKG_VERSION"),
        "waiting": { "to_send": out, "to_read": stored, "to_tell": untold },
        "paused_relays": relays.iter().map(|r| &r.name).collect::<Vec<_>>(),
    }))
    .into_response()
}
