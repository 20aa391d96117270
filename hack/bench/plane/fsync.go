//go:build linux

package plane

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fsyncs is what etcd has waited for the disk since it started.
type Fsyncs struct {
	count   int64
	seconds float64
}

// ReadFsyncs reads the metrics of the etcd at the address: the proof that it does
// wait.
func ReadFsyncs(ctx context.Context, client *http.Client, etcd string) (Fsyncs, error) {
	var f Fsyncs
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, etcd+"/metrics", nil)
	if err != nil {
		return f, fmt.Errorf("ask etcd for its metrics: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return f, fmt.Errorf("ask etcd for its metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "etcd_disk_wal_fsync_duration_seconds_count":
			f.count, err = strconv.ParseInt(value, 10, 64)
		case "etcd_disk_wal_fsync_duration_seconds_sum":
			f.seconds, err = strconv.ParseFloat(value, 64)
		}
		if err != nil {
			return f, fmt.Errorf("read etcd's metrics: %w", err)
		}
	}

	return f, lines.Err()
}

// Since tells how many waits there were since an earlier reading, and their mean.
func (f Fsyncs) Since(before Fsyncs) (count int64, mean time.Duration, err error) {
	count = f.count - before.count
	if count <= 0 {
		return 0, 0, errors.New("etcd did not wait for the disk once: its latencies would be too good")
	}

	return count, time.Duration((f.seconds - before.seconds) / float64(count) * float64(time.Second)), nil
}
