"""An asyncio echo server and a client with many connections at once.

    streams.py server PORT
    streams.py client HOST PORT COUNT

The server greets each connection when it has accepted it, and the client waits for all greetings before it
sends: so the server has all connections at once. It prints the most that it had.
"""
import asyncio
import sys

SIZE = 10_000  # bytes on each connection


async def server(port):
    now = most = 0

    async def echo(reader, writer):
        nonlocal now, most
        now += 1
        if now > most:
            most = now
            print("at once", most, flush=True)
        try:
            writer.write(b"!")
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            now -= 1
            writer.close()

    s = await asyncio.start_server(echo, "0.0.0.0", port, backlog=1024)
    print("listening", flush=True)
    await s.serve_forever()


async def client(host, port, count):
    async def greeted():
        reader, writer = await asyncio.open_connection(host, port)
        assert await reader.readexactly(1) == b"!"
        return reader, writer

    conns = await asyncio.gather(*(greeted() for _ in range(count)))

    async def talk(i, reader, writer):
        data = bytes((i + j) % 251 for j in range(SIZE))
        writer.write(data)
        writer.write_eof()
        back = await reader.read(-1)
        assert back == data, f"connection {i}: {len(back)} bytes came back"
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(talk(i, r, w) for i, (r, w) in enumerate(conns)))
    print(count, "connections ok")


if sys.argv[1] == "server":
    asyncio.run(server(int(sys.argv[2])))
else:
    asyncio.run(asyncio.wait_for(client(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])), 60))
