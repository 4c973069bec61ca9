package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// needs checks the dependencies between the steps of a stage: each is a step of the stage, and there is no cycle.
func (p *parser) needs(s *stage) {
	index := make(map[string]int, len(s.steps))
	names := make([]string, len(s.steps))
	for i, st := range s.steps {
		index[st.name], names[i] = i, st.name
	}
	for _, st := range s.steps {
		for i, need := range st.needs {
			if _, ok := index[need]; ok || slices.Contains(s.broken, need) {
				continue
			}
			item := st.body.at("needs").items[i]
			err := p.report.at(p.source, item.pos, fmt.Sprintf("the stage %s has no step %s to need", quote(s.name), quote(need)))
			if err.suggest(need, names); err.Hint == "" {
				err.Hint = "a step can need steps of its own stage only; stages run one after another in any case"
			}
		}
	}
	p.cycles(s, index)
}

// Marks of a depth-first walk.
const (
	unseen = iota
	underway
	finished
)

// cycles reports each cycle that a walk along the needs closes. The walk keeps its own stack, since a chain of needs can
// be as long as the file.
func (p *parser) cycles(s *stage, index map[string]int) {
	type frame struct{ step, next int }
	marks := make([]int, len(s.steps))
	for start := range s.steps {
		if marks[start] != unseen {
			continue
		}
		marks[start] = underway
		stack := []frame{{start, 0}}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			needs := s.steps[top.step].needs
			if top.next == len(needs) {
				marks[top.step] = finished
				stack = stack[:len(stack)-1]
				continue
			}
			need, ok := index[needs[top.next]]
			top.next++
			switch {
			case !ok || marks[need] == finished:
			case marks[need] == unseen:
				marks[need] = underway
				stack = append(stack, frame{need, 0})
			case p.report.full():
				p.report.dropped++
			default:
				path := []string{}
				for _, f := range stack {
					if len(path) > 0 || f.step == need {
						path = append(path, s.steps[f.step].name)
					}
				}
				item := s.steps[top.step].body.at("needs").items[top.next-1]
				p.report.at(p.source, item.pos, "steps need each other: "+showCycle(path))
			}
		}
	}
}

// showCycle writes a cycle as "a → b → a", shortened in the middle.
func showCycle(path []string) string {
	path = append(path, path[0])
	if len(path) > 12 {
		path = append(append(path[:6:6], "…"), path[len(path)-5:]...)
	}
	for i := range path {
		path[i] = clean(path[i])
	}
	return strings.Join(path, " → ")
}
