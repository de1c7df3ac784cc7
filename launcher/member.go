package launcher

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/transport"
)

// reportEvery is how often the paths of a node are looked at for its
// coordinator, which is told when they have changed.
const reportEvery = time.Second

// A member is a place on a network: the node's socket, its membership and its
// paths to the others.
type member struct {
	socket *transport.Socket
	client *coordinator.Client
	node   *transport.Node
	log    *slog.Logger

	// what the node says of itself; holds nil at first
	about atomic.Pointer[func() coordinator.About]

	inbounds *inbounds // of the streams from other nodes

	stop    context.CancelFunc
	running sync.WaitGroup // this member's goroutines
}

// handlers get what other nodes send.
type handlers struct {
	accept   func(*transport.Stream)
	datagram func(from uint32, d transport.Datagram) // nil: dropped
}

// self is what a node says of itself.
type self struct {
	name    string       // empty: node-ID
	program string       // version of boxer
	own     *net.UDPConn // see transport.Config; nil: none

	timers transport.Timers // of its paths

	// makes its identity; nil: transport.NewIdentity
	identity func() (*transport.Identity, error)
}

// join makes this process a member of the network.
func join(ctx context.Context, url coordinator.JoinURL, who self, cc transport.Congestion,
	h handlers, log *slog.Logger) (*member, error) {
	if who.identity == nil {
		who.identity = transport.NewIdentity
	}
	id, err := who.identity()
	if err != nil {
		return nil, err
	}
	m := &member{log: log, inbounds: newInbounds()}
	if m.socket, err = transport.Listen(netip.AddrPort{}); err != nil {
		return nil, err
	}
	host := hostID()
	m.client, err = coordinator.Join(ctx, coordinator.ClientConfig{
		URL: url, Name: who.name, Program: who.program, Socket: m.socket, Identity: id,
		HostID: host, Logger: log,
	})
	if err != nil {
		return nil, errors.Join(err, m.socket.Close())
	}
	if own, ok := coordinator.Clash(m.client.Prefix(), m.client.Prefix6()); ok {
		log.Warn("the network's addresses cover this host's own network, which programs cannot reach; see boxer doctor",
			"network", m.client.Prefix(), "host", own)
	}
	m.node, err = transport.New(transport.Config{
		Identity: id, Socket: m.socket, Self: m.client.Self().ID, Host: host,
		Server: m.client.Server(), Signaller: m.client, Own: who.own,
		Lookup: func(id uint32) (transport.Peer,
			bool) {
			return peer(m.client.ByID(id))
		},
		LookupKey: func(k transport.Key) (transport.Peer,
			bool) {
			return peer(m.client.ByKey(k))
		},
		Accept: m.accept(h.accept), Datagram: h.datagram, Congestion: cc, Logger: log,
		Timers: who.timers,
	})
	if err != nil {
		return nil, errors.Join(err, m.client.Close(), m.socket.Close())
	}
	m.client.Deliver(m.node.HandleSignal, func(who coordinator.Member, up bool) {
		if !up {
			m.node.RemovePeer(transport.Peer{ID: who.ID, Key: who.Key})
		}
	})
	ctx, m.stop = context.WithCancel(context.Background())
	m.running.Go(func() { m.reportPaths(ctx) })
	m.running.Go(func() { // ends with the membership, at the latest in close
		<-m.client.Done()
		if err := m.client.Err(); !errors.Is(err, coordinator.ErrClosed) {
			log.Error("this node has left the network for good; run it again to join",
				"err", err)
		}
	})
	return m, nil
}

func peer(m coordinator.Member, ok bool) (transport.Peer, bool) {
	return transport.Peer{ID: m.ID, Key: m.Key}, ok
}

// close leaves the network.
func (m *member) close() error {
	m.stop()
	err := errors.Join(m.node.Close(), m.client.Close())
	m.running.Wait()
	return errors.Join(err, m.socket.Close())
}

// reportPaths tells the coordinator about this node's paths until ctx ends.
func (m *member) reportPaths(ctx context.Context) {
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	var last string
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		paths := m.node.Paths()
		reports := make([]coordinator.PathReport, 0, len(paths))
		for _, p := range paths {
			reports = append(reports, coordinator.PathReport{
				Peer: p.ID, Kind: p.Kind.String(), Remote: p.Remote, RTT: p.RTT,
				BytesSent: p.BytesSent, BytesReceived: p.BytesReceived,
			})
		}
		var about coordinator.About
		if f := m.about.Load(); f != nil {
			about = (*f)()
		}
		if now := fmt.Sprint(reports, about); now != last {
			last = now
			m.client.Report(reports, about)
		}
	}
}

// drainDatagramsWithin bounds how long datagrams hold up the end of a program:
// about what the first path to a peer takes, several times.
const drainDatagramsWithin = 2 * time.Second

// drainDatagrams waits until the datagrams that the program has sent are on their way, as
// Linux sends what a process has left. It returns whether flush is needed for some.
func (m *member) drainDatagrams(ctx context.Context) (recent bool) {
	ctx, cancel := context.WithTimeout(ctx, drainDatagramsWithin)
	defer cancel()
	return m.node.DrainDatagrams(ctx)
}

// accept returns what takes the streams that other nodes open.
func (m *member) accept(h func(*transport.Stream)) func(*transport.Stream) {
	return func(s *transport.Stream) {
		if isDeliveryQuery(s.Header()) {
			m.inbounds.answerDelivered(s)
			return
		}
		h(s)
	}
}

// flush waits until the peers' programs have what was sent to them. QUIC does not tell
// what is acknowledged, so it asks each for an answer, twice: the first answer comes
// after what arrived, and has shown what was lost; the second comes after that was
// sent again.
func (m *member) flush(ctx context.Context) error {
	var asked sync.WaitGroup
	var stalled atomic.Bool
	for _, p := range m.node.Paths() {
		if !p.Connected || p.BytesSent == 0 {
			continue
		}
		asked.Go(func() {
			for range 2 {
				if m.askDelivered(ctx, p.ID) != nil {
					stalled.Store(true)
				}
			}
		})
	}
	asked.Wait()
	if stalled.Load() {
		return errStalled
	}
	return ctx.Err()
}

// askDelivered waits until a peer's program has what this node has sent. It fails with
// errStalled if that reads nothing for drainStall. A peer that is not connected any more
// has all that it will ever get: to ask it would mean to look for a new path, and the end
// of a node would wait for that.
func (m *member) askDelivered(ctx context.Context, peer uint32) error {
	self := netip.AddrPortFrom(m.client.Self().Addr, 0)
	s, err := m.node.OpenExisting(ctx, peer, transport.Header{Source: self, Destination: self})
	if err == nil {
		s.Reset()
	}
	var status *transport.StatusError
	if errors.As(err, &status) && status.Status == transport.StatusTimeout {
		return errStalled
	}
	return nil
}

// hostID is the same for nodes that share a machine and a network namespace:
// those reach each other by loopback. Every node is told it of every other, so it is
// short, and a hash, since it is nobody's business which machine that is.
func hostID() string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil || len(boot) == 0 {
		return "" // unknown: equal to no other
	}
	sum := sha256.Sum256(fmt.Appendf(boot, "-%d", st.Ino))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// suspend makes the member silent; see Program.Suspend.
func (m *member) suspend() { m.socket.Suspend() }

// resume ends suspend.
func (m *member) resume() {
	m.socket.Resume()
	m.node.CheckPaths()
	m.client.Heartbeat()
}
