package endtoend

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/wharfci/wharf/provisioner"
)

// insist asks for a build until it is accepted, as often as the provisioner dies over it, or says that it should be asked again, and returns how often that was.
func (p *process) insist(q url.Values) (a answer, tries int) {
	build := q.Get("BUILD_REF")
	for tries = 1; ; tries++ {
		a, err := p.post(q)
		switch {
		case err != nil: // it died
			if !p.awaitBack() {
				p.t.Errorf("build %s: %v", build, err)
				return a, tries
			}
		case a.status == http.StatusCreated, a.status == http.StatusOK && tries > 1:
			return a, tries
		case a.status == http.StatusServiceUnavailable && a.retryAfter != "":
			if !p.giveWay(build, a.retryAfter) {
				p.t.Errorf("build %s: %v", build, &a.problem)
				return a, tries
			}
		default:
			p.t.Errorf("build %s is answered by %d: %+v, %v", build, a.status, a.worker, &a.problem)
			return a, tries
		}
	}
}

// awaitBack waits until a provisioner that was killed serves again, and reports whether it does.
func (p *process) awaitBack() bool {
	select {
	case <-p.back():
		return true
	case <-p.lost:
		return false
	case <-p.t.Context().Done():
		return false
	}
}

// giveWay does what a client may that is told to try again: in a long run it waits, as wharf-api does; in a sample it deletes what is in the way, as a person does who has no time.
func (p *process) giveWay(build, retryAfter string) bool {
	if os.Getenv(soakEnv) != "" {
		return p.pause(retryAfter)
	}
	list, err := p.client.Workers(p.t.Context())
	for _, w := range list {
		if strconv.FormatUint(w.Build, 10) == build {
			p.insistOnDeletion(w.ID)
		}
	}
	return err == nil
}

// pause waits as long as the header Retry-After says, and reports whether to go on.
func (p *process) pause(retryAfter string) bool {
	seconds, err := strconv.Atoi(retryAfter)
	if err != nil {
		p.t.Errorf("Retry-After is %q", retryAfter)
		return false
	}
	t := time.NewTimer(time.Duration(seconds) * time.Second)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.t.Context().Done():
		return false
	}
}

// insistOnDeletion deletes a worker until that is answered, and reports how often it was asked.
func (p *process) insistOnDeletion(id string) (tries int) {
	for tries = 1; ; tries++ {
		err := p.client.Delete(p.t.Context(), id)
		var problem *provisioner.Problem
		switch {
		case err == nil:
			return tries
		case !errors.As(err, &problem): // it died
			if !p.awaitBack() {
				p.t.Errorf("deleting %s: %v", id, err)
				return tries
			}
		case problem.Status == http.StatusNotFound && tries > 1:
			return tries
		case problem.Status == http.StatusServiceUnavailable && os.Getenv(soakEnv) != "" && tries < 10: // a machine that is busy with hundreds of builds
		default:
			p.t.Errorf("deleting %s: %v", id, err)
			return tries
		}
	}
}

// deleteRest deletes workers that are gone once more: that takes what a provisioner has left that died over one of them, and whose worker was then made anew.
func (p *process) deleteRest(ids []string) {
	p.t.Helper()
	crowd(len(ids), 4, func(i int) {
		err := p.client.Delete(p.t.Context(), ids[i])
		var problem *provisioner.Problem
		if err != nil && (!errors.As(err, &problem) || problem.Status != http.StatusNotFound) {
			p.t.Errorf("deleting %s once more: %v", ids[i], err)
		}
	})
}
