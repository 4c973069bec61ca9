package kubernetes_test

import (
	"testing"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wharfci/wharf/driver"
)

// The API server selects a task's pod by the caller's labels, where it can.
func TestSelectedByLabel(t *testing.T) {
	s := newSite(t)
	d := s.gate(nil)
	spec := program("labelled", "exit", "0")
	spec.Labels = map[string]string{"build": "7", "step": "compile/linux"}
	id := s.created(d, spec)
	other := program("other", "exit", "0")
	other.Labels = map[string]string{"build": "8"}
	s.created(d, other)
	pods, err := s.admin.CoreV1().Pods(namespace).List(t.Context(), meta.ListOptions{LabelSelector: "label.dev.wharfci/build=7"})
	if err != nil || len(pods.Items) != 1 || pods.Items[0].Name != podOf(id) {
		t.Errorf("selected are %d pods, %v; want that of the task", len(pods.Items), err)
	}
	tasks, err := d.List(t.Context(), driver.ListOptions{Labels: spec.Labels})
	if err != nil || len(tasks) != 1 || tasks[0].ID != id {
		t.Errorf("List: %+v, %v; want the task", tasks, err)
	}
}
