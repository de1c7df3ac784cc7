package plan

import (
	"encoding/binary"
)

// Magic begins an encoded plan.
const Magic = "BXPLAN\x00\x01"

// Encode returns the plan as the part of boxer inside the program reads it (struct plan
// in rewrite/inside/inside.h): little-endian, a header, then segments, sites, relocations
// and code. Sites that are not rewritten are left out.
func (p *Plan) Encode() []byte {
	le := binary.LittleEndian
	sites := 0
	for _, s := range p.Sites {
		if s.Rewritten() {
			sites++
		}
	}
	b := []byte(Magic)
	for _, n := range []int{len(p.Segments), sites, len(p.Relocs), len(p.Code)} {
		b = le.AppendUint32(b, uint32(n))
	}
	for _, s := range p.Segments {
		b = le.AppendUint64(b, s.Offset)
		b = le.AppendUint64(b, s.Size)
		b = le.AppendUint64(b, s.Addr)
	}
	for _, s := range p.Sites {
		if s.Rewritten() {
			b = le.AppendUint64(b, s.Start)
			b = le.AppendUint32(b, uint32(s.Len))
			b = le.AppendUint32(b, uint32(s.Stub))
		}
	}
	for _, r := range p.Relocs {
		b = le.AppendUint64(b, r.Target)
		b = le.AppendUint32(b, uint32(r.Offset))
		b = le.AppendUint32(b, uint32(r.End))
		b = le.AppendUint64(b, uint64(r.Kind))
	}
	return append(b, p.Code...)
}
