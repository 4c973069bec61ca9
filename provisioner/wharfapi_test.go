package provisioner_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/wharfci/wharf/provisioner"
)

// wharfAPI plays wharf-api, as far as its engines can see it: what it writes to them, and what it does with what they answer.
type wharfAPI struct {
	t       *testing.T
	address string // host:port
	path    string // of the engine's URL
	token   string
}

// started is what wharf-api makes of an answer.
type started struct {
	status  int
	worker  string
	problem provisioner.Problem
}

// start writes a trigger byte by byte as wharf-api does: everything in the query, empty values left out, the token last, no body and an empty content type.
func (a *wharfAPI) start(params [][2]string) started {
	a.t.Helper()
	var q []string
	for _, p := range params {
		if p[1] != "" {
			q = append(q, url.QueryEscape(p[0])+"="+url.QueryEscape(p[1]))
		}
	}
	if a.token != "" {
		q = append(q, "token="+url.QueryEscape(a.token))
	}
	res, body := a.send("POST", a.path+"?"+strings.Join(q, "&"), "Content-Type: \r\nContent-Length: 0\r\n")
	s := started{status: res.StatusCode}
	if res.StatusCode/100 == 2 { // wharf-cmd.v1 reads this and nothing else; jenkins-generic-webhook-trigger reads nothing
		var answer struct {
			WorkerID string `json:"workerId"`
		}
		if err := json.Unmarshal(body, &answer); err != nil || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
			a.t.Errorf("the answer is not read: %v: %s", err, body)
		}
		s.worker = answer.WorkerID
	} else if err := json.Unmarshal(body, &s.problem); err != nil || res.Header.Get("Content-Type") != "application/problem+json" {
		a.t.Errorf("the problem is not read: %v: %s", err, body)
	}
	return s
}

func (a *wharfAPI) send(method, target, headers string) (*http.Response, []byte) {
	a.t.Helper()
	c, err := net.Dial("tcp", a.address)
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Go-http-client/1.1\r\n%sAccept-Encoding: gzip\r\nConnection: close\r\n\r\n", method, target, a.address, headers)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return res, body
}

// documented is the request with all its parameters.
func documented(change ...[2]string) [][2]string {
	all := [][2]string{
		{"REPO_NAME", "shop"}, {"REPO_GROUP", "sales/web"}, {"REPO_BRANCH", "feature/ü+#1&x"}, {"GIT_BRANCH", "feature/ü+#1&x"}, {"RUN_STAGES", "ALL"}, {"BUILD_REF", "123"},
		{"VARS", "message: 'a: \"b\" & c=d'\nversion: \"1.10\"\n"}, {"GIT_FULLURL", "ssh://git@git.example.com:7999/sales/shop.git"}, {"GIT_TOKEN", "a+b/c=="},
		{"WHARF_PROJECT_ID", "9"}, {"WHARF_INSTANCE", "prod"}, {"ENVIRONMENT", "stage"},
	}
	for _, c := range change {
		i := slices.IndexFunc(all, func(p [2]string) bool { return p[0] == c[0] })
		all[i][1] = c[1]
	}
	return all
}

