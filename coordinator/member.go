package coordinator

import (
	"net/netip"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// A Member is one node on the network, as the coordinator announces it.
type Member struct {
	// from 1; not given to another node while this one may come back
	ID   uint32 `json:"id"`
	Name string `json:"name"` // lower case; several nodes may share it
	// virtual IPv4 address, within the network's prefix
	Addr netip.Addr `json:"addr"`
	// virtual IPv6 address; zero where the network has none
	Addr6 netip.Addr    `json:"addr6,omitzero"`
	Key   transport.Key `json:"key"` // identity, proven to the coordinator
	// opaque: equal for nodes that share machine and network namespace
	Host string `json:"host,omitempty"`
	// when the node first joined, by the coordinator's clock
	Since time.Time `json:"since"`

	// Silent says that the coordinator has asked the node whether it is there, and
	// has not heard from it since.
	Unresponsive bool `json:"silent,omitempty"`

	// Program is the version of the node's program, where the node has said it. Only
	// a Snapshot has it.
	Program string `json:"program,omitempty"`

	// About is what the node says about itself, where it does. Only a Snapshot has it.
	About *About `json:"about,omitempty"`

	// Paths is what the node reported last. Only a Snapshot has it: reports are
	// not pushed to the other nodes.
	Paths []PathReport `json:"paths,omitempty"`
}

// in returns the member as that version of the messages has it.
func (m Member) in(version int) Member {
	if version < 4 {
		m.Program, m.About = "", nil
	}
	return m
}

// same tells whether m and o are the same admission of the same node: whoever
// holds a connection to m may go on holding it.
func (m Member) same(o Member) bool {
	return m.ID == o.ID && m.Name == o.Name && m.Addr == o.Addr && m.Addr6 == o.Addr6 &&
		m.Key == o.Key && m.Host == o.Host
}

// About is what a node tells of itself to who looks at the network.
type About struct {
	// name of the program that it runs, without arguments
	Command string `json:"command,omitempty"`
	// TCP ports that the program listens on, ascending; at most MaxPorts
	Ports []uint16 `json:"ports,omitempty"`
}

// MaxPorts bounds About.Ports.
const MaxPorts = 64

// clean returns what of a may be sent.
func (a About) clean() About {
	if !isHostID(a.Command) {
		a.Command = ""
	}
	a.Ports = a.Ports[:min(len(a.Ports), MaxPorts)]
	return a
}

// A PathReport is one node's view of its path to a peer.
type PathReport struct {
	Peer uint32 `json:"peer"` // the peer's id
	// "local", "lan", "punched" or "relayed", as the transport names them
	Kind          string         `json:"kind"`
	Remote        netip.AddrPort `json:"remote"` // the peer's UDP address on this path
	RTT           time.Duration  `json:"rtt_ns"` // smoothed round-trip time
	BytesSent     uint64         `json:"bytes_sent"`
	BytesReceived uint64         `json:"bytes_received"`
}

// A Snapshot is the whole network at one moment, for `boxer status`.
type Snapshot struct {
	Version string       `json:"version"` // of the coordinator's program
	Prefix  netip.Prefix `json:"prefix"`
	Prefix6 netip.Prefix `json:"prefix6,omitzero"` // zero: none
	// when the coordinator started, by its own clock
	Started time.Time `json:"started"`
	Members []Member  `json:"members"` // in the order of their ids
}
