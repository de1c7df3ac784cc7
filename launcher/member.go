package launcher

import (
	"cmp"
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
	"github.com/boxer-sandbox/boxer/policy"
	"github.com/boxer-sandbox/boxer/transport"
)

// reportEvery is how often a member compares its paths with those that it has reported to
// the coordinator. It reports changes.
const reportEvery = time.Second

// A member is one membership in a network: the node's socket, its session with the
// coordinator, and its paths to other nodes.
type member struct {
	socket *transport.Socket
	client *coordinator.Client
	node   *transport.Node
	log    *slog.Logger

	// what the node reports about itself; holds nil at first
	about      atomic.Pointer[func() coordinator.About]
	aboutIsSet chan struct{} // has a token when about has been set

	direct   atomic.Pointer[directPaths] // holds nil: connections are not direct
	inbounds *inbounds                   // of the streams from other nodes

	guard *guard

	left    atomic.Bool             // the node is no longer a member
	command func(*transport.Stream) // serves streams of isCommand; nil: refused
	trial   func(*transport.Stream) // serves trials of direct paths; nil: forbidden

	idle      time.Duration // how long the peers wait for this node
	suspended time.Time     // when suspend was called last; Program.mu guards it

	asleep Asleep // what connects to nodes do that are asleep

	presenting sync.Mutex // held while the presence changes
	presence   coordinator.Presence

	stop    context.CancelFunc
	running sync.WaitGroup // this member's goroutines
}

// handlers are called with what other nodes send.
type handlers struct {
	accept   func(*transport.Stream)
	datagram func(from uint32, d transport.Datagram) // nil: dropped
	command  func(*transport.Stream)                 // see member
	trial    func(*transport.Stream)                 // likewise
}

// self is what a node reports about itself.
type self struct {
	name    string       // empty: node-ID
	program string       // version of boxer
	own     *net.UDPConn // see transport.Config; nil: none

	timers transport.Timers // of its paths

	unlisted bool // at first
	asleep   Asleep

	offered *policy.Ports // see RunConfig.Offer

	// makes the node's identity; nil: transport.NewIdentity
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
	m := &member{log: log, inbounds: newInbounds(), command: h.command,
		trial:      h.trial,
		aboutIsSet: make(chan struct{}, 1), asleep: who.asleep,
		idle:     cmp.Or(who.timers.Idle, defaultIdle),
		presence: coordinator.Presence{Unlisted: who.unlisted}}
	if m.socket, err = transport.Listen(netip.AddrPort{}); err != nil {
		return nil, err
	}
	host := hostID()
	m.client, err = coordinator.Join(ctx, coordinator.ClientConfig{
		URL: url, Name: who.name, Program: who.program, Socket: m.socket, Identity: id,
		HostID: host, Logger: log, Unlisted: who.unlisted,
	})
	if err != nil {
		return nil, errors.Join(err, m.socket.Close())
	}
	if own, ok := coordinator.Clash(m.client.Prefix(), m.client.Prefix6()); ok {
		log.Warn("the network's addresses cover this host's own network, which programs cannot reach; see boxer doctor",
			"network", m.client.Prefix(), "host", own)
	}
	m.guard = newGuard(m.client, who.offered)
	m.client.OnPolicy(m.guard.refresh)
	m.guard.refresh() // the policy may have changed before OnPolicy
	m.node, err = transport.New(transport.Config{
		Identity: id, Socket: m.socket, Self: m.client.Self().ID, Host: host,
		Server: m.client.Server(), Signaller: m.client, Own: who.own,
		Lookup: func(id uint32) (transport.Peer, bool) {
			return m.peer(m.client.ByID(id))
		},
		LookupKey: func(k transport.Key) (transport.Peer, bool) {
			return m.peer(m.client.ByKey(k))
		},
		Accept: m.accept(h.accept), Datagram: h.datagram, Congestion: cc, Logger: log,
		Timers: who.timers, MayOpen: m.guard.mayOpen,
	})
	if err != nil {
		return nil, errors.Join(err, m.client.Close(), m.socket.Close())
	}
	m.client.Deliver(m.node.HandleSignal, func(who coordinator.Member, up bool) {
		if !up {
			m.node.RemovePeer(transport.Peer{ID: who.ID, Key: who.Key})
			m.direct.Load().forget(who.ID)
		}
	})
	ctx, m.stop = context.WithCancel(context.Background())
	m.running.Go(func() { m.reportPaths(ctx) })
	m.running.Go(func() { m.forgetSleepers(ctx) })
	m.running.Go(func() { // ends with the session, at the latest in close
		<-m.client.Done()
		if err := m.client.Err(); !errors.Is(err, coordinator.ErrClosed) {
			m.disconnect()
			log.Error("this node has left the network for good; run it again to join",
				"err", err)
		}
	})
	return m, nil
}