// TestWharfAPI replays what wharf-api sends to its engines, in both kinds, and reads the answers as it does.
func TestWharfAPI(t *testing.T) {
	for engine, path := range map[string]string{"wharf-cmd.v1": "/api/worker", "jenkins-generic-webhook-trigger": "/generic-webhook-trigger/invoke"} {
		y := newYard()
		y.build = untilTold
		p := y.open(t, nil)
		d := serve(t, p, provisioner.Gate{Tokens: map[string]string{"wharf-api": "to+ken&="}})
		at := wharfAPI{t, strings.TrimPrefix(d.url, "http://"), path, "to+ken&="}
		for name, c := range map[string]struct {
			change [][2]string
			token  *string
			status int
			check  func(w provisioner.Worker) bool
			names  []string // parameters in the problem
		}{
			"everything": {status: 201, check: func(w provisioner.Worker) bool {
				return w.Build == 123 && w.Instance == "prod" && w.Project == provisioner.Project{ID: 9, Group: "sales/web", Name: "shop"} && w.Branch == "feature/ü+#1&x" &&
					w.URL == "ssh://git@git.example.com:7999/sales/shop.git" && w.Stage == "ALL" && w.Environment == "stage"
			}},
			"again":             {change: [][2]string{{"BUILD_REF", "10"}}, status: 200, check: func(w provisioner.Worker) bool { return w.Build == 10 }},
			"https":             {change: [][2]string{{"BUILD_REF", "1"}, {"GIT_FULLURL", "https://git.example.com/a/b.git"}}, status: 201},
			"scp-like":          {change: [][2]string{{"BUILD_REF", "2"}, {"GIT_FULLURL", "git@git.example.com:a/b.git"}}, status: 201},
			"a stage":           {change: [][2]string{{"BUILD_REF", "3"}, {"RUN_STAGES", "deploy"}}, status: 201, check: func(w provisioner.Worker) bool { return w.Stage == "deploy" }},
			"no environment":    {change: [][2]string{{"BUILD_REF", "4"}, {"ENVIRONMENT", ""}}, status: 201, check: func(w provisioner.Worker) bool { return w.Environment == "" }},
			"no credential":     {change: [][2]string{{"BUILD_REF", "5"}, {"GIT_TOKEN", ""}}, status: 201},
			"no inputs":         {change: [][2]string{{"BUILD_REF", "6"}, {"VARS", ""}}, status: 201},
			"inputs in JSON":    {change: [][2]string{{"BUILD_REF", "7"}, {"VARS", `{"n": 1.50, "yes": true, "text": "a"}`}}, status: 201},
			"no inputs in YAML": {change: [][2]string{{"BUILD_REF", "8"}, {"VARS", "{}\n"}}, status: 201},
			"no instance":       {change: [][2]string{{"BUILD_REF", "9"}, {"WHARF_INSTANCE", ""}}, status: 201},
			"a large number":    {change: [][2]string{{"BUILD_REF", "18446744073709551615"}}, status: 201, check: func(w provisioner.Worker) bool { return w.Build == 1<<64-1 }},
			"another instance": {change: [][2]string{{"WHARF_INSTANCE", "test"}}, status: 201, check: func(w provisioner.Worker) bool {
				return w.Instance == "test" && w.Build == 123
			}},
			"no build":       {change: [][2]string{{"BUILD_REF", ""}}, status: 400, names: []string{"BUILD_REF"}},
			"a broken URL":   {change: [][2]string{{"GIT_FULLURL", "shop"}}, status: 400, names: []string{"GIT_FULLURL"}},
			"inputs no map":  {change: [][2]string{{"VARS", "- a"}}, status: 400, names: []string{"VARS"}},
			"no token":       {token: new(""), status: 401},
			"another engine": {token: new("another"), status: 401},
		} {
			t.Run(engine+"/"+name, func(t *testing.T) {
				a := at
				a.t = t
				if c.token != nil {
					a.token = *c.token
				}
				if c.status == 200 {
					a.start(documented(c.change...))
				}
				got := a.start(documented(c.change...))
				if c.status != got.status {
					t.Fatalf("%d, %+v; want %d", got.status, got.problem, c.status)
				}
				if c.status >= 400 {
					checkProblem(t, got.problem, c.names)
					return
				}
				w, err := p.Worker(got.worker)
				if err != nil || c.check != nil && !c.check(w) {
					t.Errorf("worker %q is %+v, %v", got.worker, w, err)
				}
			})
		}
		if engine == "wharf-cmd.v1" {
			t.Run("list and cancel", func(t *testing.T) { listAndCancel(t, at, p) })
		}
	}
}

func checkProblem(t *testing.T, p provisioner.Problem, names []string) {
	t.Helper()
	if p.Type == "" || p.Title == "" || p.Detail == "" || p.Instance == "" {
		t.Errorf("the problem has not what wharf-api shows: %+v", p)
	}
	for _, n := range names {
		if !slices.ContainsFunc(p.Errors, func(e string) bool { return strings.HasPrefix(e, n+": ") }) {
			t.Errorf("the problem does not name %s: %q", n, p.Errors)
		}
	}
	if text := fmt.Sprint(p); strings.Contains(text, "a+b/c==") || strings.Contains(text, "to+ken") {
		t.Errorf("the problem tells a secret: %s", text)
	}
}

// listAndCancel is the rest of wharf-cmd.v1.
func listAndCancel(t *testing.T, a wharfAPI, p *provisioner.Provisioner) {
	a.t = t
	id := a.start(documented()).worker
	token := "Token: " + a.token + "\r\n"
	res, body := a.send("GET", "/api/worker", token)
	var list struct {
		List []struct {
			WorkerID string `json:"workerId"`
		} `json:"list"`
		TotalCount int `json:"totalCount"`
	}
	if err := json.Unmarshal(body, &list); err != nil || res.StatusCode != 200 || list.TotalCount != len(list.List) || !slices.ContainsFunc(list.List, func(w struct {
		WorkerID string `json:"workerId"`
	}) bool {
		return w.WorkerID == id
	}) {
		t.Errorf("the list is %s, %v: %s", res.Status, err, body)
	}
	res, body = a.send("DELETE", "/api/worker/"+id+"?token="+url.QueryEscape(a.token), "")
	if res.StatusCode != 204 || len(body) > 0 {
		t.Errorf("cancelling is %s: %s", res.Status, body)
	}
	if _, err := p.Worker(id); err == nil {
		t.Error("it is still there")
	}
	if res, _ = a.send("DELETE", "/api/worker/"+id, token); res.StatusCode != 404 {
		t.Errorf("cancelling it again is %s", res.Status)
	}
}
