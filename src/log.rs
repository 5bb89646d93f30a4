//! Sets up tracing once. Lines go to standard error; fields are dotted; addresses, tokens and bodies stay out (S-222).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Begins to log. A second call does nothing.
pub fn start(config: &LogConfig) {
    let filter = EnvFilter::try_new(format!("{},sqlx=warn,handlebars=warn", config.level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second subscriber is refused: the first one stays.
    _ = match config.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
}
