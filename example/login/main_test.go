package main

import (
	"os"
	"strings"
	"testing"
)

// maxLines keeps the program small enough to read at once.
const maxLines = 32

// The README shows this program, so the README's program compiles.
func TestReadmeShowsThisProgram(t *testing.T) {
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```go\n"+string(program)+"```\n") {
		t.Error("README.md does not show example/login/main.go as it is")
	}
	if lines := strings.Count(string(program), "\n"); lines > maxLines {
		t.Errorf("the program has %d lines, promised are at most %d", lines, maxLines)
	}
}
