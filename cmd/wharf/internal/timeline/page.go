package timeline

import (
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/worker/journal"
)

// The measures of the drawing, in pixels.
const (
	labelWidth = 260
	axisWidth  = 900
	rowHeight  = 22
	topHeight  = 26
)

var fills = map[string]string{
	Queue: "#c9ced6", journal.PhasePull: "#9b6dd7", journal.PhaseCreate: "#59b6c4", journal.PhaseStart: "#e0a530", journal.PhaseRun: "#3c9d5b", journal.PhaseCopy: "#4a7fd1",
}

// page is what the templates show.
type page struct {
	Title, Reason string
	Width, Height int
	AxisEnd       int
	Ticks         []tick
	Rows          []pageRow
	Legend        []legendItem
}

type tick struct {
	X     int
	Label string
}

type pageRow struct {
	Y, TextY, BarY int
	Label          string
	Bold           bool
	Note           string
	NoteX          int
	Bars           []bar
}

type bar struct {
	X, Width float64
	Fill     string
	Tip      string
}

type legendItem struct {
	X     int
	TextX int
	Fill  string
	Name  string
}

const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="{{.Height}}" viewBox="0 0 {{.Width}} {{.Height}}" font-family="system-ui, sans-serif" font-size="12">
<title>{{.Title}}</title>
<rect width="{{.Width}}" height="{{.Height}}" fill="#ffffff"/>
{{range .Ticks}}<line x1="{{.X}}" y1="20" x2="{{.X}}" y2="{{$.AxisEnd}}" stroke="#e3e6ea"/><text x="{{.X}}" y="14" fill="#667085" text-anchor="middle">{{.Label}}</text>
{{end}}{{range .Rows}}<text x="{{if .Bold}}8{{else}}20{{end}}" y="{{.TextY}}" fill="#1f2937"{{if .Bold}} font-weight="bold"{{end}}>{{.Label}}</text>
{{$y := .BarY}}{{range .Bars}}<rect x="{{printf "%.1f" .X}}" y="{{$y}}" width="{{printf "%.1f" .Width}}" height="14" fill="{{.Fill}}"><title>{{.Tip}}</title></rect>
{{end}}{{if .Note}}<text x="{{.NoteX}}" y="{{.TextY}}" fill="#667085">{{.Note}}</text>
{{end}}{{end}}{{$y := .AxisEnd}}<g transform="translate(0 {{$y}})">{{range .Legend}}<rect x="{{.X}}" y="12" width="12" height="12" fill="{{.Fill}}"/><text x="{{.TextX}}" y="22" fill="#1f2937">{{.Name}}</text>
{{end}}</g>
</svg>
`

const html = `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{{.Title}}</title>
<style>body{font-family:system-ui,sans-serif;margin:24px;color:#1f2937}h1{font-size:18px}p{color:#667085}</style></head>
<body><h1>{{.Title}}</h1>{{if .Reason}}<p>{{.Reason}}</p>{{end}}
` + svg + `</body></html>
`

var (
	svgTemplate  = template.Must(template.New("svg").Parse(svg))
	htmlTemplate = template.Must(template.New("html").Parse(html))
)

// SVG writes the timeline as a picture that refers to nothing else.
func (t Timeline) SVG(w io.Writer) error { return svgTemplate.Execute(w, t.page()) }

// HTML writes the timeline as a page that refers to nothing else.
func (t Timeline) HTML(w io.Writer) error { return htmlTemplate.Execute(w, t.page()) }

func (t Timeline) page() page {
	p := page{Title: fmt.Sprintf("build %s %s, %s", text.Line(t.Build), text.Line(string(t.State)), text.Duration(t.To.Sub(t.From))), Reason: text.Line(t.Reason), Width: labelWidth + axisWidth + 160}
	whole := max(t.To.Sub(t.From), time.Millisecond)
	x := func(when time.Time) float64 {
		return labelWidth + axisWidth*min(1, max(0, float64(when.Sub(t.From))/float64(whole)))
	}
	apart := step(whole)
	for i := range whole/apart + 1 {
		at := i * apart
		p.Ticks = append(p.Ticks, tick{int(x(t.From.Add(at))), text.Duration(at)})
	}
	y, stage := topHeight, ""
	add := func(r pageRow) {
		r.Y, r.TextY, r.BarY = y, y+15, y+4
		p.Rows = append(p.Rows, r)
		y += rowHeight
	}
	for _, s := range t.Steps {
		if s.Stage != stage {
			stage = s.Stage
			add(pageRow{Label: text.Truncate(text.Line(stage), 36, "…"), Bold: true})
		}
		r := pageRow{Label: text.Truncate(s.label(), 36, "…"), Note: s.words(), NoteX: labelWidth + axisWidth + 8}
		for _, span := range s.Spans {
			from, to := x(span.From), x(span.To)
			r.Bars = append(r.Bars, bar{from, max(1, to-from), fills[span.Phase], fmt.Sprintf("%s: %s, from %s on", span.Phase, text.Duration(span.To.Sub(span.From)), text.Duration(span.From.Sub(t.From)))})
		}
		add(r)
	}
	p.AxisEnd, p.Height = y+4, y+40
	for i, phase := range Phases {
		p.Legend = append(p.Legend, legendItem{X: 20 + i*90, TextX: 38 + i*90, Fill: fills[phase], Name: phase})
	}
	return p
}

// step is the time between two marks of the axis: ten of them at most.
func step(whole time.Duration) time.Duration {
	for _, s := range []time.Duration{
		10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
		30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour,
	} {
		if whole/s <= 10 {
			return s
		}
	}
	return whole / 10
}
