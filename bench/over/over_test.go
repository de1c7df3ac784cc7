package over

import (
	"bytes"
	"encoding/json"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/bench/meter"
)

// TestMeter has the meter measure over each kind of connection, on loopback.
func TestMeter(t *testing.T) {
	for name, network := range (Networks{"tcp": TCP{}, "quic": QUIC{}}) {
		t.Run(name, func(t *testing.T) {
			addr := freeAddr(t)
			l, err := network.Listen(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			go meter.Serve(l) // until the test binary ends
			dial, err := network.Dialer(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			orders := []meter.Order{
				{Measure: meter.Connect, Count: 3},
				{Measure: meter.RoundTrip, Count: 4, Size: 1 << 10},
				{Measure: meter.Bulk, Streams: 2, Time: 10 * time.Millisecond},
				{Measure: meter.Getsockname, Count: 5},
				{Measure: meter.Bulk, Streams: 2, Both: true,
					Time: 10 * time.Millisecond},
				{Measure: meter.Small, Count: 1000, Size: 100},
				{Measure: meter.Churn, Streams: 2, Time: 10 * time.Millisecond},
				{Measure: meter.Idle, Count: 40},
				{Measure: meter.Idle},
				{Measure: meter.Accept, Count: 5},
				{Measure: meter.ConnectHere, Count: 5},
				{Measure: "nonsense"},
			}
			r := obey(t, dial, orders)
			if n := len(r[1].Samples); n != 3 || len(r[1].Dials) != 3 {
				t.Errorf("connect: %d samples, %d dials; want 3", n, len(r[1].Dials))
			}
			if n := len(r[2].Samples); n != 4 {
				t.Errorf("round trip: %d samples; want 4", n)
			}
			if r[3].Bytes == 0 || r[3].Elapsed < 10*time.Millisecond {
				t.Errorf("bulk: %d bytes in %v", r[3].Bytes, r[3].Elapsed)
			}
			if n := len(r[4].Samples); name == "tcp" && n != 5 || name == "quic" &&
				r[4].Failed == "" {
				t.Errorf("getsockname: %d samples, failed %q", n, r[4].Failed)
			}
			if r[5].Bytes == 0 || r[6].Bytes != 100_000 || r[7].Count == 0 {
				t.Errorf("both ways %d bytes, small writes %d bytes, churn %d connections", r[5].Bytes, r[6].Bytes, r[7].Count)
			}
			if a, c := len(r[10].Samples), len(r[11].Samples); a != 5 || c != 5 {
				t.Errorf("accept: %d samples, connect: %d; want 5", a, c)
			}
			if last := r[len(orders)]; last.Failed == "" {
				t.Error("nonsense was obeyed")
			}
		})
	}
}

// TestDatagrams has the meter measure UDP on loopback.
func TestDatagrams(t *testing.T) {
	addr := freeAddr(t)
	l, err := TCP{}.Listen(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := TCP{}.ListenPacket(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	go meter.Serve(l) // both until the test binary ends
	go meter.ServeDatagrams(c)
	dial, err := TCP{}.Dialer(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	r := obey(t, dial, []meter.Order{
		{Measure: meter.DatagramTrip, To: addr, Count: 5, Size: 1 << 10},
		{Measure: meter.Datagrams, To: addr, Size: 1 << 10, Time: 50 * time.Millisecond,
			Rate: 1000},
		{Measure: meter.Datagrams, To: addr, Size: 1 << 10, Time: 10 * time.Millisecond},
	})
	if n := len(r[1].Samples); n != 5 {
		t.Errorf("round trip: %d samples, want 5", n)
	}
	if r[2].Sent == 0 || r[2].Sent > 50 || r[2].Count != r[2].Sent {
		t.Errorf("at a rate: %d of %d datagrams arrived", r[2].Count, r[2].Sent)
	}
	if r[3].Count == 0 || r[3].Count > r[3].Sent || r[3].Elapsed <= 0 {
		t.Errorf("%d of %d datagrams arrived, in %v", r[3].Count, r[3].Sent, r[3].Elapsed)
	}
}

// obey gives the orders, and returns the results after the first, empty one.
func obey(t *testing.T, dial meter.Dialer, orders []meter.Order) []meter.Result {
	t.Helper()
	var in, out bytes.Buffer
	for _, o := range orders {
		if err := json.NewEncoder(&in).Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := meter.Obey(t.Context(), dial, &in, &out); err != nil {
		t.Fatal(err)
	}
	results := make([]meter.Result, 1+len(orders))
	d := json.NewDecoder(&out)
	for i := range results {
		if err := d.Decode(&results[i]); err != nil {
			t.Fatalf("result %d: %v", i, err)
		}
		if i > 0 && orders[i-1].Measure != "nonsense" &&
			orders[i-1].Measure != meter.Getsockname && results[i].Failed != "" {
			t.Fatalf("result %d: %s", i, results[i].Failed)
		}
	}
	return results
}

// freeAddr returns an address that is free for TCP, and was for UDP most likely.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "127.0.0.1:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
