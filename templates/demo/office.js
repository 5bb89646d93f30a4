// The post office in a browser: polls the JSON endpoints, shows one mailbox at a time, sends what is written.
// Everything from a mail becomes text nodes; a mail's HTML is only ever shown in the sandboxed frame.
"use strict";

const WORDS = {
  en: {
    title: "svar · the post office", skip: "To the mail", place: "the post office", people: "Mailboxes",
    tagline: "Everyone here is invented. The mail is real, both ways.",
    recipient: "Invited", organiser: "Organiser", stranger: "Others", status: "What svar knows", live: "live",
    newest: "Newest answers", asMail: "Mail", asText: "Plain text", asHeaders: "Headers", views: "How to show the mail",
    tabPeople: "Mailboxes", tabMail: "Mail", tabStatus: "Status", tabs: "Parts of the page",
    waiting: "The invitations are on their way …", choose: "Open a mailbox to read the invitation as its owner does.",
    noMail: (n) => `${n} has no mail yet.`, to: (a) => `to ${a}`, files: "Attached: ",
    answerAs: (n) => `Answer as ${n}`, suggestions: "Suggestions; they only fill the box", send: "Send", sending: "Sending …",
    hint: "Write as people do: that is what svar reads.", sent: (a) => `Sent to ${a}`,
    failed: "The answer was not sent: ", offline: "The demo does not answer. Is svar still running?",
    unread: (n) => (n === 1 ? "1 unread mail" : `${n} unread mails`), mails: "Mails in this mailbox",
    reading: "svar is reading …", understood: "svar understood", because: "because", waits: "a person decides",
    sentOf: (c) => `${c.sent} of ${c.contacts} invitations sent`, onTheWay: (n) => `${n} on the way`, troubled: (n) => `${n} failed`,
    answered: (n, of) => `${n} of ${of} answered`, guests: "Guests", coming: (n) => `${n} coming`, guestCount: (n) => (n === 1 ? "1 guest" : `${n} guests`),
    yes: "Yes", no: "No", maybe: "Maybe", silent: "Silent", unsubscribed: "Unsubscribed", review: "Unclear",
    unsubscribe: "Unsubscribe", erase: "Erase me", question: "Question", other: "Something else", auto_reply: "Away",
    bounce: "Bounced", complaint: "Complaint", receipt: "Receipt", command: "Order", unsolicited: "First contact", junk: "Junk",
    calendar_reply: "Calendar", nothing: "Nobody has answered yet. Be the first: open a mailbox.", nothingSent: "No campaign yet.", sure: (p) => `${p}%\u00a0sure`,
  },
  sv: {
    title: "svar · postkontoret", skip: "Till mejlet", place: "postkontoret", people: "Brevlådor",
    tagline: "Alla här är påhittade. Posten är riktig, åt båda hållen.",
    recipient: "Inbjudna", organiser: "Arrangör", stranger: "Övriga", status: "Det svar vet", live: "direkt",
    newest: "Senaste svaren", asMail: "Mejl", asText: "Ren text", asHeaders: "Brevhuvud", views: "Hur mejlet visas",
    tabPeople: "Brevlådor", tabMail: "Mejl", tabStatus: "Läget", tabs: "Sidans delar",
    waiting: "Inbjudningarna är på väg …", choose: "Öppna en brevlåda och läs inbjudan som dess ägare gör.",
    noMail: (n) => `${n} har ingen post än.`, to: (a) => `till ${a}`, files: "Bifogat: ",
    answerAs: (n) => `Svara som ${n}`, suggestions: "Förslag; de fyller bara rutan", send: "Skicka", sending: "Skickar …",
    hint: "Skriv som folk gör: det är det svar läser.", sent: (a) => `Skickat till ${a}`,
    failed: "Svaret gick inte iväg: ", offline: "Demon svarar inte. Är svar fortfarande igång?",
    unread: (n) => (n === 1 ? "1 oläst mejl" : `${n} olästa mejl`), mails: "Mejl i brevlådan",
    reading: "svar läser …", understood: "svar förstod", because: "eftersom", waits: "en människa avgör",
    sentOf: (c) => `${c.sent} av ${c.contacts} inbjudningar skickade`, onTheWay: (n) => `${n} på väg`, troubled: (n) => `${n} kom inte fram`,
    answered: (n, of) => `${n} av ${of} svarade`, guests: "Gäster", coming: (n) => `${n} kommer`, guestCount: (n) => (n === 1 ? "1 gäst" : `${n} gäster`),
    yes: "Ja", no: "Nej", maybe: "Kanske", silent: "Tysta", unsubscribed: "Avregistrerade", review: "Oklart",
    unsubscribe: "Avregistrera", erase: "Radera mig", question: "Fråga", other: "Något annat", auto_reply: "Borta",
    bounce: "Studsade", complaint: "Klagomål", receipt: "Kvitto", command: "Order", unsolicited: "Första kontakt", junk: "Skräp",
    calendar_reply: "Kalender", nothing: "Ingen har svarat än. Bli först: öppna en brevlåda.", nothingSent: "Inget utskick än.", sure: (p) => `${p}\u00a0%\u00a0säkert`,
  },
};