// peer returns another member as package transport sees it: none once this node has left.
func (m *member) peer(who coordinator.Member, ok bool) (transport.Peer, bool) {
	return transport.Peer{ID: who.ID, Key: who.Key}, ok && !m.left.Load()
}

// disconnect ends the connections to all other nodes. The node is no longer a member:
// nodes that cannot reach the coordinator now would keep theirs.
func (m *member) disconnect() {
	m.left.Store(true)
	for _, who := range m.client.Members() {
		m.node.RemovePeer(transport.Peer{ID: who.ID, Key: who.Key})
	}
}

// close leaves the network.
func (m *member) close() error {
	m.stop()
	m.direct.Load().close()
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
		case <-m.aboutIsSet:
		case <-ctx.Done():
			return
		}
		paths := m.node.Paths()
		reports := make([]coordinator.PathReport, 0, len(paths))
		for _, p := range paths {
			reports = append(reports, coordinator.PathReport{
				Peer: p.ID, Kind: p.Kind.String(), Remote: p.Remote, RTT: p.RTT,
				Direct:    m.direct.Load().reaches(p.ID),
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

// drainDatagramsWithin bounds how long unsent datagrams delay the end of a program:
// several times what the first path to a peer usually takes.
const drainDatagramsWithin = 2 * time.Second

// drainDatagrams waits until the program's datagrams are sent, as Linux sends what an
// ended process has queued. It returns whether some of them need flush.
func (m *member) drainDatagrams(ctx context.Context) (recent bool) {
	ctx, cancel := context.WithTimeout(ctx, drainDatagramsWithin)
	defer cancel()
	return m.node.DrainDatagrams(ctx)
}

// accept returns the handler of streams that other nodes open.
func (m *member) accept(h func(*transport.Stream)) func(*transport.Stream) {
	return func(s *transport.Stream) {
		if isDeliveryQuery(s.Header()) {
			m.inbounds.answerDelivered(s)
			return
		}
		if s.Header().DirectTrial {
			if m.trial == nil {
				_ = s.Answer(transport.StatusForbidden)
				return
			}
			m.trial(s)
			return
		}
		if isCommand(s.Header()) {
			if m.command == nil {
				_ = s.Answer(transport.StatusRefused)
				return
			}
			m.command(s)
			return
		}
		status, ended := m.guard.accept(s)
		defer ended()
		if status != transport.StatusOK {
			m.log.Debug("connection denied", "from", s.Header().Source, "port",
				s.Header().Destination.Port(), "policy",
				status == transport.StatusForbidden)
			s.Answer(status)
			return
		}
		h(s)
	}
}

// flush waits until the peers' programs have received what was sent to them. QUIC does
// not report acknowledgements to applications. flush therefore asks each peer twice for
// an answer. The first answer comes after what arrived, and makes QUIC notice what was
// lost; the second comes after the retransmission.
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

// askDelivered waits until a peer's program has read what this node has sent. It fails
// with errStalled if the program reads nothing for drainStall. It does not ask a peer
// that is no longer connected: such a peer receives nothing more, and asking would search
// for a new path, which delays the node's end.
func (m *member) askDelivered(ctx context.Context, peer uint32) error {
	self := netip.AddrPortFrom(m.client.Self().Addr, 0)
	s, err := m.node.OpenExisting(ctx, peer,
		transport.Header{Source: self, Destination: self})
	if err == nil {
		s.Reset()
	}
	var status *transport.StatusError
	if errors.As(err, &status) && status.Status == transport.StatusTimeout {
		return errStalled
	}
	return nil
}

// hostID returns an ID that is equal for nodes on one machine and in one network
// namespace. Such nodes reach each other over loopback. The ID is a short hash: every
// node learns the IDs of all others, and which machine it is should stay private.
func hostID() string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil || len(boot) == 0 {
		return "" // unknown: nodes without an ID never count as on one host
	}
	sum := sha256.Sum256(fmt.Appendf(boot, "-%d", st.Ino))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// suspend stops all packets of the member; see Program.Suspend.
func (m *member) suspend() {
	m.suspended = time.Now()
	m.socket.Suspend()
}

// resume ends suspend. Connections that have been silent for longer than peers wait are
// reset. QUIC alone would wait for them: packets that have been in the socket's queue all
// the time look to it as if they had just come.
func (m *member) resume() {
	// The monotonic clock stands still while a virtual machine is stopped.
	silent := max(time.Since(m.suspended), time.Now().Round(0).Sub(m.suspended.Round(0)))
	m.socket.Resume()
	if silent >= m.idle {
		for _, p := range m.node.Paths() {
			if who, ok := m.client.ByID(p.ID); ok {
				m.node.RemovePeer(transport.Peer{ID: who.ID, Key: who.Key})
			}
		}
	}
	m.node.CheckPaths()
	m.client.Heartbeat()
}

// defaultIdle is the default of transport.Timers.Idle.
const defaultIdle = 8 * time.Second
