import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/**
 * Writes to a ZooKeeper ensemble and checks that no acknowledged write is lost.
 *
 * <pre>java -cp /usr/share/java/zookeeper.jar Load.java zk1:2181,zk2:2181,zk3:2181</pre>
 *
 * <p>It creates one node after the other until a line comes on its standard input, says "writing" after every 100 in a row, and
 * "interrupted DURATION" whenever writes succeed again after one that failed. Then it asks each server for all
 * nodes and says "wrote N, lost M". It exits with status 1 if one is lost.
 */
public class Load {
  private static final int SESSION_MILLIS = 6000;

  public static void main(String[] args) throws Exception {
    List<String> acknowledged;
    try (ZooKeeper client = connect(args[0])) {
      acknowledged = write(client);
    }
    int lost = 0;
    for (String server : args[0].split(",")) {
      try (ZooKeeper client = connect(server)) {
        client.sync("/load", (rc, path, context) -> {}, null);
        Set<String> there = new HashSet<>(client.getChildren("/load", false));
        lost += (int) acknowledged.stream().filter(name -> !there.contains(name)).count();
      }
    }
    System.out.printf("wrote %d, lost %d%n", acknowledged.size(), lost);
    System.exit(lost == 0 ? 0 : 1);
  }

  private static ZooKeeper connect(String servers) throws Exception {
    CountDownLatch connected = new CountDownLatch(1);
    ZooKeeper client =
        new ZooKeeper(
            servers,
            SESSION_MILLIS,
            event -> {
              if (event.getState() == KeeperState.SyncConnected) {
                connected.countDown();
              }
            });
    connected.await();
    return client;
  }

  /** Writes until standard input ends and returns the names of the nodes whose creation was acknowledged. */
  private static List<String> write(ZooKeeper client) throws Exception {
    client.create("/load", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    List<String> acknowledged = new ArrayList<>();
    long last = System.nanoTime();
    boolean failed = false;
    int row = 0;
    for (int i = 0; System.in.available() == 0; i++) {
      String name = String.format("%08d", i);
      byte[] data = name.getBytes(StandardCharsets.US_ASCII);
      try {
        client.create("/load/" + name, data, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
      } catch (KeeperException.ConnectionLossException e) { // it may be there all the same: nobody counts on either
        failed = true;
        row = 0;
        continue;
      }
      acknowledged.add(name);
      if (failed) {
        System.out.println("interrupted " + Duration.ofNanos(System.nanoTime() - last).toMillis() + "ms");
      }
      last = System.nanoTime();
      failed = false;
      if (++row % 100 == 0) {
        System.out.println("writing");
      }
      Thread.sleep(1); // some load, not all that the machine can do
    }
    return acknowledged;
  }
}
