package sinktest

import (
	"strings"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
)

func sliceUsedAgain(e *Env) {
	id := e.build()
	r := e.open(id, true)
	e.counts(r, 0)
	want := some(0, 100)
	buf := some(0, 10)
	for at := 0; at < 100; at += 10 {
		for i, l := range some(at, 10) {
			buf[i].Time, buf[i].Text = l.Time, append(buf[i].Text[:0], l.Text...)
		}
		e.must("Append", r.Append(e.ctx, uint64(at), buf))
		for i := range buf {
			buf[i].Time = time.Time{}
			clear(buf[i].Text)
		}
	}
	e.must("Commit", r.Commit(e.ctx))
	e.stores(id, want)
}

func emptyLines(e *Env) {
	id := e.build()
	r := e.open(id, true)
	all := textLines("", "", "text", "", " ", "\t", "", "")
	all[1].Text = nil
	e.append(r, 0, all)
	e.counts(r, len(all))
	e.stores(id, all)
}

func longLines(e *Env) {
	id := e.build()
	r := e.open(id, true)
	all := textLines("short", strings.Repeat("a", sink.MaxLine), "", strings.Repeat("€", sink.MaxLine/3), strings.Repeat("\"", sink.MaxLine), strings.Repeat("x", 64<<10), strings.Repeat("y", 64<<10-1), "end")
	e.append(r, 0, all)
	e.counts(r, len(all))
	e.stores(id, all)
}

func everyText(e *Env) {
	id := e.build()
	r := e.open(id, true)
	texts := []string{"äöüß €", "日本語 العربية עברית", "👩‍👩‍👧‍👦 🏳️‍🌈", "e\u0301 combining", "\u2028 \u2029 \u0085 \u00a0", "\ufeffmark", "\ufffd", "\uffff \U0010ffff", "\x1b[31mred\x1b[0m",
		"\r", "carriage\rreturn\r", "\x01\x02\x7f", `"quoted" \back\slash\`, "<script>&amp;</script>", "'; DROP TABLE log; --", "%s %d %!", "null", "[]", "{\"a\":1}", "trailing space ", " leading"}
	var all []rune
	for c := rune(1); c < 0x3000; c++ {
		if c != '\n' {
			all = append(all, c)
		}
	}
	texts = append(texts, string(all))
	want := textLines(texts...)
	e.append(r, 0, want)
	e.stores(id, want)
}

func manyLines(e *Env) {
	id := e.build()
	r := e.open(id, true)
	e.counts(r, 0)
	all := some(0, 100_000)
	for at := 0; at < len(all); at += 3_000 {
		e.must("Append", r.Append(e.ctx, uint64(at), all[at:min(at+3_000, len(all))]))
	}
	e.must("Commit", r.Commit(e.ctx))
	e.counts(r, len(all))
	e.stores(id, all)
}
