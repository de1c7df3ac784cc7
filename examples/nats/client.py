#!/usr/bin/python3
"""Makes a stream of three replicas, publishes to it, and reads how many messages it has, by NATS's own protocol:
client.py SERVER COUNT"""
import json, socket, sys

server, count = sys.argv[1], int(sys.argv[2])
connection = socket.create_connection((server, 4222), timeout=20)
lines = connection.makefile("rwb")
lines.readline()  # INFO
lines.write(b'CONNECT {"verbose":false}\r\nSUB _INBOX.> 1\r\n')


def request(subject, body):
    body = body.encode()
    lines.write(b"PUB %s _INBOX.1 %d\r\n%s\r\n" % (subject.encode(), len(body), body))
    lines.flush()
    while True:
        line = lines.readline()
        if line.startswith(b"PING"):
            lines.write(b"PONG\r\n")
            lines.flush()
        elif line.startswith(b"MSG"):
            answer = json.loads(lines.read(int(line.split()[-1]) + 2))
            if "error" in answer:
                sys.exit("%s: %s" % (subject, answer["error"]["description"]))
            return answer


request("$JS.API.STREAM.CREATE.orders", json.dumps({"name": "orders", "subjects": ["orders.>"], "num_replicas": 3}))
for i in range(count):
    request("orders.new", "order %d" % i)
info = request("$JS.API.STREAM.INFO.orders", "")
print("%d messages, %d replicas beside the leader" % (info["state"]["messages"], len(info["cluster"]["replicas"])))
