# A server and its client in one thread, over TCP and UDP.
import socket

listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
client.sendall(b"hello\n")
server.recv(100)
server.shutdown(socket.SHUT_WR)
client.recv(100)
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a.bind(("127.0.0.1", 0))
b.sendto(b"datagram", a.getsockname())
a.recvfrom(100)
b.connect(a.getsockname())
b.send(b"again")
a.recv(100)
