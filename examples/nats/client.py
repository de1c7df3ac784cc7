#!/usr/bin/python3
"""Makes a stream of three replicas if there is none, publishes to it, and reads how many messages it has and
which server leads it, by NATS's own protocol: client.py SERVER[,SERVER...] COUNT"""
import json, socket, sys

servers, count = sys.argv[1].split(","), int(sys.argv[2])


def connect():
    for server in servers:
        try:
            return socket.create_connection((server, 4222), timeout=2)
        except OSError as error:
            reason = "%s: %s" % (server, error)
    sys.exit(reason)


connection = connect()
lines = connection.makefile("rwb")
lines.readline()  # INFO
lines.write(b'CONNECT {"verbose":false}\r\nSUB _INBOX.> 1\r\n')


def request(subject, body):
    body = body.encode()
    lines.write(b"PUB %s _INBOX.1 %d\r\n%s\r\n" % (subject.encode(), len(body), body))
    lines.flush()
    while True:
        line = lines.readline()
        if not line:
            sys.exit("%s: the server has closed the connection" % subject)
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
cluster = info["cluster"]
print("%d messages, %d replicas beside the leader %s" % (info["state"]["messages"], len(cluster["replicas"]), cluster["leader"]))
