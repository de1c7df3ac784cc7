package plan

import (
	"encoding/binary"
)

// Magic is the start of an encoded plan.
const Magic = "BXPLAN\x00\x01"

// Encode returns the plan in the format that the loader inside the program reads (struct
// plan in rewrite/inside/inside.h). The format is little-endian: a header, then segments,
// sites, relocations and code. Encode omits sites that are not rewritten.
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
