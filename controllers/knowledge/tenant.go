package knowledge

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// Tenant is the knowledge of one namespace.
type Tenant struct{ store Store }

type metrics struct{}

func newMetrics(prometheus.Registerer, *Knowledge) *metrics { return nil }

func newTenant(string, Config, *metrics) *Tenant { return &Tenant{} }

func (t *Tenant) run(context.Context)           {}
func (t *Tenant) apply([]Change, uint64)        {}
func (t *Tenant) watch(func(string, bool)) func() { return func() {} }

// Pause stub.
func (t *Tenant) Pause(string) *v1alpha1.RtpStreamPause { return nil }

// Departure stub.
func (t *Tenant) Departure(*v1alpha1.RtpStreamPause, time.Time, time.Time) (left, again time.Time) {
	return
}

// Streaming stub.
func (t *Tenant) Streaming() int { return 0 }
