"""Real clients ask for media hosts and others; then packets that no client would send."""
import random, socket, struct, subprocess, sys, time

chromium = sys.argv[1]


def glibc(name):
    try:
        socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)
    except socket.gaierror:
        pass


for name in [
    "c-ams08-44aff7ca.discord.media",
    "slow-7.discord.media",
    "Newark123.discord.media",
    "big1.discord.media",
    "alias.example.org",
    "nosuch1.discord.media",
    "latency.discord.media",
    "www.example.org",
]:
    glibc(name)
# The first three seconds the watch knows no port of it, and tries the usual one.
glibc("oregon5.discord.media")
glibc("six3.discord.media")
# c-ares, with its own sockets.
node = "const d=require('dns').promises;(async()=>{for(const n of ['slow-8.discord.media','rotterdam1234.discord.media'])for(const t of ['A','AAAA'])await d.resolve(n,t).catch(()=>{})})()"
subprocess.run(["node", "-e", node], check=True, timeout=60)
# Chromium asks for HTTPS records by its own resolver.
subprocess.run(
    ["timeout", "-k", "2", "30", chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
     "--enable-features=AsyncDns,UseDnsHttpsSvcb", "--timeout=8000", "--dump-dom", "https://c-fra03-0badcafe.discord.media/"],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
)
time.sleep(3)
# A voice client, which connects to the port that the gateway told it.
socket.create_connection(("oregon5.discord.media", 2053)).close()

# What no client sends: from port 53 to the resolver's clients and back, UDP and TCP.
random.seed(7)
head = lambda qd, an: struct.pack("!HHHHHH", 7, 0x8180, qd, an, 0, 0)
media = b"\x0anewark9999\x07discord\x05media\0\0\1\0\1"
broken = [
    b"", b"\0", head(1, 1) + b"\xc0\x0c\0\1\0\1", head(1, 1) + b"\xc0\x0e\xc0\x0c\0\1\0\1", head(65535, 65535),
    head(1, 65535) + media + b"\xc0\x0c\0\1\0\1\0\0\0\1\xff\xff", head(1, 1) + b"\x3f" + b"a" * 63 + b"\xff",
    head(1, 40000) + media + b"\xc0\x0c\0\5\0\1\0\0\0\1\0\2\xc0\x0c" * 4000,
]
broken += [random.randbytes(random.randrange(1, 1400)) for _ in range(500)]
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for payload in broken:
    udp.sendto(payload[:65000], ("127.0.0.53", 53))
for payload in [b"\xff\xff" + random.randbytes(65535), b"\0\0" * 500, b"\xff\xff" + b"\0" * 65535 * 3, b"\0\1"]:
    conn = socket.create_connection(("127.0.0.53", 53))
    try:
        conn.sendall(payload)
    except OSError:
        pass
    conn.close()
