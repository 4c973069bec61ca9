package kubernetes

import (
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// How long the cluster is left alone after it has ended the watch of evictions, or has refused it: one that was just started refuses everything.
const (
	evictionsAgain   = 5 * time.Second
	evictionsAllowed = time.Minute
)

// evictions tells why a node is about to evict a pod that runs, of which the pod's own status says nothing before its containers have ended. An account that may not read
// the cluster's events does without.
func (e *teller) evictions() {
	events := e.d.api.CoreV1().Events(e.d.namespace)
	opts := meta.ListOptions{FieldSelector: fields.Set{"reason": "Evicted", "involvedObject.kind": "Pod"}.String()}
	for e.ctx.Err() == nil {
		now, err := events.List(e.ctx, meta.ListOptions{FieldSelector: opts.FieldSelector, Limit: 1})
		if err == nil {
			opts.ResourceVersion = now.ResourceVersion
			stream, failed := events.Watch(e.ctx, opts)
			if err = failed; err == nil {
				for ev := range stream.ResultChan() {
					if told, ok := ev.Object.(*core.Event); ok {
						e.evicted(told)
					}
				}
			}
		}
		wait := evictionsAgain
		if refused(err) {
			wait = evictionsAllowed
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-e.ctx.Done():
			again.Stop()
		}
	}
}

// evicted passes on what was told of an eviction.
func (e *teller) evicted(told *core.Event) {
	select {
	case e.states <- change{uid: string(told.InvolvedObject.UID), evict: told.Reason + ": " + strings.TrimSpace(told.Message)}:
	case <-e.ctx.Done():
	}
}
