// Goals runs goals of docs/reliability.md at their full scale and prints their
// figures: one line for each run, then the worst of each figure.
//
//	go run ./cmd/goals -run G1 -times 5
//	go run ./cmd/goals -run G1,G9 -peer scs -short
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"example.com/gatehouse/interop/reliability"
	"example.com/gatehouse/interop/reliability/site"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "goals:", err)
		os.Exit(1)
	}
}

func run() error {
	which := flag.String("run", "", "goals to run, such as G1,G2; empty for all")
	times := flag.Int("times", 1, "runs of each")
	short := flag.Bool("short", false, "a twentieth of the full scale")
	peer := flag.String("peer", site.Gatehouse, "what the site is made with: gatehouse or scs")
	stores := flag.String("stores", strings.Join(reliability.Stores(), ","), "stores of the goals that run on both")
	flag.Parse()
	if flag.NArg() > 0 || *times < 1 || *peer != site.Gatehouse && *peer != site.SCS {
		flag.Usage()
		os.Exit(2)
	}
	var goals []reliability.Goal
	if *which == "" {
		goals = reliability.Goals()
	} else {
		for id := range strings.SplitSeq(*which, ",") {
			goal, known := reliability.GoalNamed(id)
			if !known {
				return fmt.Errorf("no goal is called %q", id)
			}
			goals = append(goals, goal)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	programs, err := reliability.NewPrograms()
	if err != nil {
		return err
	}
	defer programs.Close()
	missed := false
	for _, goal := range goals {
		if *peer != site.Gatehouse && !goal.Peers {
			fmt.Printf("%s: not measured with %s\n", goal.ID, *peer)
			continue
		}
		var runs [][]reliability.Figure
		for i := range *times {
			r := &reliability.Run{
				Full: !*short, Kind: *peer, Programs: programs, Stores: strings.Split(*stores, ","),
				Note: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
			}
			begin := time.Now()
			figures, err := goal.Do(ctx, r)
			if err != nil {
				return fmt.Errorf("%s: %w", goal.ID, err)
			}
			fmt.Printf("%s %s run %d of %d, %v: %s\n", goal.ID, *peer, i+1, *times, time.Since(begin).Round(time.Second), reliability.Line(figures))
			runs = append(runs, figures)
		}
		worst := reliability.Worst(runs)
		bad := reliability.Missed(worst)
		if *times > 1 {
			fmt.Printf("%s %s worst of %d: %s\n", goal.ID, *peer, *times, reliability.Line(worst))
		}
		verdict := "met"
		if len(bad) > 0 {
			verdict, missed = "MISSED by "+reliability.Line(bad), true
		}
		fmt.Printf("%s %s (%s): %s\n", goal.ID, *peer, goal.Title, verdict)
	}
	if missed && *peer == site.Gatehouse {
		return errors.New("a goal is missed")
	}
	return nil
}
