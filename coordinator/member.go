package coordinator

import (
	"net/netip"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// A Member is one node on the network, as the coordinator announces it.
type Member struct {
	// from 1; no other node gets it while this one may come back
	ID   uint32 `json:"id"`
	Name string `json:"name"` // lower case; several nodes may share it
	// virtual IPv4 address, in the network's prefix
	Addr netip.Addr `json:"addr"`
	// virtual IPv6 address; zero if the network has no IPv6 prefix
	Addr6 netip.Addr    `json:"addr6,omitzero"`
	Key   transport.Key `json:"key"` // identity, which the node has proven to the coordinator
	// opaque: equal for nodes that share a machine and a network namespace
	Host string `json:"host,omitempty"`
	// when the node joined for the first time, by the coordinator's clock
	Since time.Time `json:"since"`

	// Unresponsive says that the node has not answered the coordinator's last ping. Its
	// name in JSON is of protocol version 3.
	Unresponsive bool `json:"silent,omitempty"`

	// Unlisted says that the node's name does not lead to it yet, or not any more. Its
	// addresses and its ordinal name do.
	Unlisted bool `json:"unlisted,omitempty"`

	// Asleep says that the node's process is frozen, such as a function between two
	// invocations. The node answers nothing until it is awake again.
	Asleep bool `json:"asleep,omitempty"`

	// Program is the version of the node's program, if the node has sent it. Only a
	// Snapshot has it.
	Program string `json:"program,omitempty"`

	// Token is the name of the token with which the node joined, and Tags are that
	// token's. Only a Snapshot has them.
	Token string   `json:"token,omitempty"`
	Tags  []string `json:"tags,omitempty"`

	// Over is "tls" if the node reaches the coordinator by TLS, because no UDP gets
	// through. Only a Snapshot has it.
	Over string `json:"over,omitempty"`

	// About is the node's description of itself, if it has sent one. Only a Snapshot has
	// it.
	About *About `json:"about,omitempty"`

	// Paths is the node's last report. Only a Snapshot has it: the coordinator does not
	// send reports to the other nodes.
	Paths []PathReport `json:"paths,omitempty"`
}

// in returns the member with the fields that the protocol version has.
func (m Member) in(version int) Member {
	if version < 4 {
		m.Program, m.About, m.Token, m.Tags, m.Over = "", nil, "", nil, ""
		m.Unlisted, m.Asleep = false, false
	}
	return m
}

// same reports whether m and o are the same admission of the same node. If so,
// connections to m stay valid.
func (m Member) same(o Member) bool {
	return m.ID == o.ID && m.Name == o.Name && m.Addr == o.Addr && m.Addr6 == o.Addr6 &&
		m.Key == o.Key && m.Host == o.Host
}

// About is a node's description of itself, for boxer status.
type About struct {
	// name of the program that the node runs, without arguments
	Command string `json:"command,omitempty"`
	// TCP ports that the program listens on, ascending; at most MaxPorts
	Ports []uint16 `json:"ports,omitempty"`
	// where it runs, as the node's host names it, such as lambda:worker; empty: unknown
	Place  string `json:"place,omitempty"`
	Memory int    `json:"memory,omitempty"` // MB that the place bills for; 0: unknown
	Arch   string `json:"arch,omitempty"`   // of the place: amd64 or arm64
}

// MaxPorts limits About.Ports.
const MaxPorts = 64

// clean returns a without what must not be sent.
func (a About) clean() About {
	for _, s := range []*string{&a.Command, &a.Place, &a.Arch} {
		if !isHostID(*s) {
			*s = ""
		}
	}
	a.Ports = a.Ports[:min(len(a.Ports), MaxPorts)]
	return a
}

// A PathReport is one node's view of its path to a peer.
type PathReport struct {
	Peer uint32 `json:"peer"` // the peer's id
	// "local", "lan", "punched" or "relayed", as the transport names them
	Kind   string         `json:"kind"`
	Remote netip.AddrPort `json:"remote"` // the peer's UDP address on this path
	RTT    time.Duration  `json:"rtt_ns"` // smoothed round-trip time
	// Direct says that the kernel's TCP carries connections to the peer, see
	// DataPathDirect. The bytes of these are not counted here.
	Direct        bool   `json:"direct,omitempty"`
	BytesSent     uint64 `json:"bytes_sent"`
	BytesReceived uint64 `json:"bytes_received"`
}

// A Snapshot is the whole network at one moment, for boxer status.
type Snapshot struct {
	Version string       `json:"version"` // of the coordinator's program
	Prefix  netip.Prefix `json:"prefix"`
	Prefix6 netip.Prefix `json:"prefix6,omitzero"` // zero: none
	// when the coordinator started, by its own clock
	Started time.Time `json:"started"`
	Members []Member  `json:"members"` // in the order of their ids
}
