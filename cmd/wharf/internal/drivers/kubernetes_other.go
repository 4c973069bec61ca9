//go:build !linux

package drivers

import (
	"context"
	"net/url"
)

var kubernetesHarness func(context.Context, *url.URL, string) (*Tested, error)
