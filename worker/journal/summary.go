package journal

import "time"

// Summary is where a build stands, by what its journal tells so far. The zero value is that of an empty journal; it is used by one goroutine at a time.
type Summary struct {
	// Last is the number of the last entry.
	Last uint64
	// State is Running, or how the build ended, and Reason why, or why it is being stopped. Ended is zero while it runs.
	State        State
	Reason       string
	Began, Ended time.Time
	// Steps are those that have been told of, in the order of the journal; Artifacts and Tests as well.
	Steps     []*StepSummary
	Artifacts []Event
	Tests     []Event
	// Lines is how many log lines there are.
	Lines int64

	byID map[string]*StepSummary
	kept map[artifact]int
}

// artifact is what an artifact is known by.
type artifact struct{ step, name string }

// StepSummary is where a step stands.
type StepSummary struct {
	ID, Stage string
	State     State
	Reason    string
	Attempt   int
	// Since is when it got into the state, Started when its first attempt was started, if it was.
	Since, Started time.Time
	Phases         []Phase
}

// Add takes the next batch of the journal. Its text is not needed.
func (s *Summary) Add(b *Batch) {
	s.Last = b.Last()
	e := &b.Event
	switch e.Kind {
	case KindLog:
		s.Lines += int64(b.Len())
	case KindBuild:
		s.State, s.Reason = e.State, e.Reason
		if s.Began.IsZero() {
			s.Began = e.Time
		}
		if e.State.Final() {
			s.Ended = e.Time
		}
	case KindStop:
		s.Reason = e.Reason
	case KindStep:
		s.step(e)
	case KindTests:
		s.Tests = append(s.Tests, *e)
	case KindArtifact:
		if s.kept == nil {
			s.kept = map[artifact]int{}
		}
		key := artifact{e.Step, e.Name}
		if i, again := s.kept[key]; again {
			s.Artifacts[i] = *e
			return
		}
		s.kept[key] = len(s.Artifacts)
		s.Artifacts = append(s.Artifacts, *e)
	}
}

func (s *Summary) step(e *Event) {
	step := s.byID[e.Step]
	if step == nil {
		if s.byID == nil {
			s.byID = map[string]*StepSummary{}
		}
		step = &StepSummary{ID: e.Step, Stage: e.Stage}
		s.byID[e.Step] = step
		s.Steps = append(s.Steps, step)
	}
	step.State, step.Reason, step.Attempt, step.Since = e.State, e.Reason, e.Attempt, e.Time
	if e.State == Starting && step.Started.IsZero() {
		step.Started = e.Time
	}
	if e.Phases != nil {
		step.Phases = e.Phases
	}
}

// Artifact returns the event of an artifact, or nil.
func (s *Summary) Artifact(step, name string) *Event {
	if i, ok := s.kept[artifact{step, name}]; ok {
		return &s.Artifacts[i]
	}
	return nil
}

// Summarize reads the journal in a results directory to its end.
func Summarize(dir string) (*Summary, error) {
	r, err := Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	r.WithoutText()
	s := &Summary{}
	return s, r.All(s.Add)
}