// In the language of the person who answers, not of the page.
const SUGGESTIONS = {
  sv: ["Ja, gärna! Vi blir två.", "Nej tyvärr, men lycka till!", "Kanske – vilka dagar blir det?", "Avregistrera mig"],
  en: ["Yes please! There will be two of us.", "Sorry, I can't, but good luck!", "Maybe – which days will it be?", "Unsubscribe me"],
};
const PLACEHOLDER = { sv: "Skriv som du skulle göra i ett vanligt mejl …", en: "Write as you would in an ordinary mail …" };

const $ = (id) => document.getElementById(id);
const page = {
  lang: "en", boxes: [], status: { campaigns: [], recent: [] }, address: null, index: null, mail: null, show: "html",
  read: new Set(), drafts: new Map(), seen: new Set(), widths: new Map(), open: new Map(), texts: {}, busy: false, firstStatus: true,
};

const say = (key, ...args) => {
  const word = WORDS[page.lang][key];
  return typeof word === "function" ? word(...args) : word ?? String(key);
};

function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const locale = () => (page.lang === "sv" ? "sv-SE" : "en-GB");
const clock = (at) => new Date(at).toLocaleTimeString(locale(), { hour: "2-digit", minute: "2-digit" });
const moment = (at) => new Date(at).toLocaleString(locale(), { day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" });
const key = (address, mail) => `${address}#${mail.index}#${mail.received_at}`;
const boxOf = (address) => page.boxes.find((box) => box.address === address);
const same = (a, b) => String(a ?? "").toLowerCase() === String(b ?? "").toLowerCase();
const mailUrl = () => `/api/mailboxes/${encodeURIComponent(page.address)}/${page.index}`;

// Puts nodes in place of others without losing the keyboard's place (nodes carry data-key).
function replace(parent, nodes) {
  const held = parent.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  parent.replaceChildren(...nodes);
  if (held) [...parent.querySelectorAll("[data-key]")].find((node) => node.dataset.key === held)?.focus();
}

// ——— people ———

function showPeople() {
  const groups = ["recipient", "organiser", "stranger"].map((role) => [role, page.boxes.filter((box) => box.role === role)]);
  const nodes = groups.filter(([, boxes]) => boxes.length).flatMap(([role, boxes]) =>
    [make("h2", "group-title", say(role)), ...boxes.map(personButton)]);
  replace($("people-list"), nodes);
  const unread = page.boxes.reduce((sum, box) => sum + unreadIn(box), 0);
  badge($("tab-unread"), unread);
  document.title = unread ? `(${unread}) ${say("title")}` : say("title");
}

function personButton(box) {
  const unread = unreadIn(box);
  const button = make("button", unread ? "person unread" : "person",
    avatar(box), make("span", "person-name", box.name), unread ? unreadMark(unread) : null,
    make("span", "portrait", (page.lang === "sv" ? box.portrait_sv : box.portrait) || (box.name === box.address ? "" : box.address)));
  const last = page.status.recent.filter((r) => same(r.address, box.address)).sort(byNewest)[0];
  if (last) button.append(word(last));
  button.type = "button";
  button.dataset.key = box.address;
  if (box.address === page.address) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => openBox(box.address));
  return button;
}

function avatar(box) {
  const initials = box.name.split(/[\s-]+/).map((part) => part[0]).filter(Boolean);
  const node = make("span", `avatar tint${page.boxes.indexOf(box) % 6}`, (initials[0] + (initials.length > 1 ? initials.at(-1) : "")).toUpperCase());
  node.setAttribute("aria-hidden", "true");
  return node;
}

function unreadMark(unread) {
  const mark = make("span", "badge", String(unread));
  mark.setAttribute("aria-label", say("unread", unread));
  return mark;
}

const unreadIn = (box) => box.mails.filter((mail) => !page.read.has(key(box.address, mail))).length;
const byNewest = (a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0);

function badge(node, count) {
  node.hidden = !count;
  node.textContent = count;
}

// Up, Down, Home and End walk the list.
function walk(event) {
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (at < 0 || to === undefined || !buttons[to]) return;
  event.preventDefault();
  buttons[to].focus();
}

// ——— the mail ———

function openBox(address) {
  keepDraft();
  page.address = address;
  const mails = boxOf(address)?.mails ?? [];
  const unread = mails.filter((mail) => !page.read.has(key(address, mail)));
  page.index = (unread[0] ?? mails.at(-1))?.index ?? null;
  setView("mail");
  showPeople();
  openMail();
}

async function openMail() {
  page.mail = null;
  const { address, index } = page;
  if (address === null || index === null) return showMail();
  const mail = await fetchJson(mailUrl());
  if (address !== page.address || index !== page.index) return;
  page.mail = mail;
  page.read.add(key(address, mail));
  store("read", [...page.read].slice(-500));
  showPeople();
  showMail();
}

function showMail() {
  const { mail } = page;
  const box = boxOf(page.address);
  $("mail-view").hidden = !mail;
  $("mail-empty").hidden = Boolean(mail);
  const anyMail = page.boxes.some((other) => other.mails.length);
  $("mail-empty-text").textContent = box && !box.mails.length && anyMail ? say("noMail", box.name) : anyMail ? say("choose") : say("waiting");
  if (!mail || !box) return;
  $("mail-subject").textContent = mail.subject;
  $("mail-from").textContent = mail.from || mail.envelope_from;
  $("mail-to").textContent = say("to", box.address);
  $("mail-time").textContent = `· ${moment(mail.received_at)}`;
  $("mail-time").dateTime = mail.received_at;
  $("mail-files").hidden = !mail.attachments.length;
  $("mail-files").textContent = say("files") + mail.attachments.join(", ");
  showMailList(box);
  showBody();
  showAnswers();
  showComposer(box);
}

function showMailList(box) {
  const list = $("mail-list");
  list.hidden = box.mails.length < 2;
  list.setAttribute("aria-label", say("mails"));
  replace(list, [...box.mails].reverse().map((mail) => make("li", "", mailButton(box, mail))));
}

function mailButton(box, mail) {
  const unread = !page.read.has(key(box.address, mail));
  const button = make("button", unread ? "unread" : "", make("span", "line-subject", mail.subject), make("span", "", clock(mail.received_at)));
  button.type = "button";
  button.dataset.key = String(mail.index);
  if (mail.index === page.index) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => {
    keepDraft();
    page.index = mail.index;
    openMail();
  });
  return button;
}

