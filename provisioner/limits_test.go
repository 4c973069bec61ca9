package provisioner_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/report"
)

// TestLimitPerInstance: over two provisioners no more of one instance run than the limit says, while those of another one, and of the same projects, do.
func TestLimitPerInstance(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		y.build = func(_ context.Context, p *fake.Proc, _ string) int {
			p.Linger(time.Minute)
			report.Write(p.Stdout(), report.Line{State: report.Succeeded})
			return 0
		}
		two := func(c *provisioner.Config) { c.Limits.PerInstance = 2 }
		both := []*provisioner.Provisioner{y.open(t, two), y.open(t, two)}
		synctest.Wait()
		for n := range uint64(10) {
			tr := trigger(n)
			tr.ProjectID = n / 2
			tr.Instance = []string{"large", "small"}[min(1, n/7)] // seven of one, three of the other
			ask(t, both[n%2], tr)
		}
		most := map[string]int{}
		for range 60 {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			running := map[string]int{}
			for _, w := range both[0].Workers() {
				switch {
				case w.State == provisioner.Running:
					running[w.Instance]++
				case w.State == provisioner.Queued && w.Reason != "2 workers of this instance run, which is the limit":
					t.Errorf("worker %s waits because %s", w.ID, w.Reason)
				}
			}
			for instance, n := range running {
				most[instance] = max(most[instance], n)
			}
		}
		if most["large"] != 2 || most["small"] != 2 || y.most > 4 {
			t.Errorf("at once ran %v, and %d in all; want two of each", most, y.most)
		}
		for _, w := range both[0].Workers() {
			if w.State != provisioner.Succeeded {
				t.Errorf("worker %s is %s: %s", w.ID, w.State, w.Reason)
			}
		}
	})
}

// TestPriority: what is asked for with a larger PRIORITY stands further ahead, and starts sooner.
func TestPriority(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		var started []string
		y.build = func(_ context.Context, p *fake.Proc, id string) int {
			started = append(started, strings.Split(id, "-")[1]) // one after the other
			p.Linger(time.Minute)
			report.Write(p.Stdout(), report.Line{State: report.Succeeded})
			return 0
		}
		p := y.open(t, one)
		h := p.Handler(provisioner.Gate{Open: true})
		synctest.Wait()
		for i, priority := range []string{"", "", "5", "-100", "100", "5"} {
			params := asked()
			delete(params, "token")
			params["BUILD_REF"], params["PRIORITY"] = strconv.Itoa(i), priority
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/api/worker?"+query(params), nil)
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != http.StatusCreated {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			time.Sleep(time.Second)
		}
		var list provisioner.List
		if _, text := ask200(h, "/api/worker?state=queued"); json.Unmarshal([]byte(text), &list) != nil || list.Total != 5 {
			t.Fatalf("the list is %s", text)
		}
		want := []string{"4", "2", "5", "1", "3"}
		for i, w := range list.Workers {
			if strconv.FormatUint(w.Build, 10) != want[i] || w.Position != i+1 {
				t.Errorf("in the place %d, by the list %d, there is build %d; want %s", i+1, w.Position, w.Build, want[i])
			}
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if !slices.Equal(started, append([]string{"0"}, want...)) {
			t.Errorf("they started as %q", started)
		}
	})
}
