package local

import (
	"context"
	"encoding/json"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// logQuery says which lines are asked for.
type logQuery struct {
	after, limit uint64
	follow       bool
}

func parseLogQuery(from url.Values) (q logQuery, err error) {
	if q.after, err = number(from, "after", 0, math.MaxInt64); err != nil {
		return q, err
	}
	if q.limit, err = number(from, "limit", math.MaxInt64, math.MaxInt64); err != nil {
		return q, err
	}
	if from.Has("follow") {
		if q.follow, err = strconv.ParseBool(from.Get("follow")); err != nil {
			return q, errdefs.ErrInvalidArgument.WithMessage("follow must be true or false")
		}
	}
	return q, nil
}

// wantsText reports whether a header Accept asks for text rather than for JSON.
func wantsText(accept string) bool {
	text, other := -1.0, -1.0
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if v, has := params["q"]; has {
			if q, err = strconv.ParseFloat(v, 64); err != nil || !(q >= 0 && q <= 1) {
				continue
			}
		}
		switch kind {
		case "text/plain":
			text = max(text, q)
		case "application/json", "application/*", "*/*":
			other = max(other, q)
		}
	}
	return text > 0 && text >= other
}

// serveLog streams lines. What goes wrong after the first of them breaks the connection off, so that nobody takes a part for the whole.
func (s *Store) serveLog(w http.ResponseWriter, r *http.Request) error {
	q, err := parseLogQuery(r.URL.Query())
	if err != nil {
		return err
	}
	b, err := s.buildOf(r)
	if err != nil {
		return err
	}
	out := &logWriter{w: w, build: b.ID, next: q.after, left: q.limit, text: wantsText(r.Header.Get("Accept"))}
	w.Header().Set("Vary", "Accept")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if out.text {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	if r.Method == http.MethodHead {
		return nil
	}
	out.begin()
	if err := s.stream(r.Context(), out, q.follow); err != nil {
		panic(http.ErrAbortHandler)
	}
	return out.end()
}

// stream writes what there is, and with follow what comes until the build has ended.
func (s *Store) stream(ctx context.Context, out *logWriter, follow bool) error {
	for {
		changed, release := s.watch.next(out.build)
		b, err := s.build(ctx, out.build) // before its lines: one that has ended gets no others
		if err == nil {
			err = s.copyLog(ctx, out)
		}
		if err != nil || !follow || b.Status.Final() || out.left == 0 {
			release()
			return err
		}
		if err := out.flush(true); err != nil {
			release()
			return err
		}
		select {
		case <-changed:
			release()
		case <-ctx.Done():
			release()
			return context.Cause(ctx)
		case <-s.ctx.Done():
			release()
			return context.Cause(s.ctx)
		}
	}
}

// copyLog writes what there is.
func (s *Store) copyLog(ctx context.Context, out *logWriter) error {
	for out.left > 0 {
		parts, err := s.page(ctx, out.build, out.next, out.left)
		if err != nil || len(parts) == 0 {
			return err
		}
		for _, p := range parts {
			at := p.first
			err := decode(p.data, func(when time.Time, text []byte) bool {
				if at == out.next && out.left > 0 {
					out.line(when, text)
				}
				at++
				return out.left > 0
			})
			if err == nil && out.left > 0 && at != p.first+p.count {
				err = errBlock
			}
			if err == nil {
				err = out.flush(false)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// logWriter writes lines to a client.
type logWriter struct {
	w     http.ResponseWriter
	text  bool
	build uint64
	next  uint64 // how many lines are before the next
	left  uint64
	some  bool // lines were written
	buf   []byte
}

func (l *logWriter) begin() {
	if !l.text {
		l.buf = append(l.buf, '[')
	}
}

func (l *logWriter) end() error {
	if !l.text {
		l.buf = append(l.buf, "]\n"...)
	}
	_, _ = l.w.Write(l.buf)
	return nil
}

func (l *logWriter) line(when time.Time, text []byte) {
	l.next++
	l.left--
	if l.text {
		l.buf = append(append(l.buf, text...), '\n')
		return
	}
	if l.some {
		l.buf = append(l.buf, ',')
	}
	l.some = true
	l.buf = append(l.buf, "\n{\"logId\":"...)
	l.buf = strconv.AppendUint(l.buf, l.next, 10)
	l.buf = append(l.buf, ",\"buildId\":"...)
	l.buf = strconv.AppendUint(l.buf, l.build, 10)
	l.buf = append(l.buf, ",\"message\":"...)
	message, _ := json.Marshal(string(text)) // a string can always be written
	l.buf = append(l.buf, message...)
	l.buf = append(l.buf, ",\"timestamp\":\""...)
	l.buf = when.AppendFormat(l.buf, time.RFC3339Nano)
	l.buf = append(l.buf, "\"}"...)
}

// flush writes what there is, and sends it at once if that is asked for.
func (l *logWriter) flush(now bool) error {
	if len(l.buf) > 0 {
		if _, err := l.w.Write(l.buf); err != nil {
			return err
		}
		l.buf = l.buf[:0]
	}
	if now {
		return http.NewResponseController(l.w).Flush()
	}
	return nil
}
