#!/usr/bin/env python3
"""Writes vectors.txt: packets as other people's code makes them, for the tests to compare ours with.

    pip install cryptography==48.0.0 dnspython==2.8.0 scapy==2.9.2     (versions used: any recent one does)
    python3 crates/wire/tests/golden/vectors.py > crates/wire/tests/golden/vectors.txt

Nothing here is this crate's code. Only the OpenSSL records are random: they differ from run to run.
"""
import base64
import datetime
import hashlib
import hmac
import ssl
import struct
import sys
import tempfile

import dns.flags
import dns.message
import dns.rrset
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID
from scapy.all import (Dot1Q, Ether, ICMP, ICMPExtension_Header, ICMPv6EchoRequest, ICMPv6TimeExceeded,
                       IP, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
                       PadN, Raw, TCP, UDP)
from scapy.contrib.mpls import MPLS, ICMPExtension_MPLS
from scapy.contrib.stamp import (ErrorEstimate, STAMPSessionReflectorTestUnauthenticated,
                                 STAMPSessionSenderTestUnauthenticated)


def put(name, data):
    print(f"{name} {bytes(data).hex()}")


KEY = bytes(range(32))
MASK = bytes(range(32, 64))
SESSION = 0x12345678
SEQUENCE = 0x00FEDCBA
SENT_AT = 1_700_000_000_123_456_789
TOS, REPLY_TOS = 0xBA, 0x28


def plaintext(flags, in_reply_to, version=1):
    return struct.pack(">BBBBIq", flags, TOS, REPLY_TOS, version, in_reply_to, SENT_AT)


# Discord's aead_aes256_gcm_rtpsize: the RTP header is the associated data, the nonce is the 32-bit counter that ends the
# packet, big-endian, followed by eight zero bytes. As @discordjs/voice does it:
#   nonceBuffer = Buffer.alloc(12); nonceBuffer.writeUInt32BE(nonce, 0)
#   createCipheriv('aes-256-gcm', secretKey, nonceBuffer); cipher.setAAD(rtpHeader)
#   [rtpHeader, cipher.update(payload), cipher.final(), cipher.getAuthTag(), nonceBuffer.subarray(0, 4)]
def rtp(length, flags, in_reply_to, version=1, padding=b"\0"):
    header = struct.pack(">BBHII", 0x80, 0x78, SEQUENCE & 0xFFFF, SEQUENCE * 960 & 0xFFFFFFFF, SESSION)
    body = plaintext(flags, in_reply_to, version).ljust(length - 12 - 16 - 4, padding)
    counter = struct.pack(">I", SEQUENCE)
    return header + AESGCM(KEY).encrypt(counter + bytes(8), body, header) + counter


put("rtp_48", rtp(48, 1, 0xFFFFFFFF))
put("rtp_172_reply", rtp(172, 2, 77))
put("rtp_version_2", rtp(48, 1, 0xFFFFFFFF, version=2))
put("rtp_172_reply_padded_otherwise", rtp(172, 2, 77, padding=b"\xee"))


# RFC 9001, section 5.4.3: mask = AES-ECB(hp_key, sample); here four bytes of each of two samples.
def mask(first, second):
    ecb = Cipher(algorithms.AES(MASK), modes.ECB()).encryptor()
    return ecb.update(first)[:4] + ecb.update(second)[:4]


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


CLEAR = struct.pack(">II", SESSION, SEQUENCE)


def control(length, flags, in_reply_to, version=1):
    body = plaintext(flags, in_reply_to, version).ljust(length - 8 - 16, b"\0")
    sealed = AESGCM(KEY).encrypt(struct.pack(">I", SEQUENCE) + bytes(7) + b"\1", body, CLEAR)
    return xor(CLEAR, mask(sealed[0:16], sealed[16:32])) + sealed


def token(flags, key=KEY, version=1):
    nonce = struct.pack(">I", SEQUENCE) + bytes(7) + b"\2"
    sealed = AESGCM(key).encrypt(nonce, bytes([flags, TOS, REPLY_TOS, version]), CLEAR)
    return xor(CLEAR, mask(sealed[0:16], sealed[4:20])) + sealed


put("control_48", control(48, 1, 0xFFFFFFFF))
put("control_172_reply", control(172, 2, 77))
put("control_version_2", control(48, 1, 0xFFFFFFFF, version=2))
put("token_version_2", token(1, version=2))
put("token", token(1))
REQUEST, REPLY = token(1), token(2, KEY[::-1])
put("token_reply", REPLY)


