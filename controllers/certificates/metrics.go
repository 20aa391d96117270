package certificates

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	failures prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer, k *Keeper) *metrics {
	m := &metrics{failures: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "nagi_certificate_failures_total",
		Help: "Looks at the certificates, every 10 s, after which they, or what clients trust, were not up to date.",
	})}
	if registerer != nil {
		registerer.MustRegister(m.failures, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "nagi_certificate_expiry_timestamp_seconds",
			Help: "When the certificate that this manager serves with ends, in seconds since 1970; 0 while there is none.",
		}, func() float64 {
			if serving := k.serving.Load(); serving != nil {
				return float64(serving.Leaf.NotAfter.Unix())
			}

			return 0
		}))
	}

	return m
}
