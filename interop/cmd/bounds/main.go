// Bounds measures what one request of a stranger costs, in processor time and
// heap, and how much is read of one answer of a provider that sends without
// end. It prints the figures and fails if one exceeds its limit.
package main

import (
	"flag"
	"fmt"
	"os"

	"example.com/gatehouse/interop/bounds"
)

func main() {
	repeats := flag.Int("repeats", 50, "requests of each kind in a round")
	rounds := flag.Int("rounds", 5, "rounds, of which the cheapest counts")
	slow := flag.Bool("slow", true, "also answers that come drop by drop, 10 s")
	flag.Parse()
	if *repeats < 1 || *rounds < 1 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	figures, err := bounds.Run(bounds.Effort{Repeats: *repeats, Rounds: *rounds, Slow: *slow})
	if err == nil {
		_, err = figures.WriteTo(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bounds:", err)
		os.Exit(1)
	}
	if over := figures.Over(); len(over) > 0 {
		for _, what := range over {
			fmt.Fprintln(os.Stderr, "over:", what)
		}
		os.Exit(1)
	}
}
