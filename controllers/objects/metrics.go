package objects

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// namedUndecodable bounds how many undecodable objects metrics name.
const namedUndecodable = 20

type metrics struct {
	lists, ends *prometheus.CounterVec
	failed      prometheus.Counter
	confirm     prometheus.Histogram
}

func newMetrics(config Config, store *Store) *metrics {
	m := &metrics{
		lists: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_objects_lists_total",
			Help: "Lists of the pauses, by what made them necessary: start, or how the watch before ended.",
		}, []string{"cause"}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_objects_watch_ends_total",
			Help: "Watches that ended, by cause; after timed_out alone the next goes on without a list.",
		}, []string{"cause"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagi_objects_list_failures_total", Help: "Lists of the pauses that failed.",
		}),
		confirm: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "nagi_objects_confirm_seconds",
			Help:    "Time until a version of the collection was confirmed, or was not.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
	}
	if config.Registerer != nil {
		prometheus.WrapRegistererWith(prometheus.Labels{"namespace": config.Namespace}, config.Registerer).
			MustRegister(m.lists, m.ends, m.failed, m.confirm, gauges{store})
	}

	return m
}

var (
	objectsHeld = prometheus.NewDesc("nagi_objects_held", "Pauses held, those that do not decode left out.", nil, nil)
	staleTime   = prometheus.NewDesc("nagi_objects_stale_seconds",
		"For how long the pauses have not followed the API server; 0 while they do.", nil, nil)
	notDecoded = prometheus.NewDesc("nagi_objects_undecodable",
		"Stored pauses that do not decode and so do not act.", nil, nil)
	notDecodedN = prometheus.NewDesc("nagi_objects_undecodable_info",
		"Names of stored pauses that do not decode, the first twenty.", []string{"name"}, nil)
)

// gauges tell the store's state when they are asked.
type gauges struct{ store *Store }

func (gauges) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{objectsHeld, staleTime, notDecoded, notDecodedN} {
		descriptions <- d
	}
}

func (g gauges) Collect(result chan<- prometheus.Metric) {
	unread := g.store.Undecodable()
	g.store.mu.RLock()
	held := len(g.store.held.objects)
	g.store.mu.RUnlock()
	for d, value := range map[*prometheus.Desc]float64{
		objectsHeld: float64(held),
		staleTime:   g.store.staleFor().Seconds(),
		notDecoded:  float64(len(unread)),
	} {
		result <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value)
	}
	for _, u := range unread[:min(len(unread), namedUndecodable)] {
		result <- prometheus.MustNewConstMetric(notDecodedN, prometheus.GaugeValue, 1, u.Name)
	}
}

// staleFor is how long the store has been stale.
func (s *Store) staleFor() time.Duration {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch silence := s.silence(); {
	case !s.watching:
		return time.Since(s.staleSince)
	case silence >= s.config.StaleAfter:
		return silence
	}

	return 0
}
