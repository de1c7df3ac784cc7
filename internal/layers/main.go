// Command layers measures how the files of a package refer to each other.
//
//	scripts/go run ./internal/layers ./syscalls Node.connect
//
// It prints two figures. The first is about references: a pair of a file and a function,
// method, type, constant or variable of another file that it uses. It looks for an order
// of the files in which as few of them as possible point upwards, to a file that comes
// earlier, and prints their share. The search begins with several random orders, so the
// share may differ by some tenths of a per cent from run to run.
//
// The second is about the way of a reader who follows a method through the methods of the
// same type, each at the place where it is called first, and goes back afterwards. A stay
// is a part of that way within one file. A return is a stay in a file in which the reader
// has been before.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: layers DIR [TYPE.METHOD]")
	}
	flag.Parse()
	if flag.NArg() < 1 || flag.NArg() > 2 {
		flag.Usage()
		os.Exit(2)
	}
	p, err := load(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, "layers:", err)
		os.Exit(1)
	}
	refs := p.references()
	order, upward := refs.order()
	fmt.Printf("%d files, %d references between them, %d (%.1f %%) of them upwards\n",
		len(order), refs.total(), upward, 100*float64(upward)/float64(max(1, refs.total())))
	if flag.NArg() == 1 {
		return
	}
	way, err := p.follow(flag.Arg(1))
	if err != nil {
		fmt.Fprintln(os.Stderr, "layers:", err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d stays in %d files, %d returns\n", flag.Arg(1), len(way),
		distinct(way), len(way)-distinct(way))
	for _, f := range way {
		fmt.Println("   ", f)
	}
}
