//! Shows the mailboxes in a browser and takes what is answered there.
//!
//! In: an [`Office`], and from the caller a way to send, the status, the clock and a source of unique names. Out: a
//! router for a listener on loopback; other names, and writes from other sites, are refused. Sources: S-217, S-218; RFC
//! 9110 §7.2 (Host); Fetch Metadata. Everything is embedded and nothing is fetched from elsewhere.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use mail_parser::{Message, MessageParser, MimeHeaders};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clean::read_html;
use super::office::{Answer, Mail, Mailbox, Office, Role};
use super::reply::{Outgoing, reply_to};

/// A future in a box, as the caller's functions return it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Hands an answer to svar's listener; the `Err` is a sentence for the person at the page.
pub type Sender = Arc<dyn Fn(Outgoing) -> BoxFuture<Result<(), String>> + Send + Sync>;

/// Says how the campaigns stand: `{"campaigns": […], "recent": […]}`.
pub type Status = Arc<dyn Fn() -> BoxFuture<Value> + Send + Sync>;

/// Says what time it is.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Makes the left side of a Message-ID, a new one on each call: ASCII letters, digits and dots.
pub type Unique = Arc<dyn Fn() -> String + Send + Sync>;

/// The largest request that is read: a long answer, not a file.
const REQUEST_BYTES: usize = 64 * 1024;

const PAGE_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; frame-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// For the mail in its frame: no script, no load, no form, an origin of its own.
const MAIL_CSP: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox";

/// What a mail's HTML stands on where it brings no style of its own.
const MAIL_HEAD: &str = concat!(
    "<!doctype html><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><style>",
    "html{background:#fff;color:#1d2725}body{margin:1.25rem 1.5rem;font:16px/1.6 system-ui,-apple-system,\"Segoe UI\",sans-serif;",
    "overflow-wrap:anywhere}a{color:#22604f}table{max-width:100%}</style>"
);

/// What the pages work with.
#[derive(Clone)]
pub struct Desk {
    /// The mail.
    pub office: Arc<Office>,
    /// The way back to svar.
    pub send: Sender,
    /// The live status.
    pub status: Status,
    /// The clock.
    pub now: Clock,
    /// The source of Message-IDs.
    pub unique: Unique,
}

/// The pages and their JSON.
pub fn router(desk: Desk) -> Router {
    Router::new()
        .route("/", get(|| asset("text/html; charset=utf-8", include_str!("../../templates/demo/index.html"))))
        .route("/office.js", get(|| asset("text/javascript; charset=utf-8", include_str!("../../templates/demo/office.js"))))
        .route("/office.css", get(|| asset("text/css; charset=utf-8", include_str!("../../templates/demo/office.css"))))
        .route("/api/mailboxes", get(list_mailboxes))
        .route("/api/mailboxes/{address}/{index}", get(get_mail))
        .route("/api/mailboxes/{address}/{index}/html", get(get_html))
        .route("/api/mailboxes/{address}/{index}/reply", post(post_reply))
        .route("/api/status", get(get_status))
        .with_state(desk)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES))
        .layer(middleware::from_fn(guard))
}

/// Refuses what does not come from this machine's own page, and puts the security headers on every answer (S-217).
async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refusal(request.method(), request.headers()) {
        Some(why) => error(StatusCode::FORBIDDEN, why),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(PAGE_CSP));
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refusal(method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).unwrap_or_default();
    if !is_loopback(host) {
        return Some("the post office answers on this machine only; open it as http://localhost");
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let foreign = site.is_some_and(|site| site != "same-origin")
        || text(header::ORIGIN).is_some_and(|origin| origin.strip_prefix("http://") != Some(host));
    foreign.then_some("only the post office's own page may answer mail")
}

/// Whether a Host names this machine, so that a foreign name led here by DNS is refused.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    !host.contains('@') && matches!(authority.host().to_ascii_lowercase().as_str(), "localhost" | "127.0.0.1" | "[::1]")
}

async fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

#[derive(Serialize)]
struct MailboxLine {
    address: String,
    name: String,
    language: String,
    portrait: String,
    portrait_sv: String,
    role: Role,
    mails: Vec<MailLine>,
}

#[derive(Serialize)]
struct MailLine {
    index: usize,
    subject: String,
    sender: String,
    received_at: DateTime<Utc>,
    answers: usize,
}

async fn list_mailboxes(State(desk): State<Desk>) -> Json<Vec<MailboxLine>> {
    Json(desk.office.each(mailbox_line))
}

