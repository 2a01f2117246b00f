// Command sequence draws the diagrams of docs/uma.md from the traces that the
// tests of the example record:
//
//	go test ./example -run TestTraces -update
//	go run ./example/sequence
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"example.com/gatehouse/example/internal/sequence"
)

func main() {
	traces := flag.String("traces", "docs/traces", "directory of the traces, *.json")
	images := flag.String("images", "docs/img", "directory of the diagrams, uma-*.svg")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*traces, *images); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run draws every trace of one directory into the other.
func run(traces, images string) error {
	names, err := filepath.Glob(filepath.Join(traces, "*.json"))
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("no traces in %s", traces)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		trace, err := sequence.Decode(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		image := "uma-" + strings.TrimSuffix(filepath.Base(name), ".json") + ".svg"
		if err := os.WriteFile(filepath.Join(images, image), sequence.Draw(trace), 0o644); err != nil {
			return err
		}
	}
	return nil
}