def text(data):
    return base64.b32encode(data).decode().rstrip("=").lower()


put("token_text", text(REQUEST).encode())

# DNS by dnspython, as a stub resolver asks and an authoritative server answers.
NAME = f"{text(REQUEST)}.netlat.invalid."
query = dns.message.make_query(NAME, "TXT", use_edns=0, payload=1232, id=0x1234)
put("dns_query", query.to_wire())
answer = dns.message.make_response(query, our_payload=1232)
answer.flags |= dns.flags.AA
answer.answer.append(dns.rrset.from_text(NAME, 0, "IN", "TXT", f'"{text(REPLY)}"'))
put("dns_answer", answer.to_wire())
plain = dns.message.make_query("".join(c.upper() if i % 3 else c for i, c in enumerate(NAME)), "TXT", use_edns=False, id=7)
plain.flags = 0
put("dns_query_mixed_case", plain.to_wire())
intercepted = dns.message.make_response(query)
intercepted.set_rcode(3)
intercepted.authority.append(dns.rrset.from_text("invalid.", 86400, "IN", "SOA", ". . 1 1800 900 604800 86400"))
put("dns_nxdomain", intercepted.to_wire())
redirected = dns.message.make_response(query)
redirected.answer.append(dns.rrset.from_text(NAME, 60, "IN", "CNAME", "portal.example.net."))
redirected.answer.append(dns.rrset.from_text("portal.example.net.", 60, "IN", "TXT", '"pay" "here"'))
put("dns_redirected", redirected.to_wire())

# TLS by OpenSSL: a client's first flight, and a server's answer to it.
client = ssl.create_default_context()
client.set_alpn_protocols(["http/1.1"])
to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
connection = client.wrap_bio(to_client, to_server, server_hostname="gateway.discord.gg")
try:
    connection.do_handshake()
except ssl.SSLWantReadError:
    pass
hello = to_server.read()
put("openssl_client_hello", hello)
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
from_client, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
from_client.write(hello)
try:
    server.wrap_bio(from_client, from_server, server_side=True).do_handshake()
except ssl.SSLError:
    pass
put("openssl_alert", from_server.read())
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.discord.gg")])
now = datetime.datetime.now(datetime.timezone.utc)
certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
               .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
               .sign(key, hashes.SHA256()))
with tempfile.NamedTemporaryFile() as pem:
    pem.write(certificate.public_bytes(serialization.Encoding.PEM))
    pem.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption()))
    pem.flush()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem.name)
from_client, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
from_client.write(hello)
try:
    server.wrap_bio(from_client, from_server, server_side=True).do_handshake()
except ssl.SSLWantReadError:
    pass
put("openssl_server_hello", from_server.read(200))

# STAMP, open mode by scapy, authenticated by struct and hmac.
NTP = (1_700_000_000 + 2_208_988_800) << 32 | 1 << 31  # half a second past
sender = STAMPSessionSenderTestUnauthenticated(seq=9, ts=0, err_estimate=ErrorEstimate(S=1, Z=0, scale=10, multiplier=3),
                                               ssid=0xBEEF)
sender = bytearray(bytes(sender))
sender[4:12] = struct.pack(">Q", NTP)  # scapy's field is a float of seconds
put("stamp_sender_open", sender)
reflector = bytearray(bytes(STAMPSessionReflectorTestUnauthenticated(
    seq=4, ts=0, err_estimate=ErrorEstimate(S=0, Z=0, scale=12, multiplier=1), ssid=0xBEEF, ts_rx=0, seq_sender=9,
    ts_sender=0, err_estimate_sender=ErrorEstimate(S=1, Z=0, scale=10, multiplier=3), ttl_sender=57)))
reflector[4:12] = struct.pack(">Q", NTP + (3 << 32))
reflector[16:24] = struct.pack(">Q", NTP + (2 << 32))
reflector[28:36] = struct.pack(">Q", NTP)
put("stamp_reflector_open", reflector)

STAMP_KEY = b"an HMAC key of a STAMP session!!"


def sign(*parts):
    return hmac.new(STAMP_KEY, b"".join(parts), hashlib.sha256).digest()[:16]


def authenticated(*fields):
    packet = bytearray(96)
    for offset, fmt, value in fields:
        struct.pack_into(fmt, packet, offset, value)
    return bytes(packet) + sign(packet)


def tlvs_with_hmac(sequence, tlvs, flags):
    return tlvs + bytes([flags, 8, 0, 16]) + sign(struct.pack(">I", sequence), tlvs)