function showBody() {
  const { mail } = page;
  const show = page.show === "html" && mail.html === null ? "text" : page.show;
  const frame = frameFor(mail);
  frame.title = mail.subject;
  frame.lang = boxOf(page.address)?.language ?? "";
  frame.hidden = show !== "html";
  $("mail-text").hidden = show !== "text";
  $("mail-headers").hidden = show !== "headers";
  $("mail-text").replaceChildren(...linked(mail.text));
  $("mail-headers").replaceChildren(...mail.headers.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
  for (const button of $("views").children) {
    button.hidden = button.dataset.show === "html" && mail.html === null;
    button.setAttribute("aria-pressed", String(button.dataset.show === show));
  }
}

// A new frame for each mail, since a frame that is led elsewhere leaves a step for the Back button.
function frameFor(mail) {
  const frame = $("mail-html");
  const source = `${mailUrl()}/html`;
  if (mail.html === null || frame.getAttribute("src") === source) return frame;
  const fresh = frame.cloneNode();
  fresh.setAttribute("src", source);
  frame.replaceWith(fresh);
  return fresh;
}

// Text with its web addresses as links, which open beside the page.
function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)])/).map((piece, at) => {
    if (at % 2 === 0) return piece;
    const link = make("a", "", piece);
    link.href = piece;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    return link;
  });
}