fn mailbox_line(mailbox: &Mailbox) -> MailboxLine {
    let person = mailbox.person.clone();
    MailboxLine {
        address: person.address,
        name: person.name,
        language: person.language,
        portrait: person.portrait,
        portrait_sv: person.portrait_sv,
        role: person.role,
        mails: mailbox.mails.iter().enumerate().map(|(index, mail)| mail_line(index, mail)).collect(),
    }
}

fn mail_line(index: usize, mail: &Mail) -> MailLine {
    MailLine {
        index,
        subject: mail.subject.clone(),
        sender: mail.sender.clone(),
        received_at: mail.received_at,
        answers: mail.answers.len(),
    }
}

#[derive(Serialize)]
struct MailPage {
    index: usize,
    subject: String,
    from: String,
    to: String,
    envelope_from: String,
    received_at: DateTime<Utc>,
    headers: Vec<(String, String)>,
    text: String,
    html: Option<String>,
    attachments: Vec<String>,
    answers: Vec<Answer>,
}

async fn get_mail(State(desk): State<Desk>, Path((address, index)): Path<(String, usize)>) -> Response {
    match desk.office.mail(&address, index) {
        Some(mail) => Json(read_mail(index, mail)).into_response(),
        None => no_such_mail(),
    }
}

/// A mail as the page shows it; what cannot be parsed is shown as the text it is.
fn read_mail(index: usize, mail: Mail) -> MailPage {
    let message = MessageParser::default().parse(mail.raw.as_slice());
    let parsed = message.as_ref();
    let shown = |address: Option<&mail_parser::Address<'_>>| address.and_then(|list| list.first()).map(shown_address).unwrap_or_default();
    MailPage {
        index,
        from: shown(parsed.and_then(|m| m.from())),
        to: shown(parsed.and_then(|m| m.to())),
        headers: parsed.map(headers_of).unwrap_or_default(),
        text: parsed.and_then(|m| m.body_text(0)).map_or_else(|| String::from_utf8_lossy(&mail.raw).into_owned(), Into::into),
        html: parsed.and_then(html_of),
        attachments: parsed.map(attachments_of).unwrap_or_default(),
        subject: mail.subject,
        envelope_from: mail.envelope_from,
        received_at: mail.received_at,
        answers: mail.answers,
    }
}

fn shown_address(address: &mail_parser::Addr<'_>) -> String {
    let spec = address.address().unwrap_or_default();
    address.name().map_or_else(|| spec.to_owned(), |name| format!("{name} <{spec}>"))
}

/// The header fields as they stand in the message, unfolded.
fn headers_of(message: &Message<'_>) -> Vec<(String, String)> {
    let unfolded = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ");
    message.headers_raw().map(|(name, value)| (name.to_owned(), unfolded(value))).collect()
}

/// The HTML part, cleaned; `None` where the mail has only text.
fn html_of(message: &Message<'_>) -> Option<String> {
    let part = message.html_bodies().find(|part| part.is_text_html())?;
    Some(read_html(part.text_contents()?))
}

fn attachments_of(message: &Message<'_>) -> Vec<String> {
    message.attachments().map(|part| part.attachment_name().unwrap_or("?").to_owned()).collect()
}

async fn get_html(State(desk): State<Desk>, Path((address, index)): Path<(String, usize)>) -> Response {
    let Some(mail) = desk.office.mail(&address, index) else { return no_such_mail() };
    let html = read_mail(index, mail).html.unwrap_or_default();
    let head = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, MAIL_CSP)];
    (head, format!("{MAIL_HEAD}{html}")).into_response()
}

#[derive(Deserialize)]
struct NewAnswer {
    text: String,
}

async fn post_reply(State(desk): State<Desk>, Path((address, index)): Path<(String, usize)>, Json(new): Json<NewAnswer>) -> Response {
    let (Some(person), Some(mail)) = (desk.office.person(&address), desk.office.mail(&address, index)) else {
        return no_such_mail();
    };
    let text = new.text.trim();
    if text.is_empty() {
        return error(StatusCode::UNPROCESSABLE_ENTITY, "the answer is empty; write a few words");
    }
    let now = (desk.now)();
    let Some(outgoing) = reply_to(&mail.raw, &person, text, now, &(desk.unique)()) else {
        return error(StatusCode::UNPROCESSABLE_ENTITY, "this mail names nobody who could be answered");
    };
    let to = outgoing.envelope_to.clone();
    if let Err(why) = (desk.send)(outgoing).await {
        return error(StatusCode::BAD_GATEWAY, &why);
    }
    desk.office.note_answer(&address, index, text, now);
    (StatusCode::ACCEPTED, Json(json!({ "to": to, "sent_at": now }))).into_response()
}

