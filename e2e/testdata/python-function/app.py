"""A function with a connection that it keeps, and with a server beside its handler."""

import socket
import threading
import time

server = socket.create_server(("0.0.0.0", 8080))


def serve():
    while True:
        c, _ = server.accept()
        c.sendall(b"hello from python\n")
        c.close()


threading.Thread(target=serve, daemon=True).start()
kept = None


def connect():
    global kept
    kept = socket.create_connection(("kv", 6379), timeout=20)


def command(text):
    kept.sendall(text.encode() + b"\r\n")
    answer = kept.recv(1000)
    if not answer:
        raise ConnectionResetError("end of file")
    return answer.decode().strip()


def handle(event, context):
    began = time.monotonic()
    error = None
    if kept is None:
        connect()
    try:
        answer = command(event.get("command", "PING"))
    except OSError as e:
        error = type(e).__name__
        connect()
        answer = command(event.get("command", "PING"))
    time.sleep(event.get("sleep", 0))
    return {
        "answer": answer,
        "error": error,
        "took": time.monotonic() - began,
        "address": kept.getsockname()[0],
        "host": socket.gethostname(),
    }