function showAnswers() {
  const list = $("answers");
  const before = list.childElementCount;
  replace(list, page.mail.answers.map((answer) => make("li", "", make("div", "said", answer.text), heard(answer))));
  if (list.childElementCount > before) list.scrollTop = list.scrollHeight;
}

function heard(answer) {
  const reading = understanding(answer);
  if (!reading) return make("div", "heard", `${clock(answer.sent_at)} · ${say("reading")}`);
  return make("div", "heard", `${say("understood")} `, word(reading), ...because(reading));
}

// What svar made of an answer: the entry with the same words, else the first that came after it.
function understanding(answer) {
  const plain = (text) => String(text ?? "").replace(/\s+/g, " ").trim();
  const sent = Date.parse(answer.sent_at) - 2000;
  const own = page.status.recent.filter((r) => same(r.address, page.address) && Date.parse(r.at) >= sent).sort(byNewest).reverse();
  return own.find((r) => plain(r.words) === plain(answer.text)) ?? own.find((r) => plain(answer.text).startsWith(plain(r.words)));
}

// ——— the box ———

const draftKey = () => `${page.address}#${page.index}`;
const keepDraft = () => page.mail && page.drafts.set(draftKey(), $("composer-text").value);

function showComposer(box) {
  const lang = SUGGESTIONS[box.language] ? box.language : "en";
  const text = $("composer-text");
  if (text.dataset.for !== draftKey()) {
    text.dataset.for = draftKey();
    text.value = page.drafts.get(draftKey()) ?? "";
    note("");
  }
  text.lang = lang;
  text.placeholder = PLACEHOLDER[lang];
  $("composer-label").textContent = say("answerAs", box.name);
  const chips = $("chips");
  chips.hidden = box.role === "organiser";
  chips.setAttribute("aria-label", say("suggestions"));
  replace(chips, SUGGESTIONS[lang].map((words) => chip(words, lang)));
  readyToSend();
}

function chip(words, lang) {
  const button = make("button", "", words);
  button.type = "button";
  button.lang = lang;
  button.dataset.key = words;
  button.addEventListener("click", () => {
    $("composer-text").value = words;
    $("composer-text").focus();
    readyToSend();
  });
  return button;
}

function readyToSend() {
  $("send").textContent = say(page.busy ? "sending" : "send");
  $("send").title = "Ctrl + Enter";
  $("send").disabled = page.busy || !$("composer-text").value.trim();
}

function note(text, bad = false) {
  $("composer-note").textContent = text || say("hint");
  $("composer-note").classList.toggle("bad", bad);
}

