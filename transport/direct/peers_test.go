package direct

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

func TestPeers(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		home := Way{netip.MustParseAddr("192.0.2.1"), true}
		away := Way{netip.MustParseAddr("198.51.100.1"), false}
		path := Path{netip.MustParseAddrPort("192.0.2.1:4000"), 0}
		refused := errors.New("refused")
		var trials int
		outcome := error(nil)
		p := NewPeers(func(ctx context.Context, peer uint32, w Way) (Path, error) {
			trials++
			time.Sleep(time.Second)
			return path, outcome
		})
		defer p.Close()
		pass := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		is := func(w Way, works bool, total int) {
			t.Helper()
			got, ok := p.Path(7, w)
			synctest.Wait()
			if ok != works || ok && got != path || trials != total {
				t.Fatalf("got %v, %v after %d trials; want %v after %d", got, ok, trials,
					works, total)
			}
		}
		is(home, false, 1)
		if tried, _ := p.Reaches(7); tried {
			t.Error("a trial that runs counts as one that has ended")
		}
		is(home, false, 1) // it runs
		pass(2 * time.Second)
		is(home, true, 1)
		if tried, err := p.Reaches(7); !tried || err != nil {
			t.Errorf("got %v, %v; want that TCP reaches the peer", tried, err)
		}
		p.Failed(7, Path{}) // another one
		is(home, true, 1)
		p.Failed(7, path)
		outcome = refused
		is(home, false, 2)
		pass(2 * time.Second)
		is(home, false, 2) // it has failed
		if tried, err := p.Reaches(7); !tried || err != refused {
			t.Errorf("got %v, %v; want %v", tried, err, refused)
		}
		is(away, false, 3) // another way has its own trial
		pass(2 * time.Second)
		outcome = nil
		pass(retryAfter)
		is(away, false, 4)
		pass(2 * time.Second)
		is(away, true, 4)
		p.Forget(7)
		is(away, false, 5)
	})
}

// Close ends a trial that would wait.
func TestPeersClose(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		p := NewPeers(func(ctx context.Context, _ uint32, _ Way) (Path, error) {
			<-ctx.Done()
			return Path{}, ctx.Err()
		})
		p.Path(1, Way{})
		p.Close()
		if _, ok := p.Path(1, Way{}); ok {
			t.Error("a path without a trial that has succeeded")
		}
	})
}
