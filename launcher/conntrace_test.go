package launcher

import (
	"testing"

	"github.com/boxer-sandbox/boxer/trace"
	"github.com/boxer-sandbox/boxer/transport"
)

// TestFlowClosesOnce ends a connection while its trace ends: the trace has one end of it.
func TestFlowClosesOnce(t *testing.T) {
	r := &recorder{member: &member{node: new(transport.Node)},
		flows: make(map[*connTrace]struct{})}
	f := &connTrace{r: r}
	r.flows[f] = struct{}{}
	r.closeConns()
	f.end(3, &ending{reason: "closed by the program"})
	if len(r.queue) != 1 {
		t.Fatalf("%d events, want 1", len(r.queue))
	}
	if c, ok := r.queue[0].event.(*trace.Connection); !ok || c.State != trace.Closed {
		t.Errorf("told is %+v", r.queue[0].event)
	}
}
