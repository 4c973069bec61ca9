package endtoend

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
)

// TestEverythingDies has builds triggered, built and relayed by two aggregators, while every second something is killed, or stopped for a while: an aggregator, the provisioner, a worker's process, the connection to
// the runtime. In the end, or when that has gone on for long enough, things calm down, and wharf-api has of each build what its steps printed, line by line.
func TestEverythingDies(t *testing.T) {
	lines, builds := sample(100, 400), sample(3, 20)
	p := begin(t, "--limit=3", "--rate=-1")
	through := newRelay(t, p.runtime)
	api := wharfAPI(t, wharfapitest.Options{})
	url := through.driver(t, p.url)
	relayers := []*daemon{p.aggregator("one", url, api), p.aggregator("two", url, api)}
	p.repository("print", "main", fmt.Sprintf(`
print:
  lines:
    container:
      image: %s
      cmds:
        - i=0; while [ $i -lt %d ]; do i=$((i+1)); echo "build ${BUILD_REF} line $i"; if [ $((i %% 10)) = 0 ]; then usleep 200000; fi; done
        - echo "content of ${BUILD_REF}" > left.txt
      artifacts: [left.txt]
  more:
    container: {image: %s, cmds: [echo a line of another step]}
after:
  last:
    container: {image: %s, cmds: [echo the last line]}
`, stepImage, lines, stepImage, stepImage))
	ids := make([]string, builds)
	for build := 1; build <= builds; build++ {
		api.Add(uint64(build))
		ids[build-1] = p.trigger(build, "print", "main").ID
	}
	over, stop := context.WithTimeout(t.Context(), time.Duration(sample(45, 1800))*time.Second)
	var killing sync.WaitGroup
	killed := map[string]int{}
	killing.Go(func() {
		for every := time.NewTicker(time.Second); ; {
			select {
			case <-every.C:
			case <-over.Done():
				every.Stop()
				return
			}
			switch what := rand.N(6); what {
			case 0, 1:
				killed["aggregator"]++
				relayers[what].restart()
			case 2:
				killed["provisioner"]++
				p.restart()
			case 3:
				if killWorker() {
					killed["worker"]++
				}
			case 4: // longer than it takes to be taken for gone
				killed["pause"]++
				paused := relayers[rand.N(2)]
				paused.signal(syscall.SIGSTOP)
				time.AfterFunc(8*time.Second, func() { paused.signal(syscall.SIGCONT) })
			case 5:
				killed["connection"]++
				through.cut()
				through.mend()
			}
		}
	})
	for build := 1; build <= builds; build++ {
		p.finished(api, build)
	}
	stop()
	killing.Wait()
	if !p.gone() {
		for _, r := range relayers { // it then says what it waits for
			r.signal(syscall.SIGQUIT)
		}
	}
	p.deleteRest(ids)
	if verdicts, err := volumesLeft(t.Context(), p.workers, driver.ListOptions{Labels: map[string]string{provisioner.LabelRole: provisioner.RoleVerdict}}); err != nil || len(verdicts) > 0 {
		t.Errorf("what a killed aggregator was about to tell is left: %+v, %v", verdicts, err) // the other one takes it away
	}
	t.Logf("killed: %v", killed)
	for build := 1; build <= builds; build++ {
		b := api.Build(uint64(build))
		if want := []string{"Scheduling", "Running", "Completed"}; !slices.Equal(slices.Compact(slices.Clone(b.History)), want) {
			t.Errorf("build %d went through %v", build, b.History)
		}
		p.whole(b, lines)
		if len(b.Files) != 1 || string(b.Files[0].Content) != fmt.Sprintf("content of %d\n", build) {
			t.Errorf("build %d has left %+v", build, b.Files)
		}
	}
}

// whole checks the lines of a build: of each step all that it printed, once, in order, and of Wharf's own nothing but warnings.
func (p *process) whole(b wharfapitest.Build, lines int) {
	p.t.Helper()
	var first, others []string
	for _, l := range b.Lines {
		switch {
		case bytes.HasPrefix([]byte(l.Message), []byte("build ")):
			first = append(first, l.Message)
		default:
			others = append(others, l.Message)
		}
	}
	_, want := printed(int(b.ID), lines)
	if !slices.Equal(first, want) {
		at := 0
		for at < min(len(first), len(want)) && first[at] == want[at] {
			at++
		}
		p.t.Errorf("build %d: %d lines are stored, %d were printed; %d are right, and then comes %q", b.ID, len(first), len(want), at, first[at:min(at+3, len(first))])
	}
	var own []string
	others = slices.DeleteFunc(others, func(l string) bool {
		is := bytes.HasPrefix([]byte(l), []byte("wharf: "))
		if is {
			own = append(own, l)
		}
		return is
	})
	if want := []string{"a line of another step", "the last line"}; !slices.Equal(others, want) {
		p.t.Errorf("build %d: the other steps printed %q, want %q", b.ID, others, want)
	}
	if len(own) > 0 {
		p.t.Logf("build %d: %q", b.ID, own)
	}
}

// killWorker kills the process of one worker, not the one that starts it again, and reports whether there was one.
func killWorker() bool {
	_, all := workerProcesses()
	return len(all) > 0 && syscall.Kill(all[rand.N(len(all))], syscall.SIGKILL) == nil
}

// workerProcesses are those in the containers of workers: those that start a worker again, and the workers.
func workerProcesses() (starters, children []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || !bytes.Contains(line, []byte("\x00worker\x00--report\x00")) || !bytes.Contains(line, []byte("\x00--order=/run/wharf/order.json\x00")) {
			continue
		}
		if env, _ := os.ReadFile(filepath.Join(dir, "environ")); bytes.Contains(env, []byte("WHARF_SUPERVISED=1")) {
			children = append(children, pid)
		} else {
			starters = append(starters, pid)
		}
	}
	return starters, children
}
