// Bench measures Wharf against the naive floor: the same work done with the bare Docker API, where each step is a
// container that is created, attached to, started, waited for and removed, on the default network.
//
//	bench [-wharf PATH] [-rounds N] [-only NAME]…
//
// Floor and Wharf take turns, so that both see the same machine; the table has the medians and their ratio beside the target. Bench
// never fails for a slow result, only for a wrong one. Run it with "make bench", on a machine that does nothing else.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/moby/moby/client"
)

// image is what all containers are made of.
const image = "localhost/wharf/busybox:1"

// bench holds what the measurements share.
type bench struct {
	docker *client.Client
	wharf  string // path of the binary
	dir    string // for projects and results; removed at the end
}

// work is something to measure. Both sides return how long it took; ours also what else is worth a column.
type work struct {
	name   string
	target string
	floor  func(context.Context) (time.Duration, error)
	ours   func(context.Context) (sample, error)
}

// sample is one measurement of ours.
type sample struct {
	wall time.Duration
	cpu  time.Duration // of our process; 0 if there is none
	rss  int64         // its peak, in bytes
}

func main() {
	wharf := flag.String("wharf", "bin/wharf", "`path` of the binary")
	rounds := flag.Int("rounds", 7, "how often to measure each side")
	only := flag.String("only", "", "comma-separated `names` of what to measure (default: all)")
	flag.Parse()
	if err := run(context.Background(), *wharf, *rounds, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, wharf string, rounds int, only string) error {
	docker, err := client.New(client.FromEnv)
	if err != nil {
		return err
	}
	defer docker.Close()
	if _, err := docker.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "wharf-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{docker: docker, wharf: wharf, dir: dir}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "work\tfloor\tours\tratio\ttarget\tour CPU\tour peak memory")
	for _, w := range b.works() {
		if only != "" && !slices.Contains(strings.Split(only, ","), w.name) {
			continue
		}
		line, err := measure(ctx, w, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		fmt.Fprintln(table, line)
	}
	if err := table.Flush(); err != nil || only != "" && !slices.Contains(strings.Split(only, ","), "worker") {
		return err
	}
	if err := b.workerFigures(ctx, os.Stdout); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	return nil
}

func (b *bench) works() []work {
	always := func(argv ...string) [][]string { return slices.Repeat([][]string{argv}, 20) }
	return []work{
		{"one-step", "1.05", b.floorSequence([][]string{{"true"}}), b.engine("engine", sequence(1, "true"))},
		{"one-step-wharf-run", "", b.floorSequence([][]string{{"true"}}), b.build("one-step", sequence(1, "true"))},
		{"20-in-turn", "0.70", b.floorSequence(always("true")), b.build("20-in-turn", sequence(20, "true"))},
		{"20-at-once", "0.70", b.floorParallel(always("sleep", "1")), b.build("20-at-once", parallel(20, "sleep 1"), "--parallel=20")},
		{"million-lines", "0.75, CPU 2 s, 64 MiB", b.floorLines(), b.lines()},
		{"copy-out-256MiB", "1.10", b.floorCopy, b.copyOut},
		{"start-up", "100 ms", nil, b.startUp},
	}
}

// measure takes turns, and returns a line of the table.
func measure(ctx context.Context, w work, rounds int) (string, error) {
	var floors, walls, cpus []time.Duration
	var rss []int64
	for i := range rounds {
		progress("\r%-20s %d of %d ", w.name, i+1, rounds)
		if w.floor != nil {
			d, err := w.floor(ctx)
			if err != nil {
				return "", fmt.Errorf("floor: %w", err)
			}
			floors = append(floors, d)
		}
		s, err := w.ours(ctx)
		if err != nil {
			return "", err
		}
		walls, cpus, rss = append(walls, s.wall), append(cpus, s.cpu), append(rss, s.rss)
	}
	progress("\r\033[K")
	floor, ratio, ours := "–", "–", median(walls)
	if w.floor != nil {
		f := median(floors)
		floor, ratio = seconds(f), fmt.Sprintf("%.2f", ours.Seconds()/f.Seconds())
	}
	cpu, mem := "–", "–"
	if median(rss) > 0 {
		cpu, mem = seconds(median(cpus)), fmt.Sprintf("%d MiB", median(rss)>>20)
	}
	return strings.Join([]string{w.name, floor, seconds(ours), ratio, w.target, cpu, mem}, "\t"), nil
}

// progress writes to a terminal, and nowhere else.
func progress(format string, args ...any) {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, format, args...)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

func median[T time.Duration | int64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
