// A server goroutine, 50 clients, a child.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"sync"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println("child:", os.Args[1])
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				log.Fatal(err)
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				log.Fatal(err)
			}
			b := make([]byte, 5)
			if _, err := c.Write([]byte("hello")); err != nil {
				log.Fatal(err)
			}
			if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
				log.Fatal(err, b)
			}
			c.Close()
		})
	}
	all.Wait()
	exe, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print("50 echoes; ")
	if os.Getenv("ALONE") != "" {
		return
	}
	cmd := exec.Command(exe, exe)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		log.Fatal(err)
	}
}
