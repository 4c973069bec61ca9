package drivertest_test

import (
	"bytes"
	"context"
	"flag"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/fake"
)

// TestMain has more tests run at once than there are processors: most of what they do is waiting.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(8*runtime.NumCPU())); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// breakages has, for each case, a driver that violates its rule.
func breakages() map[string]breakage {
	all := map[string]breakage{}
	for group, of := range map[string]map[string]breakage{
		"results": brokenResults(), "logs": brokenLogs(), "lifecycle": brokenLifecycle(), "files": brokenFiles(),
		"volumes": brokenVolumes(), "fidelity": brokenFidelity(), "services": brokenServices(), "network": brokenNetwork(), "images": brokenImages(), "limits": brokenLimits(), "load": brokenLoad(), "abilities": brokenAbilities(), "after": brokenAfter(),
	} {
		for id, b := range of {
			all[group+"/"+id] = b
		}
	}
	return all
}

var archive = sync.OnceValues(func() ([]byte, error) {
	r, err := drivertest.BuildImages(context.Background(), drivertest.ImageOptions{})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
})

// loaded returns a harness of a fresh runtime that has the suite's images.
func loaded(t *testing.T) drivertest.Harness {
	t.Helper()
	images, err := archive()
	if err != nil {
		t.Fatal(err)
	}
	h := fakeHarness(fake.Config{})
	if err := h.Load(t.Context(), bytes.NewReader(images)); err != nil {
		t.Fatal(err)
	}
	h.Loaded = true
	return h
}

// TestCasesCatch runs each case on a driver that violates its rule. A case that lets that pass proves nothing.
func TestCasesCatch(t *testing.T) {
	broken := breakages()
	for _, c := range drivertest.Cases() {
		b := broken[c.ID]
		delete(broken, c.ID)
		t.Run(c.ID, func(t *testing.T) {
			if b == nil {
				t.Fatal("there is no broken driver for this case")
			}
			t.Parallel()
			h := loaded(t)
			b(&h)
			report, err := drivertest.RunOne(t.Context(), h, c)
			if err != nil {
				t.Fatal(err)
			}
			if report.Passed() {
				t.Error("the case passes on a driver that violates: " + c.Contract)
			}
			if s := report.String(); !report.Passed() && !strings.Contains(s, c.Contract) {
				t.Errorf("the report does not print the contract:\n%s", s)
			}
			t.Log(report)
		})
	}
	for id := range broken {
		if !strings.HasPrefix(id, "after/") {
			t.Errorf("there is a broken driver for %s, which is no case", id)
		}
	}
}

// TestAfterCatches does the same for the checks that follow the last case.
func TestAfterCatches(t *testing.T) {
	broken := brokenAfter()
	reports, err := drivertest.After(t.Context(), loaded(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if !r.Passed() {
			t.Errorf("on a driver that is right: %s", r)
		}
		if broken[strings.TrimPrefix(r.ID, "after/")] == nil {
			t.Errorf("there is no broken driver for %s", r.ID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(broken)) {
		t.Run(id, func(t *testing.T) {
			h := loaded(t)
			broken[id](&h)
			reports, err := drivertest.After(t.Context(), h)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(reports, func(r drivertest.Report) bool { return r.ID == "after/"+id })
			if i < 0 || reports[i].Passed() {
				t.Errorf("the check passes on a driver that violates it: %+v", reports)
			}
		})
	}
}
