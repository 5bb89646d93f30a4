//! `svar serve` and `svar health`.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Exit, Failure, show};
use crate::clock::Clock;
use crate::config;
use crate::daemon::{Daemon, Sockets};
use crate::store::Store;

/// Runs the daemon until SIGTERM or SIGINT.
pub(super) async fn run(path: &Path, clock: Clock) -> Result<Exit, Failure> {
    let (config, log) = config::load(path, |name| std::env::var(name).ok())?;
    crate::log::start(&log);
    let store = Store::open(&config.database).await?;
    let sockets_of = config.clone();
    let daemon = Daemon::new(config, store, clock)?;
    let sockets = Sockets::bind(&sockets_of).await?;
    let shutdown = stop_signal()?;
    daemon.run(sockets, shutdown).await?;
    Ok(Exit::Done)
}

/// Turns true at the first SIGTERM or SIGINT; a second one ends the process as a kill would.
pub(super) fn stop_signal() -> Result<watch::Receiver<bool>, Failure> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let mut signalled = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        signalled().await;
        info!("stopping: what is under way is finished, nothing new is begun; a second signal stops at once");
        _ = sender.send(true);
        signalled().await;
        warn!("stopped at once: what was under way is uncertain");
        std::process::exit(1);
    });
    Ok(receiver)
}

/// Asks the daemon of this configuration whether it is well: exit code 69 where it does not answer, 1 where something is stuck.
pub(super) async fn health(path: &Path) -> Result<Exit, Failure> {
    let (config, _) = config::load(path, |name| std::env::var(name).ok())?;
    let Some(address) = config.web_listen else {
        return Err(Failure::new(Exit::Config, "web.listen is empty, so nobody can be asked; set it to 127.0.0.1:8325"));
    };
    let (is_fine, body) = asked(address).await.map_err(|why| Failure::new(Exit::Unavailable, why))?;
    show::line(&body)?;
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    Ok(match (is_fine, answer["status"] == "ok") {
        (true, true) => Exit::Done,
        (true, false) => Exit::Failed,
        (false, _) => Exit::Unavailable,
    })
}

/// What stands in the way of the daemon of this configuration, a line each; that there is none is one too.
pub(super) async fn problems(config: &config::Config) -> Vec<String> {
    let Some(address) = config.web_listen else { return Vec::new() };
    match asked(address).await {
        Ok((_, body)) => {
            let answer: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            let problems = answer["problems"].as_array().cloned().unwrap_or_default();
            problems.iter().filter_map(|problem| problem.as_str().map(str::to_owned)).collect()
        }
        Err(why) => vec![why],
    }
}

/// Why it seems that no daemon runs; `None` where one answers, or where nobody can be asked.
pub(super) async fn absence(config: &config::Config) -> Option<String> {
    let address = config.web_listen.filter(|address| address.port() != 0)?;
    asked(address).await.err()
}

/// The health page: whether it says 200, and its body. Or why nobody answers.
async fn asked(address: std::net::SocketAddr) -> Result<(bool, String), String> {
    let why = match tokio::time::timeout(Duration::from_secs(5), ask(address)).await {
        Ok(Ok(answer)) => {
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
            return Ok((head.starts_with("HTTP/1.1 200"), body.trim().to_owned()));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in 5 seconds".to_owned(),
    };
    Err(format!("no svar answers at {address} ({why}); start it with: svar serve"))
}

async fn ask(address: std::net::SocketAddr) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer).await?;
    Ok(answer)
}
