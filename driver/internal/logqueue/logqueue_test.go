package logqueue

import (
	"errors"
	"slices"
	"sync"
	"testing"
)

func TestOrderAndBound(t *testing.T) {
	q := New[string]()
	piece := make([]byte, limit)
	for range 2 {
		if !q.Push(Item[string]{Source: "a", Data: piece}, false) {
			t.Fatal("there is no room for what is within the bound")
		}
	}
	if q.Push(Item[string]{Source: "a", Data: piece}, false) {
		t.Error("more than the bound found room")
	}
	if !q.Push(Item[string]{Source: "b", Data: piece[:1]}, false) || !q.Push(Item[string]{Source: "a"}, false) {
		t.Error("another source, or a message, found no room")
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if !q.Push(Item[string]{Source: "a", Data: piece[:1]}, true) {
			t.Error("who may wait for room got none")
		}
	})
	var got []string
	for range 5 {
		it, err := q.Pop()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, it.Source)
	}
	waiting.Wait()
	slices.Sort(got[2:])
	if want := []string{"a", "a", "a", "a", "b"}; !slices.Equal(got, want) {
		t.Errorf("it brought items of %q, want %q", got, want)
	}
}

func TestFail(t *testing.T) {
	q := New[string]()
	first := errors.New("first")
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := q.Pop(); !errors.Is(err, first) {
			t.Errorf("Pop: %v, want the first error", err)
		}
	})
	q.Fail(first)
	q.Fail(errors.New("second"))
	waiting.Wait()
	if q.Push(Item[string]{Source: "a", Data: []byte("x")}, true) {
		t.Error("a queue that has failed took an item")
	}
}
