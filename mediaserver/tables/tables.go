// Package tables dials the managers, reports what this media server hosts,
// applies the channels' tables at the fence and acknowledges them.
package tables
