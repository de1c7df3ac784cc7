// Command gohttp is an HTTP server and a client of the standard library, to be built
// static (CGO_ENABLED=0): no libc, the resolver in Go, a dual-stack listener, the network
// poller.
//
//	gohttp serve ADDR        GET / says who asks; GET /bytes/N sends N bytes; POST /echo sends back
//	gohttp get HOST:PORT N   N requests of each kind on one connection and on one each, then says "ok"
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		err = serve(os.Args[2])
	case len(os.Args) == 4 && os.Args[1] == "get":
		err = get(os.Args[2], os.Args[3])
	default:
		err = fmt.Errorf("usage: gohttp serve ADDR | gohttp get HOST:PORT N")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gohttp:", err)
		os.Exit(1)
	}
}

func serve(addr string) error {
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "you are %s, this is %s\n", r.RemoteAddr,
			r.Context().Value(http.LocalAddrContextKey))
	})
	http.HandleFunc("GET /bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		io.CopyN(w, &pattern{}, n)
	})
	http.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		// all of it first: HTTP/1.1 is not full duplex here
		text, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Write(text)
	})
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("listening", l.Addr())
	return http.Serve(l, nil)
}

// A pattern is an endless reader of bytes that tell where they are.
type pattern struct{ at int64 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(p.at * 2654435761 >> 13)
		p.at++
	}
	return len(b), nil
}

func get(addr, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	const size = 1 << 20
	want := sha256.New()
	io.CopyN(want, &pattern{}, size)
	for _, keepAlive := range []bool{true, false} {
		transport := &http.Transport{DisableKeepAlives: !keepAlive,
			MaxIdleConnsPerHost: 8}
		client := &http.Client{Transport: transport, Timeout: time.Minute}
		for range n {
			text, err := body(client.Get("http://" + addr + "/"))
			if err != nil {
				return err
			}
			if !strings.HasPrefix(string(text), "you are ") {
				return fmt.Errorf("server says %q", text)
			}
			os.Stdout.Write(text)
			sent := []byte(strings.Repeat("boxer ", 1000))
			if text, err = body(client.Post("http://"+addr+"/echo", "text/plain",
				bytes.NewReader(sent))); err != nil {
				return err
			}
			if !bytes.Equal(text, sent) {
				return fmt.Errorf("%d bytes came back of %d", len(text), len(sent))
			}
		}
		var all sync.WaitGroup
		errs := make(chan error, 8)
		for range cap(errs) {
			all.Go(func() {
				text, err := body(client.Get(fmt.Sprintf("http://%s/bytes/%d", addr, size)))
				if sum := sha256.Sum256(text); err == nil &&
					!bytes.Equal(sum[:], want.Sum(nil)) {
					err = fmt.Errorf("%d bytes with another checksum", len(text))
				}
				errs <- err
			})
		}
		all.Wait()
		for range cap(errs) {
			if err := <-errs; err != nil {
				return err
			}
		}
		transport.CloseIdleConnections()
	}
	fmt.Println("ok")
	return nil
}

// body returns the body of a response with status 200.
func body(r *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", r.Status)
	}
	return io.ReadAll(r.Body)
}