put("stamp_sender_auth", authenticated((0, ">I", 9), (16, ">Q", NTP), (24, ">H", 0x8A03), (26, ">H", 0xBEEF))
    + tlvs_with_hmac(9, bytes.fromhex("80040004b8000000"), 0x80))
put("stamp_reflector_auth",
    authenticated((0, ">I", 4), (16, ">Q", NTP + (3 << 32)), (24, ">H", 0x0C01), (26, ">H", 0xBEEF),
                  (32, ">Q", NTP + (2 << 32)), (48, ">I", 9), (64, ">Q", NTP), (72, ">H", 0x8A03), (80, ">B", 57))
    + tlvs_with_hmac(4, bytes.fromhex("00040004bae80000"), 0x00))

# ICMP and frames by scapy.
put("icmp_echo_request", bytes(ICMP(type=8, id=0x1122, seq=0x3344) / Raw(b"netlat")))
six = IPv6(src="2001:db8::1", dst="2001:db8::2", tc=0xB8) / ICMPv6EchoRequest(id=0x1122, seq=0x3344, data=b"netlat")
put("icmpv6_echo_request_packet", bytes(six))
quoted = bytes(IP(src="192.0.2.1", dst="198.51.100.2", tos=0x48, ttl=1) / UDP(sport=40000, dport=50004) / Raw(b"x" * 40))
put("icmp_time_exceeded", bytes(ICMP(type=11, code=0) / Raw(quoted[:28])))
padded = quoted.ljust(128, b"\0")
mpls = bytes(ICMPExtension_Header() / ICMPExtension_MPLS(stack=[MPLS(label=16012, cos=5, s=1, ttl=1)]))
message = bytearray(bytes(ICMP(type=11, code=0) / Raw(padded + mpls)))
message[5] = 32  # RFC 4884: 32 words of the datagram
message[2:4] = b"\0\0"
total = sum(struct.unpack(f">{len(message) // 2}H", bytes(message)))
while total >> 16:
    total = (total & 0xFFFF) + (total >> 16)
message[2:4] = struct.pack(">H", ~total & 0xFFFF)
put("icmp_time_exceeded_mpls", message)
put("icmpv6_time_exceeded_packet",
    bytes(IPv6(src="2001:db8::ff", dst="2001:db8::1") / ICMPv6TimeExceeded()
          / IPv6(src="2001:db8::1", dst="2001:db8::2", tc=0xB9, hlim=1) / UDP(sport=40000, dport=8620) / Raw(b"probe")))

MAC = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
UDP4 = IP(src="192.0.2.1", dst="198.51.100.2", tos=0xB8, ttl=61, id=7) / UDP(sport=40000, dport=8620) / Raw(b"hello")
put("frame_udp4", bytes(Ether(**MAC) / UDP4))
put("frame_udp4_padded", bytes(Ether(**MAC) / UDP4).ljust(60, b"\0"))
put("frame_udp4_vlan", bytes(Ether(**MAC) / Dot1Q(vlan=5, prio=6) / UDP4))
put("frame_udp4_qinq", bytes(Ether(**MAC, type=0x88A8) / Dot1Q(vlan=9, type=0x8100) / Dot1Q(vlan=5) / UDP4))
put("packet_udp4", bytes(UDP4))
put("frame_udp6_extensions",
    bytes(Ether(**MAC) / IPv6(src="2001:db8::1", dst="2001:db8::2", tc=0x2E, hlim=44)
          / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)])
          / IPv6ExtHdrFragment(offset=0, m=1, id=0xABCDEF) / UDP(sport=1, dport=2, len=508) / Raw(b"first")))
put("frame_udp6_later_fragment",
    bytes(Ether(**MAC) / IPv6(src="2001:db8::1", dst="2001:db8::2")
          / IPv6ExtHdrFragment(offset=181, m=0, id=0xABCDEF, nh=17) / Raw(b"later")))
put("saved_syn4",
    bytes(IP(src="192.0.2.1", dst="198.51.100.2", tos=0x28, ttl=58)
          / TCP(sport=50000, dport=8620, seq=0x01020304, flags="SEC", window=64240,
                options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (0x11223344, 0)), ("NOP", None), ("WScale", 7)])))
put("frame_tcp6_data",
    bytes(Ether(**MAC) / IPv6(src="2001:db8::1", dst="2001:db8::2", tc=0x03)
          / TCP(sport=50000, dport=80, seq=5, ack=6, flags="PA", window=501) / Raw(b"GET /")))
sys.stdout.flush()
