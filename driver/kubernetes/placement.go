package kubernetes

import (
	"strings"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"

	"github.com/wharfci/wharf/driver"
)

// tolerations reads "key", "key=value" and "key=value:effect", as [driver.Placement] has them.
func tolerations(list []string) ([]core.Toleration, error) {
	var all []core.Toleration
	for _, s := range list {
		rest, effect, hasEffect := strings.Cut(s, ":")
		key, value, hasValue := strings.Cut(rest, "=")
		switch e := core.TaintEffect(effect); {
		case key == "":
			return nil, driver.WithClass(errdefs.ErrInvalidArgument, "Tolerations %q: has no key", s)
		case hasEffect && e != core.TaintEffectNoSchedule && e != core.TaintEffectPreferNoSchedule && e != core.TaintEffectNoExecute:
			return nil, driver.WithClass(errdefs.ErrInvalidArgument, "Tolerations %q: the effect is none of NoSchedule, PreferNoSchedule, NoExecute", s)
		}
		t := core.Toleration{Key: key, Operator: core.TolerationOpExists, Effect: core.TaintEffect(effect)}
		if hasValue {
			t.Operator, t.Value = core.TolerationOpEqual, value
		}
		all = append(all, t)
	}
	return all, nil
}
