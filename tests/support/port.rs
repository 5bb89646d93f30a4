//! Ports for servers that cannot be handed a listener.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{LazyLock, Mutex};

static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port of 127.0.0.1 that the system says is free, and that this process has not given out before.
pub(crate) fn free() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// Starts a server; where somebody took a port between the choice and the start, it is tried again with others.
#[track_caller]
pub(crate) fn retry_when_taken<T>(mut start: impl FnMut() -> Result<T, String>) -> T {
    let mut left = 3;
    loop {
        left -= 1;
        match start() {
            Ok(started) => return started,
            Err(why) if left > 0 && why.contains("ddress already in use") => {}
            Err(why) => panic!("{why}"),
        }
    }
}
