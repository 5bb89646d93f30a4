//! A Dovecot of the test's own: mailboxes for the given guests, filled by LMTP and readable by IMAP. Written for Dovecot 2.3.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use super::process::{self, Server, Start};
use super::{maildir, port, servers, wait};

/// The password of every mailbox.
pub(crate) const PASSWORD: &str = "hemligt";

/// A running Dovecot.
pub(crate) struct Dovecot {
    server: Server,
    lmtp: SocketAddr,
    imap: SocketAddr,
}

impl Dovecot {
    /// Starts one with a mailbox for each address; any other is refused with 550 by LMTP. Ask `servers::need` before.
    #[track_caller]
    pub(crate) fn start(addresses: &[&str]) -> Self {
        Self::try_start(addresses).unwrap_or_else(|why| panic!("{why}"))
    }

    fn try_start(addresses: &[&str]) -> Result<Self, String> {
        let dir = process::directory("dovecot", None);
        let (lmtp, imap) = (port::free(), port::free());
        let owner = servers::user("mail");
        let mail = process::folder(&dir.path().join("mail"), Some(owner));
        let users: String = addresses
            .iter()
            .map(|a| {
                format!("{}:{{PLAIN}}{PASSWORD}:{}:{}::{}::\n", a.to_lowercase(), owner.0, owner.1, mail.join(a.to_lowercase()).display())
            })
            .collect();
        fs::write(dir.path().join("users"), users).unwrap();
        let config = dir.path().join("dovecot.conf");
        fs::write(&config, configuration(&dir.path().display().to_string(), lmtp, imap)).unwrap();

        let log = dir.path().join("dovecot.log");
        let server = Server::start(Start {
            name: "dovecot",
            command: vec!["/usr/sbin/dovecot".into(), "-F".into(), "-c".into(), config.display().to_string()],
            dir,
            log: Some(log),
            user: None,
            stop: "TERM",
            ready: &|| [lmtp, imap].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()),
        })?;
        Ok(Self { server, lmtp: ([127, 0, 0, 1], lmtp).into(), imap: ([127, 0, 0, 1], imap).into() })
    }

    /// Where Postfix hands mail over.
    pub(crate) fn lmtp(&self) -> SocketAddr {
        self.lmtp
    }

    /// Where a mailbox is read; user is the address, see [`PASSWORD`].
    pub(crate) fn imap(&self) -> SocketAddr {
        self.imap
    }

    /// The Maildir of an address; it is made by the first mail.
    pub(crate) fn maildir(&self, address: &str) -> PathBuf {
        self.server.dir().join("mail").join(address.to_lowercase()).join("Maildir")
    }

    /// The mails of an address as they lie on disk, oldest first; Dovecot put Return-Path and Delivered-To on top.
    pub(crate) fn mails(&self, address: &str) -> Vec<Vec<u8>> {
        maildir::read_maildir(&self.maildir(address))
    }

    /// Waits until the address has at least `count` mails, and gives them.
    #[track_caller]
    pub(crate) fn wait_for(&self, address: &str, count: usize) -> Vec<Vec<u8>> {
        wait::until(&format!("{count} mails in the mailbox of {address}"), wait::LONG, || {
            let mails = self.mails(address);
            (mails.len() >= count).then_some(mails)
        })
    }
}

fn configuration(dir: &str, lmtp: u16, imap: u16) -> String {
    format!(
        r#"
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/dovecot.log
protocols = lmtp imap
listen = 127.0.0.1
hostname = mail.example.org
postmaster_address = postmaster@example.org
ssl = no
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
mail_fsync = never
first_valid_uid = 1
passdb {{
  driver = passwd-file
  args = {dir}/users
}}
userdb {{
  driver = passwd-file
  args = {dir}/users
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"#
    )
}
