import java.net.InetAddress;
import java.net.NetworkInterface;

/** Prints the host's interfaces with their addresses, and then its name: "NAME ADDRESS/BITS", "host NAME ADDRESS". */
public class Interfaces {
    public static void main(String[] args) throws Exception {
        for (var nic : NetworkInterface.networkInterfaces().toList()) {
            for (var a : nic.getInterfaceAddresses()) {
                if (a.getAddress().getAddress().length == 4) {
                    System.out.println(nic.getName() + " " + a.getAddress().getHostAddress() + "/" + a.getNetworkPrefixLength());
                }
            }
            if (!nic.isUp() || nic.getMTU() < 1280 || NetworkInterface.getByIndex(nic.getIndex()) == null) {
                System.out.println(nic.getName() + " is not up");
            }
        }
        for (var nic : NetworkInterface.networkInterfaces().toList()) {
            for (var a : nic.getInterfaceAddresses()) { // also IPv6 ones, which the JVM knows from /proc/net/if_inet6
                if (!nic.equals(NetworkInterface.getByInetAddress(a.getAddress()))) {
                    System.out.println(a.getAddress() + " is not at " + nic.getName());
                }
            }
        }
        for (InetAddress a : InetAddress.getAllByName(InetAddress.getLocalHost().getHostName())) {
            if (NetworkInterface.getByInetAddress(a) == null) {
                System.out.println(a + " is at no interface");
            }
        }
        InetAddress host = InetAddress.getLocalHost();
        System.out.println("host " + host.getHostName() + " " + host.getHostAddress());
    }
}