async function send(event) {
  event.preventDefault();
  const text = $("composer-text").value.trim();
  if (!text || page.busy || !page.mail) return;
  const { mail } = page;
  const place = draftKey();
  page.busy = true;
  readyToSend();
  try {
    const body = JSON.stringify({ text });
    const sent = await fetchJson(`${mailUrl()}/reply`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    mail.answers.push({ text, sent_at: sent.sent_at });
    page.drafts.delete(place);
    if (place === draftKey()) {
      $("composer-text").value = "";
      note(say("sent", sent.to));
      showAnswers();
    }
  } catch (why) {
    note(say("failed") + why.message, true);
  } finally {
    page.busy = false;
    readyToSend();
  }
}

// ——— the status ———

function showStatus() {
  const { campaigns, recent } = page.status;
  replace($("campaigns"), campaigns.length ? campaigns.map(campaignCard) : [make("p", "campaign way", say("nothingSent"))]);
  const newest = [...recent].sort(byNewest);
  replace($("recent"), newest.length ? newest.map(feedItem) : [make("li", "quiet", say("nothing"))]);
  badge($("tab-answers"), recent.length);
}

const OUTCOMES = ["yes", "no", "maybe", "unsubscribed", "review", "silent"];

// The first campaign stands open; the others show their sum as one striped bar until they are opened.
function campaignCard(c, at) {
  const count = { ...c.answers, unsubscribed: c.unsubscribed, review: c.review, silent: c.silent };
  const answered = (count.yes ?? 0) + (count.no ?? 0) + (count.maybe ?? 0);
  const summary = make("summary", "", make("h3", "", c.campaign), make("span", "answered", say("answered", answered, c.contacts)),
    make("span", "track stripes", ...OUTCOMES.map((k) => growing(`${c.campaign}/all/${k}`, k, count[k] ?? 0, c.contacts))));
  summary.dataset.key = c.campaign;
  const coming = make("span", "more", c.guests ? say("coming", (count.yes ?? 0) + c.guests) : "");
  const guests = row(say("guests"), coming, c.guests ?? 0);
  const card = make("details", "campaign", summary, make("p", "way", way(c)),
    make("dl", "bars", ...OUTCOMES.flatMap((k) => bar(`${c.campaign}/${k}`, k, count[k] ?? 0, c.contacts)), ...guests));
  card.open = page.open.get(c.campaign) ?? at === 0;
  card.addEventListener("toggle", () => page.open.set(c.campaign, card.open));
  return card;
}

// How far the sending is: "7 of 8 invitations sent · 1 on the way".
function way(c) {
  const waiting = (c.queued ?? 0) + (c.sending ?? 0);
  const failed = (c.failed ?? 0) + (c.uncertain ?? 0);
  return [say("sentOf", c), waiting && say("onTheWay", waiting), failed && say("troubled", failed)].filter(Boolean).join(" · ");
}

function bar(id, name, count, of) {
  const track = make("span", "track", growing(id, name, count, of));
  track.setAttribute("aria-hidden", "true");
  return row(say(name), track, count);
}

function row(name, middle, count) {
  return [make("dt", count ? "" : "zero", name), make("dd", "", middle, make("span", count ? "count" : "count zero", String(count)))];
}

// A piece of a bar, which grows from the width it had before.
function growing(id, name, count, of) {
  const piece = make("span", `fill tone-${name}`);
  const width = `${of ? Math.min(100, (100 * count) / of) : 0}%`;
  piece.style.width = page.widths.get(id) ?? width;
  page.widths.set(id, width);
  requestAnimationFrame(() => requestAnimationFrame(() => { piece.style.width = width; }));
  return piece;
}

function feedItem(r) {
  const id = `${r.at}#${r.address}#${r.words}`;
  const fresh = !page.firstStatus && !page.seen.has(id);
  if (fresh) $("announce").textContent = `${r.name || r.address}: ${word(r).textContent}`;
  page.seen.add(id);
  const who = make("button", "", r.name || r.address);
  who.type = "button";
  who.dataset.key = id;
  const known = page.boxes.find((box) => same(box.address, r.address));
  who.disabled = !known;
  who.addEventListener("click", () => openBox(known.address));
  const time = make("time", "", clock(r.at));
  time.dateTime = r.at;
  return make("li", fresh ? "fresh" : "", make("div", "feed-who", who, time),
    r.words ? make("blockquote", "", r.words) : null,
    make("p", "because", word(r), ...because(r)), r.applied === false && r.kind !== "auto_reply" ? make("span", "waits", say("waits")) : null);
}

// "● Yes", in the words of the page.
function word(r) {
  const name = r.kind && r.kind !== "reply" && r.kind !== "calendar_reply" ? r.kind : r.intent ?? r.kind;
  return make("span", `word tone-${name}`, say(name));
}

// " · 1 guest · because “ja gärna” · 97 % sure"
function because(r) {
  const words = [...new Set((r.evidence ?? []).map((e) => e.words).filter(Boolean))].slice(0, 3).map((w) => `“${w}”`).join(", ");
  const parts = [r.guests ? say("guestCount", r.guests) : "", words ? `${say("because")} ${words}` : "",
    typeof r.confidence === "number" && (!r.kind || r.kind === "reply") ? say("sure", Math.round(100 * r.confidence)) : ""];
  const node = make("span", "", parts.filter(Boolean).map((part) => ` · ${part}`).join(""));
  node.title = (r.evidence ?? []).map((e) => `${e.rule}: ${e.words}`).join("\n");
  return [node];
}

// ——— the page ———

function setView(view) {
  document.body.dataset.view = view;
  for (const button of $("tabs").children) button.setAttribute("aria-pressed", String(button.dataset.view === view));
}

function setLang(lang) {
  page.lang = WORDS[lang] ? lang : "en";
  document.documentElement.lang = page.lang;
  store("lang", page.lang);
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = say(node.dataset.say);
  for (const button of document.querySelectorAll("[data-lang]")) button.setAttribute("aria-pressed", String(button.dataset.lang === page.lang));
  $("views").setAttribute("aria-label", say("views"));
  $("tabs").setAttribute("aria-label", say("tabs"));
  note("");
  showPeople();
  showMail();
  showStatus();
}

async function fetchJson(url, options) {
  const response = await fetch(url, options);
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error ?? response.statusText);
  return body;
}

