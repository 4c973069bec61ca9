package wharfapitest

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// handler serves the REST API.
func (s *Server) handler(up *service) http.Handler {
	h := &restAPI{Server: s, up: up}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /api/build/{id}/status", h.status)
	mux.HandleFunc("GET /api/build/{id}/log", h.log)
	mux.HandleFunc("POST /api/build/{id}/log", h.postLine)
	mux.HandleFunc("POST /api/build/{id}/artifact", func(w http.ResponseWriter, r *http.Request) { h.upload(w, r, PutFile) })
	mux.HandleFunc("POST /api/build/{id}/test-result/{$}", func(w http.ResponseWriter, r *http.Request) { h.upload(w, r, PutResults) })
	mux.HandleFunc("POST /api/build/{id}/test-result", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path+"/", http.StatusTemporaryRedirect) // as its router does
	})
	mux.HandleFunc("GET /api/build/{id}/artifact", h.files)
	mux.HandleFunc("GET /api/build", h.list)
	for _, p := range []string{"version", "health", "ping"} {
		mux.HandleFunc("GET /api/"+p, func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusOK, map[string]string{"version": "v5.2.0", "message": "pong"})
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.opts.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.opts.Token {
			problem(w, http.StatusUnauthorized, "the bearer token is missing or wrong")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

type restAPI struct {
	*Server
	up *service
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, code int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "/prob/api/test", "title": http.StatusText(code), "status": code, "detail": detail, "instance": "/api"})
}

func idOf(r *http.Request) uint64 {
	id, _ := strconv.ParseUint(r.PathValue("id"), 10, 64)
	return id
}

// end answers a call that has stored what it was to, with the fault that it has.
func (h *restAPI) end(w http.ResponseWriter, r *http.Request, f Fault, good func()) {
	if f.Late > 0 {
		t := time.NewTimer(f.Late)
		defer t.Stop()
		<-t.C // also when the client has gone
	}
	switch {
	case f.Lose:
		h.up.conns.cutOne(r.RemoteAddr)
	case f.Status != 0:
		problem(w, f.Status, "the answer is lost")
	default:
		good()
	}
}

func (h *restAPI) status(w http.ResponseWriter, r *http.Request) {
	var body struct{ Status string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !slices.Contains([]string{"Scheduling", "Running", "Completed", "Failed"}, body.Status) {
		problem(w, http.StatusBadRequest, "no such status")
		return
	}
	id := idOf(r)
	f := h.faulty(Call{PutStatus, id})
	if f.Refuse != 0 {
		problem(w, f.Refuse, "a fault")
		return
	}
	found := h.update(id, func(b *Build) {
		b.Status = body.Status
		b.History, b.Changed = append(b.History, body.Status), append(b.Changed, time.Now())
	})
	if !found {
		problem(w, http.StatusNotFound, fmt.Sprintf("build %d was not found", id))
		return
	}
	h.end(w, r, f, func() { answer(w, http.StatusOK, map[string]any{"buildId": id, "status": body.Status}) })
}

func (h *restAPI) postLine(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Message   string
		Timestamp time.Time
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	if !h.update(idOf(r), func(b *Build) { h.store(b, Line{body.Timestamp, body.Message}) }) {
		problem(w, http.StatusBadRequest, "no such build")
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (h *restAPI) log(w http.ResponseWriter, r *http.Request) {
	b := h.Build(idOf(r))
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, "[")
	enc := json.NewEncoder(w)
	for i := range b.Count {
		if i > 0 {
			_, _ = io.WriteString(w, ",")
		}
		var l Line
		if !h.opts.Forget {
			l = b.Lines[i]
		}
		_ = enc.Encode(map[string]any{"logId": i + 1, "buildId": b.ID, "message": l.Message, "timestamp": l.Time})
	}
	_, _ = io.WriteString(w, "]")
}

func (h *restAPI) upload(w http.ResponseWriter, r *http.Request, kind string) {
	f := h.faulty(Call{kind, idOf(r)})
	if f.Refuse != 0 {
		problem(w, f.Refuse, "a fault")
		return
	}
	form, err := r.MultipartReader()
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	var files []File
	for {
		part, err := form.NextPart()
		if err == io.EOF {
			break
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(part)
		}
		if err != nil {
			problem(w, http.StatusBadRequest, err.Error())
			return
		}
		if part.FormName() == "files" {
			files = append(files, File{Name: path.Base(part.FileName()), Content: content, TestResults: kind == PutResults})
		}
	}
	if kind == PutResults && slices.ContainsFunc(files, func(f File) bool {
		return xml.Unmarshal(f.Content, new(struct {
			XMLName xml.Name `xml:"TestRun"`
		})) != nil
	}) {
		problem(w, http.StatusBadRequest, "it is no TRX")
		return
	}
	if !h.update(idOf(r), func(b *Build) { b.Files = append(b.Files, files...) }) {
		problem(w, http.StatusBadRequest, "no such build")
		return
	}
	h.end(w, r, f, func() { w.WriteHeader(http.StatusCreated) })
}

func (h *restAPI) files(w http.ResponseWriter, r *http.Request) {
	list := []map[string]any{}
	for i, f := range h.Build(idOf(r)).Files {
		list = append(list, map[string]any{"artifactId": i + 1, "name": "files", "fileName": f.Name, "buildId": idOf(r)})
	}
	slices.Reverse(list) // the newest first
	total := len(list)
	limit, offset := pageOf(r)
	answer(w, http.StatusOK, map[string]any{"list": list[min(offset, total):min(offset+limit, total)], "totalCount": total})
}

// pageOf is which part of a list is asked for: a hundred from the first on if nothing else is said.
func pageOf(r *http.Request) (limit, offset int) {
	limit = 100
	if n, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil {
		limit = n
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("offset")); err == nil {
		offset = n
	}
	return limit, offset
}

func (h *restAPI) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var all []*Build
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.builds {
		if len(q["status"]) == 0 || slices.Contains(q["status"], b.Status) {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b *Build) int { return int(b.ID) - int(a.ID) })
	total := len(all)
	limit, offset := pageOf(r)
	all = all[min(offset, total):min(offset+limit, total)]
	list := []map[string]any{}
	for _, b := range all {
		element := map[string]any{"buildId": b.ID, "status": b.Status, "scheduledOn": b.Scheduled, "workerId": strings.TrimSpace(b.Worker), "isInvalid": false}
		if b.Engine != "" {
			element["engine"] = map[string]string{"id": b.Engine, "name": b.Engine}
		}
		list = append(list, element)
	}
	answer(w, http.StatusOK, map[string]any{"list": list, "totalCount": total})
}
