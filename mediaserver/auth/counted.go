package auth

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counted is an authority whose decisions are counted.
type counted struct {
	Authority
	decisions *prometheus.CounterVec
	seconds   prometheus.Histogram
}

// Counted counts an authority's decisions, and how long they take.
func Counted(authority Authority, registerer prometheus.Registerer) Authority {
	c := &counted{
		Authority: authority,
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_auth_decisions_total",
			Help: "Clients that wanted to connect, by outcome: allowed, refused, gone (before there was one), " +
				"or why there was none: busy, timeout, unreachable, status, answer.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "nagi_auth_decision_seconds",
			Help:    "How long a client waited for the decision whether it may connect.",
			Buckets: []float64{.001, .005, .02, .1, .5, 1, 2, 5, 10, 30},
		}),
	}
	registerer.MustRegister(c.decisions, c.seconds)

	return c
}

// Decide asks the authority, and counts its answer.
func (c *counted) Decide(ctx context.Context, request Request) (Answer, error) {
	begin := time.Now()
	answer, err := c.Authority.Decide(ctx, request)
	c.seconds.Observe(time.Since(begin).Seconds())
	c.decisions.WithLabelValues(outcomeOf(err)).Inc()

	return answer, err
}

func outcomeOf(err error) string {
	var refusal *Refusal
	var failure *Failure
	switch {
	case err == nil:
		return "allowed"
	case errors.As(err, &refusal):
		return "refused"
	case errors.As(err, &failure):
		return failure.Cause
	default:
		return "gone"
	}
}
