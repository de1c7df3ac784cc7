package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testProgram is the environment variable that makes the test's executable one of
// testPrograms.
const testProgram = "BOXER_TEST_PROGRAM"

// testPrograms are the programs of nodes in tests. Each prints "ready" when it is.
var testPrograms = map[string]func() error{
	// serve echoes what comes at port 80, for one connection after the other.
	"serve": func() error {
		l, err := net.Listen("tcp", ":80")
		if err != nil {
			return err
		}
		fmt.Println("ready")
		for {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			io.Copy(c, c)
			c.Close()
		}
	},
	// call sends each line of its input to the node "server", and prints what comes back.
	"call": func() error {
		c, err := net.Dial("tcp", "server:80")
		if err != nil {
			return err
		}
		fmt.Println("ready")
		go func() {
			io.Copy(c, os.Stdin)
			c.(*net.TCPConn).CloseWrite()
		}()
		_, err = io.Copy(os.Stdout, c)
		return err
	},
	// term ends with status 3 on SIGTERM.
	"term": func() error {
		got := make(chan os.Signal, 1)
		signal.Notify(got, unix.SIGTERM)
		fmt.Println("ready")
		<-got
		os.Exit(3)
		return nil
	},
	// inside tells which node it is a part of, and how many the network has.
	"inside": func() error {
		fmt.Println("ready")
		e := FindEnclosing()
		if e == nil {
			return errors.New("there is no supervisor")
		}
		fmt.Println(e)
		s, err := e.Status(context.Background())
		if err != nil {
			return err
		}
		fmt.Println(len(s.Snapshot.Members), "members")
		return nil
	},
	// wait ends with its input.
	"wait": func() error {
		fmt.Println("ready")
		io.Copy(io.Discard, os.Stdin)
		return nil
	},
}

func TestMain(m *testing.M) {
	if IsInit() {
		os.Exit(Init())
	}
	if name := os.Getenv(testProgram); name != "" {
		if err := testPrograms[name](); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// within is what waits in tests are bounded by, on a machine that is busy.
const within = 20 * time.Second

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }
