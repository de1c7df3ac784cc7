package coordinator

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/boxer-sandbox/boxer/transport"
)

// BenchmarkDepartures is what a client does about one node that comes and goes, where
// many others have left in the last minute, as short-lived functions do.
func BenchmarkDepartures(b *testing.B) {
	for _, left := range []uint32{100, 10000} {
		b.Run(fmt.Sprint("left=", left), func(b *testing.B) {
			p, err := newAddressPlan(DefaultPrefix, DefaultPrefix6)
			if err != nil {
				b.Fatal(err)
			}
			d := newDirectory(p)
			comeAndGo := func(id uint32) {
				var key transport.Key
				binary.BigEndian.PutUint32(key[:], id)
				c := memberRecord{id: id, key: key}
				d.apply([]update{{kind: kindUp, record: c}})
				d.apply([]update{{kind: kindDown, record: c}})
			}
			for id := range left {
				comeAndGo(id + 1)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				comeAndGo(uint32(i)%left + 1)
			}
		})
	}
}
