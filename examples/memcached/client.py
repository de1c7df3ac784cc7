#!/usr/bin/env python3
"""client sets and gets keys of a memcached server over UDP.

    boxer run -- ./client.py HOST COUNT

It sets COUNT keys, gets each, and checks the values and where the answers came from. What is lost is asked for again,
as UDP wants it. It says "COUNT keys, LOST datagrams lost, from ADDRESS".
"""
import socket
import struct
import sys

host, count = sys.argv[1], int(sys.argv[2])
server = socket.getaddrinfo(host, 11211, socket.AF_INET, socket.SOCK_DGRAM)[0][4]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(1)
lost = 0


def ask(number, text):
    """Sends one request, in the frame of memcached's protocol.txt, and returns the answer."""
    global lost
    frame = struct.pack("!HHHH", number % 65536, 0, 1, 0)
    for _ in range(10):
        sock.sendto(frame + text.encode() + b"\r\n", server)
        try:
            while True:
                answer, source = sock.recvfrom(65536)
                if source != server:
                    sys.exit(f"client: answer from {source}, asked {server}")
                if answer[:2] == frame[:2]:  # or else a late one, of another request
                    return answer[8:].decode()
        except TimeoutError:
            lost += 1
    sys.exit(f"client: no answer from {server}")


for i in range(count):
    value = f"value {i} " + "x" * (i % 1000)
    answer = ask(2 * i, f"set key{i} 0 0 {len(value)}\r\n{value}")
    if answer != "STORED\r\n":
        sys.exit(f"client: set key{i}: {answer!r}")
    answer = ask(2 * i + 1, f"get key{i}")
    if answer != f"VALUE key{i} 0 {len(value)}\r\n{value}\r\nEND\r\n":
        sys.exit(f"client: get key{i}: {answer!r}")
print(f"{count} keys, {lost} datagrams lost, from {server[0]}")
