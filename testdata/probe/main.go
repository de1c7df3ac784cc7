// Command probe is the tests' hand inside a node: it makes connections and says what
// became of them. It is built static, so that it runs wherever boxer does.
//
//	probe echo ADDR...          echo server on each address: "listening on ADDR", "accepted REMOTE on LOCAL"
//	probe wait HOST:PORT        connects until it succeeds, then says "reached REMOTE from LOCAL"
//	probe dial HOST:PORT        connects once: "connected to REMOTE from LOCAL" or "failed with ERRNO: text"
//	probe hold HOST:PORT N      opens N connections at once to an echo server and says "holding N". For each
//	                            line of its input it sends that line over each of them and says "echoed LINE N".
//	                            When a connection ends before its input does it says "lost: ERRNO" and ends
//	probe churn HOST:PORT       for each line of its input, a number, it makes that many connections one after
//	                            the other, with one message on each, and says "churned N"
//	probe lookup NAME           prints the addresses, sorted
//	probe interfaces ip4        prints "NAME ADDRESS/BITS" for each interface with an IPv4 address
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: probe echo|wait|dial|hold|churn|lookup|interfaces TARGET [N]")
	}
	verb, target := args[0], args[1]
	n := 1
	if len(args) == 3 && verb != "echo" {
		var err error
		if n, err = strconv.Atoi(args[2]); err != nil {
			return err
		}
	}
	switch verb {
	case "echo":
		return echo(args[1:])
	case "wait":
		return wait(target)
	case "dial":
		return dial(target)
	case "hold":
		return hold(target, n)
	case "churn":
		return churn(target)
	case "lookup":
		return lookup(target)
	case "interfaces":
		return interfaces()
	}
	return fmt.Errorf("no verb %s", verb)
}

func echo(addrs []string) error {
	failed := make(chan error)
	for _, addr := range addrs {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			fmt.Println("failed with", errno(err))
			return err
		}
		fmt.Println("listening on", l.Addr())
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					failed <- err
					return
				}
				fmt.Println("accepted", c.RemoteAddr(), "on", c.LocalAddr())
				go func() {
					defer c.Close()
					// Not as a *TCPConn, which would be spliced: the pipes for that stay.
					// Little memory, as that of a thousand of these is watched.
					_, err := io.CopyBuffer(struct{ io.Writer }{c},
						struct{ io.Reader }{c}, make([]byte, 2048))
					if err != nil {
						fmt.Println("lost", c.RemoteAddr(), errno(err))
					}
				}()
			}
		}()
	}
	return <-failed
}

func wait(target string) error {
	const attempts, pause = 300, 100 * time.Millisecond
	var err error
	for range attempts {
		var c net.Conn
		if c, err = net.DialTimeout("tcp4", target, 10*time.Second); err == nil {
			fmt.Println("reached", c.RemoteAddr(), "from", c.LocalAddr())
			return c.Close()
		}
		time.Sleep(pause)
	}
	return err
}

func dial(target string) error {
	c, err := net.Dial("tcp4", target)
	if err != nil {
		fmt.Printf("failed with %s: %v\n", errno(err), err)
		return nil
	}
	fmt.Println("connected to", c.RemoteAddr(), "from", c.LocalAddr())
	return c.Close()
}

func hold(target string, n int) error {
	conns := make([]net.Conn, n)
	err := each(n, func(i int) (err error) {
		conns[i], err = net.Dial("tcp4", target)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Println("holding", n)
	// Each connection is read all the time, so that its end is noticed at once.
	lost := make(chan error, n)
	heard := make(chan string, n)
	for _, c := range conns {
		go func() {
			r := bufio.NewReader(c)
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					lost <- err
					return
				}
				heard <- line
			}
		}()
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
	}()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return nil
			}
			err := each(n, func(i int) error {
				_, err := fmt.Fprintln(conns[i], line)
				return err
			})
			if err != nil {
				fmt.Println("lost:", errno(err))
				return err
			}
			for range n {
				select {
				case back := <-heard:
					if back != line+"\n" {
						return fmt.Errorf("sent %q, got %q", line, back)
					}
				case err := <-lost:
					fmt.Println("lost:", errno(err))
					return err
				}
			}
			fmt.Println("echoed", line, n)
		case err := <-lost:
			fmt.Println("lost:", errno(err))
			return err
		}
	}
}

func churn(target string) error {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		n, err := strconv.Atoi(in.Text())
		if err != nil {
			return err
		}
		for i := range n {
			if err := once(target, fmt.Sprintln("message", i)); err != nil {
				return fmt.Errorf("connection %d: %w", i, err)
			}
		}
		fmt.Println("churned", n)
	}
	return nil
}

// once makes a connection for one message there and back.
func once(target, message string) error {
	c, err := net.Dial("tcp4", target)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, message); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	back, err := io.ReadAll(c)
	if err == nil && string(back) != message {
		err = fmt.Errorf("sent %q, got %q", message, back)
	}
	return err
}

func lookup(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return err
	}
	slices.Sort(addrs)
	for _, a := range addrs {
		fmt.Println(a)
	}
	return nil
}

func interfaces() error {
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
				fmt.Println(i.Name, p)
			}
		}
	}
	return nil
}

// each calls f for 0 to n-1 at once and returns the first error.
func each(n int, f func(i int) error) error {
	var all sync.WaitGroup
	errs := make(chan error, n)
	for i := range n {
		all.Go(func() { errs <- f(i) })
	}
	all.Wait()
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// errno names the error as errno(3) does; the end of a stream is EOF.
func errno(err error) string {
	var e syscall.Errno
	switch {
	case errors.As(err, &e):
		return unix.ErrnoName(e)
	case errors.Is(err, io.EOF):
		return "EOF"
	}
	return "another error"
}
