package strace

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// control shows control messages (cmsg(3)).
func (p *printer) control(m abi.Msghdr, received bool) {
	l := p.layout()
	header := l.Word + 8 // cmsg_len is a size_t
	b, ok := p.view(m.Control, int(min(m.Controllen, shownControl)), received)
	if !ok || len(b) < header {
		p.address(m.Control)
		return
	}
	p.text("[")
	for first := true; len(b) >= header; first = false {
		if !first {
			p.text(", ")
		}
		size := l.WordAt(b, 0)
		level, typ := binary.NativeEndian.Uint32(b[l.Word:]),
			binary.NativeEndian.Uint32(b[l.Word+4:])
		p.text("{cmsg_len=")
		p.b = strconv.AppendUint(p.b, size, 10)
		p.text(", cmsg_level=")
		p.b = levels.value(p.b, uint64(level))
		p.text(", cmsg_type=")
		if level == unix.SOL_SOCKET {
			p.b = socketMessages.value(p.b, uint64(typ))
		} else {
			p.b = optionsOf(level).value(p.b, uint64(typ))
		}
		if size > uint64(header) {
			p.text(", cmsg_data=")
			p.controlData(level, typ, b[header:min(int(min(size, shownControl)), len(b))])
		}
		p.text("}")
		if size < uint64(header) || size > uint64(len(b)) {
			break
		}
		b = b[min((int(size)+l.Word-1)&^(l.Word-1), len(b)):]
	}
	p.text("]")
}

// controlData shows the data of a control message.
func (p *printer) controlData(level, typ uint32, b []byte) {
	switch {
	case level == unix.SOL_SOCKET && typ == unix.SCM_RIGHTS:
		p.text("[")
		for i := 0; len(b) >= 4; i, b = i+1, b[4:] {
			if i > 0 {
				p.text(", ")
			}
			p.descriptor(int(int32(binary.NativeEndian.Uint32(b))))
		}
		p.text("]")
	case level == unix.SOL_SOCKET && typ == unix.SCM_CREDENTIALS && len(b) >= 12:
		p.ucred(b)
	case level == unix.SOL_IP && typ == unix.IP_PKTINFO && len(b) >= 12:
		p.text("{ipi_ifindex=")
		p.ifindex(binary.NativeEndian.Uint32(b))
		p.text(`, ipi_spec_dst=inet_addr("`)
		p.b = netip.AddrFrom4([4]byte(b[4:8])).AppendTo(p.b)
		p.text(`"), ipi_addr=inet_addr("`)
		p.b = netip.AddrFrom4([4]byte(b[8:12])).AppendTo(p.b)
		p.text(`")}`)
	case level == unix.SOL_IP && typ == unix.IP_TTL && len(b) >= 4:
		p.text("[" + strconv.Itoa(int(int32(binary.NativeEndian.Uint32(b)))) + "]")
	case level == unix.SOL_IP && typ == unix.IP_TOS && len(b) >= 1:
		p.text("[" + strconv.Itoa(int(b[0])) + "]")
	default:
		p.b = appendQuotedHex(p.b, b)
	}
}

// ucred shows a struct ucred (unix(7)).
func (p *printer) ucred(b []byte) {
	for i, name := range [...]string{"{pid=", ", uid=", ", gid="} {
		p.text(name)
		v := binary.NativeEndian.Uint32(b[4*i:])
		if i == 0 {
			p.dec(int64(int32(v)))
		} else if v == ^uint32(0) {
			p.text("-1")
		} else {
			p.dec(int64(v))
		}
	}
	p.text("}")
}
