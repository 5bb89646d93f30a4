//! A Postfix of the test's own: the organiser's relay. Mail for the guests goes to Dovecot, mail for svar's domain to svar, both by LMTP.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use super::process::{self, Server, Start};
use super::{port, servers};

/// The guests' domain; delivered to Dovecot.
pub(crate) const GUESTS: &str = "guests.example.org";
/// svar's domain; delivered to svar, with everything after a `+` kept in the address.
pub(crate) const REPLIES: &str = "natverket.example.org";

/// What it is to do.
pub(crate) struct Routes<'a> {
    /// Addresses in [`GUESTS`] that it knows; any other there gets 550 at RCPT. One that Dovecot lacks comes back as a bounce.
    pub(crate) guests: &'a [&'a str],
    /// Dovecot's LMTP.
    pub(crate) mailboxes: SocketAddr,
    /// svar's LMTP; nothing need listen there yet, mail waits in the queue and is tried again after three or four
    /// seconds: sooner, and the queue manager meets a file that the delivery agent still holds, skips it, and forgets it.
    pub(crate) replies: SocketAddr,
}

/// A running Postfix.
pub(crate) struct Postfix {
    server: Server,
    smtp: SocketAddr,
}

impl Postfix {
    /// Starts one. Ask `servers::need` before.
    #[track_caller]
    pub(crate) fn start(routes: &Routes<'_>) -> Self {
        Self::try_start(routes).unwrap_or_else(|why| panic!("{why}"))
    }

    /// One that takes mail for every guest and throws it away, on this address, with further settings, which win.
    #[track_caller]
    pub(crate) fn that_discards(on: SocketAddr, settings: &str) -> Self {
        let routes = Routes { guests: &[], mailboxes: on, replies: on };
        let all = format!("virtual_mailbox_maps = static:known\nvirtual_transport = discard:\n{settings}");
        Self::with_settings(&routes, on.port(), &all).unwrap_or_else(|why| panic!("{why}"))
    }

    fn try_start(routes: &Routes<'_>) -> Result<Self, String> {
        Self::with_settings(routes, port::free(), "")
    }

    fn with_settings(routes: &Routes<'_>, port: u16, settings: &str) -> Result<Self, String> {
        let dir = process::directory("postfix", None);
        process::folder(&dir.path().join("queue"), None);
        process::folder(&dir.path().join("data"), Some(servers::user("postfix")));
        let config = process::folder(&dir.path().join("config"), None);
        fs::write(config.join("main.cf"), with(&main_cf(dir.path(), routes), settings)).unwrap();
        fs::write(config.join("master.cf"), master_cf(port)).unwrap();

        // the check makes the queue's folders, and complains about what does not fit
        let start = "/usr/sbin/postfix -c \"$1\" check && exec /usr/lib/postfix/sbin/master -c \"$1\"";
        let log = dir.path().join("mail.log");
        let server = Server::start(Start {
            name: "postfix",
            command: ["sh", "-c", start, "sh", &config.display().to_string()].map(String::from).to_vec(),
            dir,
            log: Some(log),
            user: None,
            stop: "TERM",
            ready: &|| TcpStream::connect(("127.0.0.1", port)).is_ok(),
        })?;
        Ok(Self { server, smtp: ([127, 0, 0, 1], port).into() })
    }

    /// Where it takes mail: svar's relay, and the guests' way to send.
    pub(crate) fn smtp(&self) -> SocketAddr {
        self.smtp
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.server.dir().join("mail.log")).unwrap_or_default()).into_owned()
    }
}

/// The settings with others in their place. None stands twice: of each such line every process logs a warning when it starts, and if
/// these fill the socket before the process is there that empties it, Postfix stands still.
fn with(main_cf: &str, others: &str) -> String {
    let key = |line: &str| line.split('=').next().unwrap_or("").trim().to_owned();
    let replaced: Vec<String> = others.lines().map(key).collect();
    let kept = main_cf.lines().filter(|line| !replaced.contains(&key(line)));
    kept.chain(others.lines()).map(|line| format!("{line}\n")).collect()
}

fn main_cf(dir: &Path, routes: &Routes<'_>) -> String {
    let dir = dir.display();
    let known: String = routes.guests.iter().map(|g| format!(" {{ {} = known }}", g.to_lowercase())).collect();
    let (mailboxes, replies) = (routes.mailboxes, routes.replies);
    format!(
        "\
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
maillog_file = {dir}/mail.log
maillog_file_prefixes = {dir}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.org
mydestination =
mynetworks = 127.0.0.0/8
disable_dns_lookups = yes
smtp_host_lookup = native
lmtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
recipient_delimiter = +
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:5.7.1 no mail stays on this machine
default_transport = error:5.7.1 no mail leaves this test
virtual_mailbox_domains = {GUESTS}
virtual_mailbox_maps = inline:{{{known} }}
virtual_transport = lmtp:inet:[{}]:{}
relay_domains = {REPLIES}
relay_recipient_maps =
relay_transport = lmtp:inet:[{}]:{}
queue_run_delay = 1s
minimal_backoff_time = 3s
maximal_backoff_time = 4s
transport_retry_time = 1s
",
        mailboxes.ip(),
        mailboxes.port(),
        replies.ip(),
        replies.port(),
    )
}

fn master_cf(port: u16) -> String {
    format!(
        "\
127.0.0.1:{port} inet n - n - - smtpd
pickup     unix n - n 60   1 pickup
cleanup    unix n - n -    0 cleanup
qmgr       unix n - n 300  1 qmgr
rewrite    unix - - n -    - trivial-rewrite
bounce     unix - - n -    0 bounce
defer      unix - - n -    0 bounce
trace      unix - - n -    0 bounce
verify     unix - - n -    1 verify
flush      unix n - n 1000? 0 flush
proxymap   unix - - n -    - proxymap
smtp       unix - - n -    - smtp
relay      unix - - n -    - smtp
showq      unix n - n -    - showq
error      unix - - n -    - error
retry      unix - - n -    - error
discard    unix - - n -    - discard
lmtp       unix - - n -    - lmtp
tlsmgr     unix - - n 1000? 1 tlsmgr
anvil      unix - - n -    1 anvil
scache     unix - - n -    1 scache
postlog    unix-dgram n - n - 1 postlogd
"
    )
}