async fn get_status(State(desk): State<Desk>) -> Json<Value> {
    Json((desk.status)().await)
}

fn no_such_mail() -> Response {
    error(StatusCode::NOT_FOUND, "there is no such mail; load the page again")
}

fn error(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::office::{CAPACITY_BYTES, Person};
    use axum::body::{Body, to_bytes};
    use std::sync::Mutex;
    use tower::ServiceExt;

    const MAIL: &str = concat!(
        "From: Monica Berg <monica@example.org>\r\nTo: anna@example.org\r\nReply-To: <svar+abc@example.org>\r\n",
        "Subject: Hej\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n",
        "--b\r\nContent-Type: text/plain\r\n\r\nVill du?\r\n",
        "--b\r\nContent-Type: text/html\r\n\r\n<p onclick=x>Vill du?<script>alert(1)</script><img src=https://x></p>\r\n--b--\r\n"
    );

    struct Answered {
        status: StatusCode,
        headers: HeaderMap,
        body: String,
    }

    fn desk(sent: Arc<Mutex<Vec<Outgoing>>>) -> Desk {
        let anna = Person { name: "Anna".into(), language: "sv".into(), ..Person::stranger("anna@example.org") };
        let office = Office::new(vec![anna], CAPACITY_BYTES);
        office.deliver("b@example.org", "anna@example.org", MAIL.into(), DateTime::UNIX_EPOCH).unwrap();
        let send: Sender = Arc::new(move |outgoing| {
            let full = outgoing.bytes.windows(4).any(|w| w == b"FULL");
            sent.lock().unwrap().push(outgoing);
            Box::pin(async move { if full { Err("the listener is full".to_owned()) } else { Ok(()) } })
        });
        Desk {
            office: Arc::new(office),
            send,
            status: Arc::new(|| Box::pin(async { json!({ "campaigns": [], "recent": [] }) })),
            now: Arc::new(|| DateTime::UNIX_EPOCH),
            unique: Arc::new(|| "u1".to_owned()),
        }
    }

    async fn ask(desk: &Desk, request: Request) -> Answered {
        let response = router(desk.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        Answered { status: parts.status, headers: parts.headers, body }
    }

    fn fetch(path: &str) -> Request {
        Request::get(path).header("host", "localhost:4000").body(Body::empty()).unwrap()
    }

    fn answer(text: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::post("/api/mailboxes/anna@example.org/0/reply").header("host", "127.0.0.1:4000");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.header("content-type", "application/json").body(Body::from(json!({ "text": text }).to_string())).unwrap()
    }

    /// S-217.
    #[tokio::test]
    async fn every_answer_carries_the_security_headers() {
        let desk = desk(Arc::default());
        for path in ["/", "/office.js", "/office.css", "/api/mailboxes", "/api/status", "/nowhere", "/api/mailboxes/x/0"] {
            let got = ask(&desk, fetch(path)).await;
            assert_eq!(got.headers["content-security-policy"], PAGE_CSP, "{path}");
            assert_eq!(got.headers["x-content-type-options"], "nosniff", "{path}");
            assert_eq!(got.headers["referrer-policy"], "no-referrer", "{path}");
        }
        assert!(PAGE_CSP.starts_with("default-src 'none'") && !PAGE_CSP.contains("unsafe") && !PAGE_CSP.contains("http"));
    }

    /// S-217: what the policy would block is not in the page, and nothing is fetched from elsewhere.
    #[tokio::test]
    async fn the_page_needs_no_inline_code_and_no_other_host() {
        let desk = desk(Arc::default());
        let page = ask(&desk, fetch("/")).await;
        assert_eq!((page.status, page.headers["content-type"].to_str().unwrap()), (StatusCode::OK, "text/html; charset=utf-8"));
        assert!(!page.body.contains(" style=") && !page.body.contains("<style") && !page.body.contains(" onclick"));
        assert_eq!(page.body.matches("<script").count(), page.body.matches("<script src=\"/office.js\"").count());
        let all = page.body + &ask(&desk, fetch("/office.js")).await.body + &ask(&desk, fetch("/office.css")).await.body;
        assert!(!all.contains("https://") && !all.contains("innerHTML") && !all.contains("@import"));
        assert_eq!(all.matches("http://").count(), all.matches("http://www.w3.org/2000/svg").count());
    }

    /// S-218: the frame has no script, no origin and no loads, and its HTML is cleaned besides.
    #[tokio::test]
    async fn a_mail_is_shown_as_harmless_html() {
        let got = ask(&desk(Arc::default()), fetch("/api/mailboxes/anna@example.org/0/html")).await;
        assert_eq!(got.headers["content-security-policy"], MAIL_CSP);
        assert!(MAIL_CSP.ends_with("; sandbox") && MAIL_CSP.starts_with("default-src 'none'"));
        assert!(got.body.ends_with("<p>Vill du?</p>") || got.body.trim_end().ends_with("<p>Vill du?</p>"), "{}", got.body);
        assert!(include_str!("../../templates/demo/index.html").contains("sandbox=\"\""));
    }

    #[tokio::test]
    async fn a_mail_comes_with_headers_text_and_html() {
        let desk = desk(Arc::default());
        let list: Value = serde_json::from_str(&ask(&desk, fetch("/api/mailboxes")).await.body).unwrap();
        assert_eq!((&list[0]["name"], &list[0]["mails"][0]["subject"]), (&json!("Anna"), &json!("Hej")));
        let mail: Value = serde_json::from_str(&ask(&desk, fetch("/api/mailboxes/anna%40example.org/0")).await.body).unwrap();
        assert_eq!((&mail["from"], &mail["text"]), (&json!("Monica Berg <monica@example.org>"), &json!("Vill du?")));
        assert_eq!(mail["headers"][2], json!(["Reply-To", "<svar+abc@example.org>"]));
        assert!(mail["html"].as_str().unwrap().starts_with("<p>Vill du?"));
        assert_eq!(ask(&desk, fetch("/api/mailboxes/anna@example.org/1")).await.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn an_answer_is_composed_sent_and_remembered() {
        let sent = Arc::<Mutex<Vec<Outgoing>>>::default();
        let desk = desk(sent.clone());
        let got = ask(&desk, answer(" Ja! ", &[("origin", "http://127.0.0.1:4000"), ("sec-fetch-site", "same-origin")])).await;
        assert_eq!(got.status, StatusCode::ACCEPTED, "{}", got.body);
        let outgoing = sent.lock().unwrap().remove(0);
        assert_eq!((outgoing.envelope_from.as_str(), outgoing.envelope_to.as_str()), ("anna@example.org", "svar+abc@example.org"));
        assert_eq!(desk.office.mail("anna@example.org", 0).unwrap().answers[0].text, "Ja!");
    }

    #[tokio::test]
    async fn an_answer_that_was_not_sent_is_not_remembered() {
        let desk = desk(Arc::default());
        let got = ask(&desk, answer("FULL", &[])).await;
        assert_eq!((got.status, got.body.as_str()), (StatusCode::BAD_GATEWAY, "{\"error\":\"the listener is full\"}"));
        assert_eq!(ask(&desk, answer("  ", &[])).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(ask(&desk, answer(&"x".repeat(REQUEST_BYTES), &[])).await.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(desk.office.mail("anna@example.org", 0).unwrap().answers.is_empty());
    }

    /// Fetch Metadata, and Origin for browsers without it.
    #[tokio::test]
    async fn another_site_cannot_answer() {
        let sent = Arc::<Mutex<Vec<Outgoing>>>::default();
        let desk = desk(sent.clone());
        for headers in [
            [("sec-fetch-site", "cross-site")],
            [("sec-fetch-site", "same-site")],
            [("origin", "http://example.org")],
            [("origin", "null")],
            [("origin", "http://127.0.0.1:4001")],
        ] {
            assert_eq!(ask(&desk, answer("Ja", &headers)).await.status, StatusCode::FORBIDDEN, "{headers:?}");
        }
        assert!(sent.lock().unwrap().is_empty());
    }

    #[test]
    fn only_names_of_this_machine_are_hosts() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:4000", "[::1]:4000", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "example.org", "localhost.example.org", "127.0.0.1.example.org", "a@localhost", "0.0.0.0", "localhost/x", "::1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[tokio::test]
    async fn a_foreign_host_name_is_refused() {
        let request = Request::get("/api/mailboxes").header("host", "rebound.example.org:4000").body(Body::empty()).unwrap();
        assert_eq!(ask(&desk(Arc::default()), request).await.status, StatusCode::FORBIDDEN);
    }
}
