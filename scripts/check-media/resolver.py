"""A resolver on 127.0.0.53, UDP and TCP. What it answers, and after how long, is in the name asked for:
slow*: after 120 ms; big*: truncated over UDP, 60 kB over TCP; alias*: by a CNAME; dead*: never; no*: NXDOMAIN; oregon*: 127.0.0.10;
six*: ::1 and no IPv4.
And media hosts: on 127.0.0.9 TCP 443 and 444, on 127.0.0.10 TCP 2053, on ::1 TCP 443."""
import socket, struct, sys, threading, time

A, CNAME, AAAA, HTTPS = 1, 5, 28, 65
ADDRESS = socket.inet_aton("127.0.0.9")


def name_bytes(name):
    return b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0"


def record(name, kind, data, ttl=1):
    return name_bytes(name) + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def answer(query, tcp):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
        at += 1 + query[at]
    kind = struct.unpack("!H", query[at + 1 : at + 3])[0]
    question, name = query[12 : at + 5], ".".join(labels)
    low = name.lower()
    if low.startswith("dead"):
        return None
    if low.startswith("slow"):
        time.sleep(0.12)
    known = low.endswith(".discord.media") or low.endswith(".example.org")
    flags, records, owner = 0x8180, [], name
    if not known or low.startswith("no"):
        flags |= 3
    else:
        if low.startswith("alias"):
            owner = "c-ams08-44aff7ca.discord.media"
            records.append(record(name, CNAME, name_bytes(owner)))
        if low.startswith("six"):
            if kind == AAAA:
                records.append(record(owner, AAAA, socket.inet_pton(socket.AF_INET6, "::1")))
        elif kind == A:
            records.append(record(owner, A, socket.inet_aton("127.0.0.10") if low.startswith("oregon") else ADDRESS))
            if low.startswith("big") and tcp:
                records += [record(owner, 16, bytes([250]) + b"x" * 250) for _ in range(200)]
        elif kind == HTTPS:
            records.append(record(owner, HTTPS, b"\0\1\0" + struct.pack("!HH", 4, 4) + ADDRESS))
    if low.startswith("big") and not tcp:
        flags, records = flags | 0x0200, []
    body = b"".join(records)
    return query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + question + body


def udp_server(sock):
    def one(query, peer):
        try:
            reply = answer(query, False)
        except (IndexError, struct.error):
            return
        if reply:
            sock.sendto(reply, peer)

    while True:
        query, peer = sock.recvfrom(65535)
        threading.Thread(target=one, args=(query, peer), daemon=True).start()


def tcp_server(sock):
    def one(conn):
        with conn:
            data = b""
            while True:
                part = conn.recv(65535)
                if not part:
                    return
                data += part
                while len(data) >= 2 and len(data) >= 2 + struct.unpack("!H", data[:2])[0]:
                    end = 2 + struct.unpack("!H", data[:2])[0]
                    query, data = data[2:end], data[end:]
                    try:
                        reply = answer(query, True)
                    except (IndexError, struct.error):
                        return
                    if reply:
                        conn.sendall(struct.pack("!H", len(reply)) + reply)

    while True:
        conn, _ = sock.accept()
        threading.Thread(target=one, args=(conn,), daemon=True).start()


def listener(address):
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)
    sock.listen(50)
    return sock


udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.53", 53))
threading.Thread(target=udp_server, args=(udp,), daemon=True).start()
threading.Thread(target=tcp_server, args=(listener(("127.0.0.53", 53)),), daemon=True).start()


def media_host(sock):
    while True:
        sock.accept()[0].close()


for at in [("127.0.0.9", 443), ("127.0.0.9", 444), ("127.0.0.10", 2053), ("::1", 443)]:
    threading.Thread(target=media_host, args=(listener(at),), daemon=True).start()
print("ready", flush=True)
while True:
    time.sleep(3600)
