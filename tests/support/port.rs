//! Ports for servers that cannot be handed a listener.
//!
//! A port is held by a socket that is bound and does not listen: the system then gives it to nobody who asks for any free port, in this
//! process or another, while a server that asks for this very port and sets SO_REUSEADDR, as all do, gets it. Linux, socket(7).

use std::sync::Mutex;

use tokio::net::TcpSocket;

static HELD: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());

/// A port of 127.0.0.1 that the system says is free; until this process ends it is nobody else's. A connection to it is refused.
pub(crate) fn free() -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    HELD.lock().unwrap().push(socket);
    port
}