// One look at the office; only what changed is drawn again.
async function look() {
  try {
    const [boxes, status] = await Promise.all([fetchJson("/api/mailboxes"), fetchJson("/api/status")]);
    trouble("");
    const newBoxes = changed("boxes", boxes);
    const newStatus = changed("status", status);
    page.boxes = boxes;
    page.status = { campaigns: status.campaigns ?? [], recent: status.recent ?? [] };
    if (newStatus || newBoxes) showPeople();
    if (newStatus) showStatus();
    if (newBoxes) await mailChanged();
    if (newStatus && page.mail) showAnswers();
    page.firstStatus = false;
  } catch {
    trouble(say("offline"));
  }
}

async function mailChanged() {
  const box = boxOf(page.address);
  if (page.mail && box) return showMailList(box);
  if (box?.mails.length) {
    page.index = box.mails[0].index;
    return openMail();
  }
  const first = page.boxes.find((other) => other.role === "recipient" && other.mails.length);
  if (page.address === null && first && window.matchMedia("(min-width: 821px)").matches) {
    page.address = first.address;
    page.index = first.mails[0].index;
    return openMail();
  }
  showMail();
}

function changed(name, value) {
  const text = JSON.stringify(value);
  const is = page.texts[name] !== text;
  page.texts[name] = text;
  return is;
}

function trouble(text) {
  document.body.classList.toggle("offline", Boolean(text));
  if ($("trouble").textContent !== text) $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

// A browser may forbid storage; then the page forgets, and works.
function store(name, value) {
  try { sessionStorage.setItem(`svar.${name}`, JSON.stringify(value)); } catch { /* forgotten */ }
}
function stored(name) {
  try { return JSON.parse(sessionStorage.getItem(`svar.${name}`)); } catch { return null; }
}

async function keepLooking() {
  if (!document.hidden) await look();
  setTimeout(keepLooking, 1000);
}

function start() {
  page.read = new Set(stored("read") ?? []);
  for (const button of document.querySelectorAll("[data-lang]")) button.addEventListener("click", () => setLang(button.dataset.lang));
  for (const button of $("tabs").children) button.addEventListener("click", () => setView(button.dataset.view));
  for (const button of $("views").children) {
    button.addEventListener("click", () => {
      page.show = button.dataset.show;
      if (page.mail) showBody();
    });
  }
  $("people-list").addEventListener("keydown", walk);
  $("mail-list").addEventListener("keydown", walk);
  $("composer").addEventListener("submit", send);
  $("composer-text").addEventListener("input", readyToSend);
  $("composer-text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send(event);
  });
  setView("people");
  setLang(stored("lang") ?? (navigator.language.startsWith("sv") ? "sv" : "en"));
  keepLooking();
}

start();
