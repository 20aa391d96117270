package identity

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// newSaying bounds the lines of the log, by outcome: strangers cannot fill it.
func newSaying() map[string]*rate.Sometimes {
	some := map[string]*rate.Sometimes{}
	for _, outcome := range []string{unauthenticated, denied, unanswerable} {
		some[outcome] = &rate.Sometimes{First: 5, Interval: 10 * time.Second}
	}

	return some
}

type metrics struct {
	failures   *prometheus.CounterVec
	remembered prometheus.Counter
}

// What came of a review that did not allow: values of the label outcome.
const (
	unauthenticated = "unauthenticated"
	denied          = "denied"
	unanswerable    = "unanswerable"
)

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_review_failures_total",
			Help: "Reviews of callers that allowed nothing, by verb and outcome: unauthenticated, denied, " +
				"or unanswerable by the API server.",
		}, []string{"verb", "outcome"}),
		remembered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagi_review_remembered_total",
			Help: "Reviews that an earlier one stood in for because the API server did not answer.",
		}),
	}
	if registerer != nil {
		registerer.MustRegister(m.failures, m.remembered)
	}

	return m
}

// told counts and logs why a review allowed nothing, and returns it.
func (r *Reviewer) told(verb, namespace string, err error) error {
	outcome := unanswerable
	switch {
	case errors.Is(err, ErrUnauthenticated):
		outcome = unauthenticated
	case errors.Is(err, ErrDenied):
		outcome = denied
	}
	r.metrics.failures.WithLabelValues(verb, outcome).Inc()
	r.saying[outcome].Do(func() {
		r.log.Warn("a caller is not taken in", "outcome", outcome, "verb", verb, "namespace", namespace, "err", err)
	})

	return err
}
