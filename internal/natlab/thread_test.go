package natlab

import (
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFirstThreadStays holds that functions on threads of their own never run on the
// process's first thread, whose namespaces /proc/self shows.
func TestFirstThreadStays(t *testing.T) {
	var wg sync.WaitGroup
	all, begun := make(chan struct{}), make(chan struct{})
	for range 64 { // at the same time, so that no thread serves two of them
		wg.Go(func() {
			err := onThread(func() error {
				begun <- struct{}{}
				<-all
				if tid := unix.Gettid(); tid == os.Getpid() {
					t.Errorf("a function runs on the first thread, %d", tid)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range 64 {
		<-begun
	}
	close(all)
	wg.Wait()
}
