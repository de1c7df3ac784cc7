import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.Arrays;
import java.util.Iterator;

/**
 * An echo server and a client, both with one non-blocking selector loop; and a server with a
 * thread and a blocking socket for each client.
 *
 * <pre>
 *   Selector server PORT
 *   Selector blocking PORT
 *   Selector client HOST PORT COUNT     COUNT connections at once, 50 kB on each
 * </pre>
 */
public class Selector {
	static final int SIZE = 50_000;

	public static void main(String[] args) throws Exception {
		switch (args[0]) {
			case "server" -> serve(Integer.parseInt(args[1]));
			case "blocking" -> block(Integer.parseInt(args[1]));
			case "client" -> connect(args[1], Integer.parseInt(args[2]), Integer.parseInt(args[3]));
			default -> System.exit(64);
		}
	}

	static void serve(int port) throws IOException {
		var selector = java.nio.channels.Selector.open();
		var server = ServerSocketChannel.open();
		server.bind(new InetSocketAddress(port), 512);
		server.configureBlocking(false);
		server.register(selector, SelectionKey.OP_ACCEPT);
		System.out.println("listening " + server.getLocalAddress());
		while (true) {
			selector.select();
			for (Iterator<SelectionKey> it = selector.selectedKeys().iterator(); it.hasNext();) {
				var key = it.next();
				it.remove();
				if (key.isAcceptable()) {
					var c = server.accept();
					if (c == null) continue;
					System.out.println("client " + c.getRemoteAddress() + " on " + c.getLocalAddress());
					c.configureBlocking(false);
					c.register(selector, SelectionKey.OP_READ, ByteBuffer.allocate(65536));
				} else {
					echo(key);
				}
			}
		}
	}

	/** Reads while there is room, writes while there is data, closes after both are done. */
	static void echo(SelectionKey key) throws IOException {
		var c = (SocketChannel) key.channel();
		var buf = (ByteBuffer) key.attachment();
		boolean end = key.isReadable() && c.read(buf) < 0;
		buf.flip();
		c.write(buf);
		boolean empty = !buf.hasRemaining();
		buf.compact();
		if (end && empty) {
			c.close();
			return;
		}
		key.interestOps((buf.hasRemaining() ? SelectionKey.OP_READ : 0) | (empty ? 0 : SelectionKey.OP_WRITE));
	}

	static void block(int port) throws IOException {
		try (var server = new ServerSocket(port, 512)) {
			System.out.println("listening " + server.getLocalSocketAddress());
			while (true) {
				Socket c = server.accept();
				System.out.println("client " + c.getRemoteSocketAddress() + " on " + c.getLocalSocketAddress());
				new Thread(() -> {
					try (c) {
						c.getInputStream().transferTo(c.getOutputStream());
					} catch (IOException e) {
						System.out.println("lost " + e);
					}
				}).start();
			}
		}
	}

	/** What one connection of the client has still to write and has read. */
	static class Talk {
		final ByteBuffer out = ByteBuffer.allocate(SIZE), in = ByteBuffer.allocate(SIZE);
	}

	static void connect(String host, int port, int count) throws IOException {
		var selector = java.nio.channels.Selector.open();
		for (int i = 0; i < count; i++) {
			var c = SocketChannel.open();
			c.configureBlocking(false);
			var talk = new Talk();
			Arrays.fill(talk.out.array(), (byte) i);
			boolean done = c.connect(new InetSocketAddress(host, port));
			c.register(selector, done ? SelectionKey.OP_WRITE | SelectionKey.OP_READ : SelectionKey.OP_CONNECT, talk);
		}
		for (int left = count; left > 0;) {
			if (selector.select(30_000) == 0) throw new IOException(left + " connections are stuck");
			for (Iterator<SelectionKey> it = selector.selectedKeys().iterator(); it.hasNext();) {
				var key = it.next();
				it.remove();
				var c = (SocketChannel) key.channel();
				var talk = (Talk) key.attachment();
				if (key.isConnectable()) {
					c.finishConnect();
					key.interestOps(SelectionKey.OP_WRITE | SelectionKey.OP_READ);
					continue;
				}
				if (key.isWritable()) {
					c.write(talk.out);
					if (!talk.out.hasRemaining()) {
						c.shutdownOutput();
						key.interestOps(SelectionKey.OP_READ);
					}
				}
				// With its buffer full a read returns 0, so that one more byte, or the end, needs room.
				if (key.isReadable() && c.read(talk.in.hasRemaining() ? talk.in : ByteBuffer.allocate(1)) < 0) {
					if (!Arrays.equals(talk.in.array(), talk.out.array())) throw new IOException("came back changed");
					c.close();
					left--;
				}
			}
		}
		System.out.println(count + " connections ok");
	}
}
