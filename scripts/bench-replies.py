"""Hands one reply to each invitation in a folder of smtp-sink's files to an LMTP listener; prints how many a second were stored.

usage: bench-replies.py PORT CONNECTIONS FOLDER"""
import glob, re, socket, sys, threading, time

port, connections, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


def reply_to(path):
    text = open(path, encoding="utf-8", errors="replace").read()
    field = lambda name: re.search(rf"^{name}: *(.*)$", text, re.M | re.I).group(1).strip()
    who = re.search(r"X-Rcpt-Args: *<([^>]*)>", text).group(1)
    to = field("Reply-To").strip("<>")
    message = (
        f"From: <{who}>\r\nTo: <{to}>\r\nSubject: Sv: natverk\r\nMessage-ID: <{who}.reply>\r\nIn-Reply-To: {field('Message-ID')}\r\n"
        "Date: Tue, 24 Nov 2026 10:15:00 +0100\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n\r\nJa, gärna! Vi blir två.\r\n\r\nMvh\r\nPerson\r\n\r\n"
        "Den tis 24 nov. 2026 kl 10:00 skrev Monica Berg <monica@natverket.example.org>:\r\n"
        "> Vi är några helt vanliga chefer som träffas en kväll i månaden.\r\n> Svara AVREGISTRERA, så hör vi inte av oss igen.\r\n.\r\n"
    )
    return f"MAIL FROM:<{who}>\r\nRCPT TO:<{to}>\r\nDATA\r\n".encode(), message.encode()


def send(jobs, failures):
    stream = socket.create_connection(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = stream.makefile("rb")

    def expect(code):
        line = lines.readline()
        while line[3:4] == b"-":
            line = lines.readline()
        if not line.startswith(code):
            failures.append(line)

    expect(b"220")
    stream.sendall(b"LHLO bench.example.org\r\n")
    expect(b"250")
    for envelope, message in jobs:
        stream.sendall(envelope)
        for code in (b"250", b"250", b"354"):
            expect(code)
        stream.sendall(message)
        expect(b"250")
    stream.close()


jobs = [reply_to(path) for path in glob.glob(folder + "/*")]
failures = []
threads = [threading.Thread(target=send, args=(jobs[n::connections], failures)) for n in range(connections)]
start = time.perf_counter()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures or not jobs:
    sys.exit(f"{len(failures)} of {len(jobs)} replies were not stored: {failures[:3]}")
print(f"{len(jobs) / (time.perf_counter() - start):.0f}")
